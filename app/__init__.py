"""The Streamlit app: shows what the workbench computes, and computes nothing itself."""

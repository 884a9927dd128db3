"""The Streamlit app: it asks the workbench, and computes nothing itself."""

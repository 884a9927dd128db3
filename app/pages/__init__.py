"""Pages: one script each, run by Streamlit."""

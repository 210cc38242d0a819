"""The dashboard: Streamlit pages over `autopeft.report`, started by `autopeft dashboard`. They read the database and nothing else."""

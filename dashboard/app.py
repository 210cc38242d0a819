"""The dashboard's frame: who may see it, and which pages there are. `autopeft dashboard` starts it."""

import streamlit as st

from autopeft.dashboard.access import admit

st.set_page_config(
    page_title="autopeft",
    page_icon=":material/tune:",
    layout="wide",
    menu_items={"About": "autopeft: the parameter-efficient fine-tuning configuration for your model, data and budget."},
)
if not admit():
    st.stop()
page = st.navigation(
    {
        "": [
            st.Page("pages/studies.py", title="Studies", icon=":material/list:", default=True),
            st.Page("pages/new.py", title="New search", icon=":material/add:", url_path="new"),
        ],
        "One study": [
            st.Page("pages/front.py", title="Front", icon=":material/scatter_plot:", url_path="front"),
            st.Page("pages/anatomy.py", title="Anatomy", icon=":material/grid_on:", url_path="anatomy"),
            st.Page("pages/why.py", title="Why", icon=":material/help_center:", url_path="why"),
            st.Page("pages/progress.py", title="Progress", icon=":material/show_chart:", url_path="progress"),
            st.Page("pages/export.py", title="Export", icon=":material/download:", url_path="export"),
        ],
        "Several": [
            st.Page("pages/compare.py", title="Compare", icon=":material/compare:", url_path="compare"),
        ],
    }
)
page.run()

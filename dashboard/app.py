"""The dashboard's frame: who may see it, and which pages there are. `autopeft dashboard` starts it.

The pages are not in a folder `pages`: Streamlit would serve each of them by itself, without asking who it is.
"""

import streamlit as st

from autopeft.dashboard.access import admit

# A front. Streamlit would fetch the icon of a page from elsewhere.
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="M2 13 L2 9 L6 9 L6 5 L11 5 L11 3 L14 3" '
    'fill="none" stroke="#0072B2" stroke-width="2.4"/></svg>'
)

st.set_page_config(
    page_title="autopeft",
    page_icon=_ICON,
    layout="wide",
    menu_items={
        "About": "autopeft: the parameter-efficient fine-tuning configuration for your model, data and budget."
    },
)
if not admit():
    st.stop()
page = st.navigation(
    {
        "": [
            st.Page("views/studies.py", title="Studies", icon=":material/list:", default=True),
            st.Page("views/new.py", title="New search", icon=":material/add:", url_path="new"),
        ],
        "One study": [
            st.Page("views/front.py", title="Front", icon=":material/scatter_plot:", url_path="front"),
            st.Page("views/anatomy.py", title="Anatomy", icon=":material/grid_on:", url_path="anatomy"),
            st.Page("views/why.py", title="Why", icon=":material/help_center:", url_path="why"),
            st.Page("views/progress.py", title="Progress", icon=":material/show_chart:", url_path="progress"),
            st.Page("views/export.py", title="Export", icon=":material/download:", url_path="export"),
        ],
        "Several": [
            st.Page("views/compare.py", title="Compare", icon=":material/compare:", url_path="compare"),
        ],
    }
)
page.run()

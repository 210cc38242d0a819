"""Which study the pages are about: chosen once, kept in the address, so that a page can be sent to others."""

import streamlit as st

from autopeft.dashboard import database
from autopeft.nouns import Study

_STUDY = "study"


def choose_study(label: str = "Study") -> Study:
    """The study that was chosen, with the box to choose another one. The page ends here, with a sentence, where there is none."""
    names = [study.name for study in database.repository().studies()]
    if not names:
        st.info(
            "No study yet. This one takes two minutes:\n\n```bash\nautopeft search --trials 12\n```\n\n"
            "or start one on the page **New search**.",
            icon=":material/science:",
        )
        database.follow(None)
        st.stop()
    wanted = st.query_params.get(_STUDY) or st.session_state.get(_STUDY)
    at = names.index(wanted) if wanted in names else 0
    if wanted and wanted not in names:
        st.warning("There is no study of the name in the address; this is the newest one.")
    name = st.sidebar.selectbox(label, names, index=at, key=f"choice-{wanted}")
    remember(name)
    st.query_params[_STUDY] = name
    return database.study_of(name)


def remember(name: str) -> None:
    """Have the pages be about this study."""
    st.session_state[_STUDY] = name

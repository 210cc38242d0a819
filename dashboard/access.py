"""Who may see the dashboard: everybody who reaches it, or who has its token."""

import hmac
import os

import streamlit as st

TOKEN = "AUTOPEFT_DASHBOARD_TOKEN"
"""The environment variable that holds the token, if there has to be one."""


def admit() -> bool:
    """Whether the visitor may go on; asks for the token if there is one and it was not given yet.

    It comes once, in the address as `?token=...`, or by hand, and is taken out of the address then.
    """
    wanted = os.environ.get(TOKEN, "")
    if not wanted or st.session_state.get("admitted"):
        return True
    given = st.query_params.get("token", "")
    if given:
        del st.query_params["token"]
    else:
        st.title("autopeft")
        given = st.text_input("Token", type="password", help="The dashboard was started with one.")
    if hmac.compare_digest(given.encode(), wanted.encode()):
        st.session_state["admitted"] = True
        st.rerun()
    if given:
        st.error("This is not the token with which the dashboard was started.")
    return False

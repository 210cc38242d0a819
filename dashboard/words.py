"""Texts from the database on a page: shown as they are, whatever they hold."""

import re

from autopeft.errors import AutopeftError

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|>~$:<&^=])")


def plain(text: str) -> str:
    """A text for Streamlit's markdown: no link, picture, formula, icon or emphasis comes of it.

    >>> plain("a_b <script>")
    'a\\\\_b \\\\<script\\\\>'
    """
    return _SPECIAL.sub(r"\\\1", text.replace("\n", " "))


def sentence(error: AutopeftError) -> str:
    """What went wrong, for the page."""
    return plain(str(error))

"""Names that would lead out of their folder, or onto each other."""

from pathlib import Path

import pytest

from autopeft.naming import folder_name, objection

HOSTILE = [
    "../x",
    "..",
    ".",
    "../../../../etc/passwd",
    "/etc/passwd",
    "a/../../b",
    "~",
    "~root/x",
    "..\\x",
    "C:\\Windows\\x",
    "\\\\server\\share",
    "a\0b",
    "a\nb",
    "\x1b[2Jx",
    "a\u202eb",
    "a\u2028b",
    "\ud800",
]
UGLY = [
    "CON",
    "nul",
    "com1",
    "a:b",
    "a／b",
    "․․／x",
    "％2e％2e",
    "Ａ",
    "ü" * 200,
    "x" * 200,
    " ",
    "a.",
    "$(id)",
    "*",
    "-rf",
]


@pytest.mark.parametrize("name", [*HOSTILE, "", "x" * 201], ids=repr)
def test_a_new_study_is_not_called_so(name: str) -> None:
    assert objection(name).startswith("a study's name ")


@pytest.mark.parametrize(
    "name", ["digits", "my study", "'; DROP TABLE study; --", "größe 7", "研究", "A.b_c-d", "100%"]
)
def test_a_study_may_be_called_so(name: str) -> None:
    assert objection(name) == ""


@pytest.mark.parametrize("name", [*HOSTILE, *UGLY], ids=repr)
def test_whatever_it_is_called_its_folder_is_one_inside(name: str, tmp_path: Path) -> None:
    folder = tmp_path / folder_name(name)
    folder.mkdir()
    assert folder.resolve().parent == tmp_path.resolve()
    assert folder.name.isascii()
    assert len(folder.name) <= 100


def test_no_two_studies_share_a_folder() -> None:
    names = [*HOSTILE, *UGLY, "a", "A", "con", "a-b", "a b", "a/b", "é", "e\u0301"]
    folders = {
        folder_name(name).lower() for name in names
    }  # as a file system that knows no case would have them
    assert len(folders) == len(names)


def test_a_plain_name_is_its_own_folder() -> None:
    assert folder_name("starter-digits-autopeft-3f2a1b") == "starter-digits-autopeft-3f2a1b"

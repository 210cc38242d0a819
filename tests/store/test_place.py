from pathlib import Path

import platformdirs
import pytest

from autopeft.errors import StudyError
from autopeft.store import artifact_place, default_url, folder_beside, parse_url
from autopeft.store.place import database_path


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTOPEFT_DB", raising=False)
    monkeypatch.delenv("AUTOPEFT_ARTIFACTS", raising=False)


def test_the_default_place_is_the_user_s_data_folder() -> None:
    folder = Path(platformdirs.user_data_dir("autopeft", appauthor=False))
    assert database_path(default_url()) == folder / "autopeft.db"
    assert artifact_place(default_url()) == str(folder / "artifacts")


def test_the_environment_moves_the_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOPEFT_DB", str(tmp_path / "a.db"))
    assert database_path(default_url()) == tmp_path / "a.db"
    assert artifact_place(default_url()) == str(tmp_path / "artifacts")
    monkeypatch.setenv("AUTOPEFT_DB", "postgresql://u:p@h/d")
    assert default_url() == "postgresql://u:p@h/d"
    monkeypatch.setenv("AUTOPEFT_DB", "nonsense")
    with pytest.raises(StudyError, match="cannot read the database 'nonsense'"):
        default_url()


def test_a_path_is_a_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for text in ("a.db", "~/a.db", str(tmp_path / "a.db"), "sqlite:///a.db", f"sqlite:///{tmp_path}/a.db"):
        assert database_path(parse_url(text)) == tmp_path / "a.db"
        assert parse_url(parse_url(text)) == parse_url(text)


@pytest.mark.parametrize("name", ["with space.db", "50%.db", "100%25.db", "a?b=c.db", "#1.db", "u@h:1.db"])
def test_a_path_may_hold_any_sign(tmp_path: Path, name: str) -> None:
    assert database_path(parse_url(str(tmp_path / name))) == tmp_path / name


@pytest.mark.parametrize("text", ["sqlite://", "sqlite:///:memory:"])
def test_a_study_outlives_its_process(text: str) -> None:
    with pytest.raises(StudyError, match="cannot be kept in memory"):
        parse_url(text)


def test_what_is_neither_path_nor_url_is_refused() -> None:
    with pytest.raises(StudyError, match=r"ending in \.db"):
        parse_url("study")
    with pytest.raises(StudyError, match="without 'file:'"):
        parse_url("sqlite:///file:a.db?uri=true")


def test_a_broken_url_is_refused_without_its_password() -> None:
    with pytest.raises(StudyError) as caught:
        parse_url("postgresql://user:secret@host:port/d")
    assert "secret" not in str(caught.value)


def test_artifacts_of_a_server_are_in_the_user_s_data_folder() -> None:
    folder = Path(platformdirs.user_data_dir("autopeft", appauthor=False))
    assert artifact_place("postgresql://u@h/d") == str(folder / "artifacts")


def test_the_environment_moves_the_artifacts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOPEFT_ARTIFACTS", str(tmp_path / "kept"))
    assert artifact_place("postgresql://u@h/d") == str(tmp_path / "kept")
    assert artifact_place("a.db") == str(tmp_path / "kept")
    monkeypatch.setenv("AUTOPEFT_ARTIFACTS", "s3://bucket/studies")
    assert artifact_place("a.db") == "s3://bucket/studies"
    assert folder_beside(str(tmp_path / "a.db")) == tmp_path  # logs stay on this machine

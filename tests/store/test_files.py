import secrets
from pathlib import Path

import pytest

from autopeft.errors import InputError
from autopeft.store import files


@pytest.fixture(params=["folder", "file:", "memory:"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place on disk, as a path and as a URL; and one that is on no disk at all."""
    folder = str(tmp_path / "studies")
    return {
        "folder": folder,
        "file:": f"file://{folder}",
        "memory:": f"memory://{secrets.token_hex(4)}/studies",
    }[request.param]


def test_what_was_written_is_fetched(place: str) -> None:
    files.check(place)
    one = files.join(place, "trial-1", "checkpoint")
    for text in ("first", "second"):
        with files.written(one) as path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    with files.fetched(one) as path:
        assert path.read_text() == "second"


def test_a_folder_is_copied_with_all_that_is_in_it(place: str, tmp_path: Path) -> None:
    folder = files.join(place, "trial-1")
    with files.written(folder) as path:
        (path / "part").mkdir(parents=True)
        (path / "a").write_text("1")
        (path / "part" / "b").write_text("2")
    for name in ("new", "there"):
        (tmp_path / "there").mkdir(exist_ok=True)
        files.copy(folder, tmp_path / name)
        assert (tmp_path / name / "a").read_text() == "1"
        assert (tmp_path / name / "part" / "b").read_text() == "2"


def test_what_is_removed_is_gone_and_its_neighbours_are_not(place: str) -> None:
    one, two = (files.join(place, "trial-1", name) for name in ("one", "two"))
    for each in (one, two):
        with files.written(each) as path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
    files.remove(one)
    files.remove(one)  # there is none
    with files.fetched(two) as path:
        assert path.read_text() == "x"
    with pytest.raises(FileNotFoundError), files.fetched(one):
        pass


def test_what_failed_while_it_was_written_is_not_sent(tmp_path: Path) -> None:
    place = f"file://{tmp_path}/adapter"

    def write() -> None:
        with files.written(place) as path:
            path.write_text("half of")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("s3://bucket/studies", "Install s3fs"),
        ("nonsense://bucket", "nonsense"),
        ("/proc/nowhere", "No such file"),
        ("file:///proc/nowhere", "No such file"),
    ],
)
def test_a_place_that_nothing_can_be_written_to_is_refused(place: str, reason: str) -> None:
    with pytest.raises(InputError, match=rf"cannot write at '{place}', where adapters go: .*{reason}"):
        files.check(place)


def test_the_errors_of_other_systems_are_those_of_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def refuse(*arguments: object) -> None:
        raise RuntimeError("no credentials")

    monkeypatch.setattr(MemoryFileSystem, "put_file", refuse)

    def write() -> None:
        with files.written("memory://x/y") as path:
            path.write_text("x")

    with pytest.raises(OSError, match="'memory://x/y' cannot be reached: no credentials"):
        write()

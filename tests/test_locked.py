"""constraints.txt is the locked list: whatever an installation with all extras pulls in is there, with its version."""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line.partition("==") for line in lines if line and not line.startswith("#")]
    assert all(mark for _, mark, _ in pinned), "a line without an exact version"
    return {canonicalize_name(name): version for name, _, version in pinned}


def needed(name: str, extras: set[str], seen: set[tuple[str, str]]) -> Iterator[str]:
    """Packages that an installed one asks for, on this machine, and what those ask for."""
    try:
        asked = distribution(name).requires or []
    except PackageNotFoundError:
        return
    for requirement in map(Requirement, asked):
        marker = requirement.marker
        if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in extras or {""}):
            continue
        key = (canonicalize_name(requirement.name), ",".join(sorted(requirement.extras)))
        if key not in seen:
            seen.add(key)
            yield key[0]
            yield from needed(requirement.name, set(requirement.extras), seen)


def test_whatever_is_installed_is_pinned() -> None:
    extras = set(distribution("autopeft").metadata.get_all("Provides-Extra") or [])
    # torch's parts of CUDA, and the tools that pip itself brings, go with torch and with the interpreter.
    names = {
        name
        for name in needed("autopeft", {"", *extras}, set())
        if not re.match(r"nvidia-|triton$|cuda-|setuptools$|pip$", name)
    }
    assert len(names) > 50
    assert sorted(names - pins().keys()) == []

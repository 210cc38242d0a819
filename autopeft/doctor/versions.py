"""Python and the installed packages, against what autopeft asks for."""

import sys
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

import autopeft
from autopeft.doctor.finding import Finding, note, ok, problem

_SHOWN = ("torch", "transformers", "peft", "ray", "optuna", "botorch", "sqlalchemy")
_OPTIONAL = {
    "bitsandbytes": "weights in 8 and 4 bits (--quantize)",
    "psycopg": "a PostgreSQL database",
}


def check_python() -> list[Finding]:
    """The interpreter and autopeft itself."""
    found = f"autopeft {autopeft.__version__}, Python {sys.version.split()[0]}"
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        return [problem("python", found, "Use Python 3.11, 3.12 or 3.13: others are not tested.")]
    return [ok("python", found)]


def check_packages(asked: list[str] | None = None) -> list[Finding]:
    """What is installed, against the bounds of pyproject.toml.

    Args:
        asked: Requirements; by default those of the installed autopeft.
    """
    if asked is None:
        try:
            asked = requires("autopeft") or []
        except PackageNotFoundError:
            return [
                note(
                    "packages", "autopeft runs from a folder and is not installed: versions are not compared"
                )
            ]
    faults, seen = [], []
    for requirement in map(Requirement, asked):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        there = _version(requirement.name)
        if there is None or not requirement.specifier.contains(there, prereleases=True):
            wanted = f"{requirement.name}{requirement.specifier}"
            found = f"{requirement.name} is not installed" if there is None else f"{requirement.name} {there}"
            faults.append(
                problem("packages", f"{found}; needed is {wanted}", f"Run: pip install '{wanted}'.")
            )
        elif requirement.name in _SHOWN:
            seen.append(f"{requirement.name} {there}")
    return [*([ok("packages", ", ".join(seen))] if seen else []), *faults]


def check_optional() -> list[Finding]:
    """Packages that some options need."""
    lines = []
    for name, use in _OPTIONAL.items():
        there = _version(name)
        lines.append(
            ok("optional", f"{name} {there}")
            if there
            else note("optional", f"{name} is not installed", f"Only {use} needs it: pip install {name}.")
        )
    return lines


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_a_lower_line_never_imports_a_higher_one() -> None:
    """The contracts of pyproject.toml, held by import-linter."""
    code = (
        "import sys; from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_part_of_the_engine_is_in_the_layers() -> None:
    """A new folder or file has to be given its place."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    placed = {name.strip(" ()").removeprefix("autopeft.") for line in layers for name in line.split("|")}
    engine = ROOT / "autopeft"
    parts = {p.name for p in engine.iterdir() if (p / "__init__.py").is_file()}
    parts |= {p.stem for p in engine.glob("*.py") if p.stem not in ("__init__", "__main__")}
    assert parts - placed == set()

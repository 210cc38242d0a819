"""Environments of trainers that cannot share ours: each a folder that goes before ours on the path.

    python tests/export/environments.py FOLDER
    AUTOPEFT_TRAINERS=FOLDER python -m pytest tests/export/test_foreign.py

What is pinned is what these releases ask for; all else is the environment that the tests run in.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = "AUTOPEFT_TRAINERS"
_HTTP = ["httpx==0.28.1", "httpcore==1.0.9", "h11==0.16.0", "anyio==4.11.0", "sniffio==1.3.1"]
PINS = {
    "axolotl": [
        "axolotl==0.19.0",
        *("addict==2.4.0", "posthog==7.91.1", "distro==1.9.0", "backoff==2.2.1", "colorama==0.4.6"),
    ],
    "llamafactory": [
        "llamafactory==0.9.5",
        *("transformers==5.5.0", "peft==0.18.1", "trl==0.24.0", "datasets==4.0.0"),
        *(
            "tokenizers==0.22.1",
            "huggingface_hub==1.5.0",
            "omegaconf==2.4.0",
            "antlr4-python3-runtime==4.9.3",
        ),
        *_HTTP,
    ],
    "adapters": [
        "adapters==1.3.0",
        *("transformers==4.57.6", "huggingface_hub==0.36.0", "tokenizers==0.22.1", "datasets==4.4.1"),
        *_HTTP,
    ],
}
_QUIET = {
    "AXOLOTL_DO_NOT_TRACK": "1",
    "DO_NOT_TRACK": "1",
    "DISABLE_VERSION_CHECK": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def place(trainer: str) -> Path:
    """The folder of a trainer's environment; a test that asks for one that is not there is skipped."""
    folder = Path(os.environ.get(FOLDER, "absent")) / trainer
    if not folder.is_dir():
        pytest.skip(
            f"no environment of {trainer}: make one with tests/export/environments.py and set {FOLDER}"
        )
    return folder


def run(trainer: str, *arguments: str, cwd: Path | None = None) -> str:
    """Run Python with a trainer's environment; what it printed."""
    return run_here(trainer, *arguments, cwd=cwd, path=str(place(trainer)))


def run_here(trainer: str, *arguments: str, cwd: Path | None = None, path: str = "") -> str:
    """Run Python for a trainer that the environment of the tests has; what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        env={**os.environ, **_QUIET, "PYTHONPATH": path},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def make(folder: Path) -> None:
    """Install what is pinned, a folder a trainer."""
    for trainer, pins in PINS.items():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        subprocess.run([*pip, str(folder / trainer), *pins], check=True)


if __name__ == "__main__":
    make(Path(sys.argv[1]))

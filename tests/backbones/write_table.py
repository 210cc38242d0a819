"""Rewrite the table of architectures and its page: `python -m tests.backbones.write_table`."""

import json
import tempfile
from pathlib import Path

import transformers

from .architectures import ARCHITECTURES
from .table import render, row

ROOT = Path(__file__).resolve().parents[2]
RECORDED = ROOT / "autopeft" / "backbones" / "tested.json"
PAGE = ROOT / "docs" / "backbones.md"


def main() -> None:
    """Run every architecture and write what was found."""
    rows = []
    for architecture in ARCHITECTURES:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row(architecture, Path(folder)))
        print(architecture.name, flush=True)
    RECORDED.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(render(rows, transformers.__version__))


if __name__ == "__main__":
    main()

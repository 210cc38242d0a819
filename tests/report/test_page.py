import json
import re
from pathlib import Path

import pytest

from autopeft.report.page import page
from autopeft.store import Repository

from .filled import FOUND, SETTINGS, WHOLE, confirm, empty, fill, fill_losses, fill_three


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


def _page(place: Path, name: str) -> str:
    with Repository.open(str(place), read_only=True) as repository:
        return page(repository, repository.get_study(name))


def _figures(text: str) -> dict[str, dict[str, object]]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', text, re.DOTALL)
    assert found
    figures: dict[str, dict[str, object]] = json.loads(found[1])
    return figures


def test_everything_of_a_study_is_on_it(place: Path) -> None:
    fill(place, settings=WHOLE)
    confirm(place, FOUND)
    text = _page(place, "digits")
    figures = _figures(text)
    assert len(figures) >= 6
    assert all(f'id="{name}"' in text for name in figures)
    assert "the training loss is nan in epoch 1." in text
    assert "confirmed means" in text
    assert "0.890" in text  # the knee's confirmed mean


def test_it_needs_nothing_else(place: Path) -> None:
    fill(place)
    text = _page(place, "digits")
    assert "default-src 'none'" in text
    outside = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)  # plotly.js names addresses
    assert not re.search(r"(src|href)\s*=", outside)


def test_a_hostile_text_is_text(place: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    settings = {**SETTINGS, "model": evil, "space": {"name": evil, "text": evil}}
    fill(place, settings=settings)
    text = _page(place, "digits")
    assert "<img" not in text.replace("<image", "")
    assert "&lt;img" in text


def test_every_state_has_a_page(place: Path) -> None:
    empty(place)
    fill_losses(place)
    fill_three(place)
    assert "No trial of the search is complete yet." in _page(place, "new")
    assert "lower is better" in _page(place, "text")
    assert _figures(_page(place, "three"))

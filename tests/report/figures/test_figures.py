"""What is drawn, not how it looks: that is looked at in a browser."""

import math
from pathlib import Path

import pytest

from autopeft.report import summarise
from autopeft.report.anatomy import anatomy, differing
from autopeft.report.figures.anatomy import anatomy_figure, by_layer_figure, in_words, learning_figure
from autopeft.report.figures.compare import fronts_figure
from autopeft.report.figures.front import described, front_figure, rising
from autopeft.report.figures.look import log_axis, said, short
from autopeft.report.figures.progress import fate_figure, hypervolume_figure, sparkline
from autopeft.report.points import points
from autopeft.report.progress import common_of, hypervolume_curve
from autopeft.store import Repository

from ..filled import FOUND, LIMIT, WHOLE, confirm, fill, fill_three, serial


@pytest.fixture
def repository(tmp_path: Path):  # type: ignore[no-untyped-def]
    place = tmp_path / "a.db"
    fill(place, settings=WHOLE)
    fill_three(place)
    with Repository.open(str(place)) as opened:
        yield opened


def _trace(figure, name: str):  # type: ignore[no-untyped-def]
    return next(trace for trace in figure.data if trace.name == name)


def test_the_front_is_drawn_with_its_budget_and_baselines(repository: Repository) -> None:
    study = repository.get_study("digits")
    frame, summary = points(repository, study), summarise(repository, study)
    figure = front_figure(frame, summary, selected=[5])
    assert [row[0] for row in _trace(figure, "trials").customdata] == [5, 6, 7, 8, 9]
    members = _trace(figure, "front")
    drawn = [trace for trace in figure.data if trace.name == "front" and "markers" in trace.mode]
    assert [row[0] for row in drawn[0].customdata] == [6, 7, 8]
    assert list(drawn[0].text) == ["", "knee", "best"]
    assert members.line.shape == "hv"
    assert [row[0] for row in _trace(figure, "baselines").customdata] == [3]
    assert list(_trace(figure, "chosen").x) == [400]
    assert any(shape.x0 == LIMIT for shape in figure.layout.shapes)
    budget = next(a for a in figure.layout.annotations if "budget" in a.text)
    assert budget.x == pytest.approx(math.log10(LIMIT))  # as Plotly places it on a logarithmic axis
    assert "3 members" in described(frame, summary)


def test_confirmed_members_have_error_bars(repository: Repository) -> None:
    confirm(repository.url.removeprefix("sqlite:///"), FOUND)
    study = repository.get_study("digits")
    figure = front_figure(points(repository, study), summarise(repository, study))
    members = _trace(figure, "front, confirmed")
    assert members.error_y.visible
    assert max(members.error_y.array) > 0


def test_any_two_objectives_and_a_third(repository: Repository) -> None:
    study = repository.get_study("three")
    frame, summary = points(repository, study), summarise(repository, study)
    figure = front_figure(frame, summary, x="training_memory_bytes", y="score", third="trainable")
    assert figure.layout.xaxis.type != "log"
    assert list(_trace(figure, "trials").marker.color) == [128, 200, 210, 300, 900]
    sized = front_figure(
        frame, summary, x="trainable", y="score", third="training_memory_bytes", as_size=True
    )
    assert max(_trace(sized, "trials").marker.size) > min(_trace(sized, "trials").marker.size)
    # 4 is on the front for its memory; the line of score against parameters goes past it.
    assert [row.number for row in rising(summary.front, "maximize")] == [1, 3, 5]


def test_an_anatomy_shows_what_stands_where() -> None:
    from autopeft.nouns import Study

    study = Study(1, "s", WHOLE, LIMIT, "serials", None, "")
    found, other = anatomy(serial(6), study), anatomy(serial(12), study)
    figure = anatomy_figure(found, marked=differing(found, other))
    at = found.sites.index("ffn")
    texts = figure.data[1].text
    assert [texts[layer][at] for layer in range(4)] == ["ser 6", "", "ser 6", ""]
    assert figure.data[1].z[0][at] == pytest.approx(math.log10(found.parameters(0, "ffn")))
    assert len(figure.layout.shapes) == 2
    bars = by_layer_figure(found).data[0]
    assert list(bars.y) == [found.parameters(0, "ffn"), 0, found.parameters(2, "ffn"), 0]
    assert "layers 0, 2 of 4" in in_words(found)


def test_progress_is_drawn(repository: Repository) -> None:
    study = repository.get_study("digits")
    frame, common = points(repository, study), common_of(study)
    assert common is not None
    curve = hypervolume_curve(frame, study, common)
    assert list(hypervolume_figure({"digits": curve}).data[0].y) == list(curve["hypervolume"])
    by_time = hypervolume_figure({"digits": curve}, by_time=True)
    assert by_time.layout.xaxis.title.text.startswith("minutes")
    assert {bar.name for bar in fate_figure(frame).data} == {"complete", "failed", "running", "waiting"}


def test_fronts_of_several_studies(repository: Repository) -> None:
    summaries = [summarise(repository, repository.get_study(name)) for name in ("digits", "three")]
    figure = fronts_figure(summaries)
    assert [trace.name for trace in figure.data] == ["digits", "three"]
    assert list(figure.data[1].x) == [128, 210, 900]


def test_curves_are_told_apart() -> None:
    figure = learning_figure([("trial 3", {1: 0.5, 2: 0.6}), ("seed 1", {1: 0.4})], "accuracy")
    assert list(figure.data[0].y) == [0.5, 0.6]
    assert figure.data[0].line.width > figure.data[1].line.width


def test_ticks_are_those_that_people_write() -> None:
    assert log_axis([1_000.0, 200_000.0])["ticktext"] == [
        "1k",
        "2k",
        "5k",
        "10k",
        "20k",
        "50k",
        "100k",
        "200k",
    ]
    assert log_axis([1.0, 1e9])["ticktext"][0] == "1"
    assert log_axis([])["type"] == "log"
    assert short(1_500_000) == "1.5M"


def test_tags_in_texts_are_shown() -> None:
    assert said("<b>&") == "&lt;b&gt;&amp;"


def test_a_long_course_is_drawn_by_forty_values() -> None:
    found = sparkline([float(i) for i in range(1_000)])
    assert len(found) == 41
    assert found[-1] == 999.0
    assert sparkline([1.0]) == [1.0]

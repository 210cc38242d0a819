import io
from dataclasses import replace

import pytest
from rich.console import Console
from rich.spinner import Spinner

from autopeft.cli.live import Progress, advance, draw, plain, progress
from autopeft.nouns import TrialKind
from autopeft.report.events import Event, Phase, Started, TrialDone

STARTED = Started(
    name="digits",
    url="postgresql://me:secret@host/db",
    resumed=False,
    limit=2_000,
    backbone_parameters=200_000,
    smallest=64,
    trials_wanted=20,
    trials_done=0,
    workers=2,
)
HEAD = TrialDone(
    number=0,
    kind=TrialKind.HEAD_ONLY,
    description="no modules, lr 0.001",
    trainable=0,
    share=0.0,
    score=0.7,
    reason="",
    done=1,
    wanted=20,
    best_score=None,
    hypervolume=None,
    elapsed_seconds=8.0,
    remaining_seconds=None,
)
POINT = TrialDone(
    number=6,
    kind=TrialKind.SEARCH,
    description="serial 6 in all layers, lr 0.003",
    trainable=1_500,
    share=0.0075,
    score=0.9,
    reason="",
    done=2,
    wanted=20,
    best_score=0.9,
    hypervolume=0.25,
    elapsed_seconds=75.0,
    remaining_seconds=130.0,
)
ANEW = replace(POINT, number=8, kind=TrialKind.CONFIRM, score=0.88, done=4)
FAILED = replace(POINT, number=7, score=None, reason="out of memory.", done=3)
STOPPED = replace(POINT, number=9, score=None, stopped_after=1, done=5)
EVENTS: list[Event] = [Phase("loading the backbone"), STARTED, Phase("warming up"), HEAD, POINT, FAILED]


def drawn(events: list[Event], now: float = 0.0) -> str:
    state = Progress(began=0.0)
    for event in events:
        state = advance(state, event, 0.0)
    console = Console(width=80, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(draw(state, Spinner("dots"), now))
    return capture.get()


def test_it_says_what_it_does_from_the_first_moment() -> None:
    assert "starting" in drawn([])
    assert "loading the backbone  0:07" in drawn(EVENTS[:1], now=7.2)


def test_the_display_of_a_search() -> None:
    assert "digits · 2 workers · warming up" in drawn(EVENTS[:3])
    assert "0 of 20 trials" in drawn(EVENTS[:3])
    shown = drawn(EVENTS, now=5.0)
    assert "warming up" not in shown
    for said in (
        "3 of 20 trials",
        "1:20, about 2 min left",
        "best score   0.9000   with at most 2,000 parameters (1.0%)",
        "hypervolume  0.2500",
        "7  failed        1,500  out of memory.",
        "6  0.9000        1,500  serial 6 in all layers, lr 0.003",
        "baseline: no modules",
    ):
        assert said in shown


def test_the_display_of_a_trial_that_was_stopped() -> None:
    assert "9    weak        1,500  serial 6 in all layers, lr 0.003" in drawn([*EVENTS, STOPPED])


def test_the_display_of_a_confirmation() -> None:
    shown = drawn([*EVENTS, ANEW])
    assert "digits · 2 workers · confirming" in shown
    assert "8  0.8800        1,500  confirming: serial 6 in all layers, lr 0.003" in shown


def test_a_long_search_shows_its_last_trials_only() -> None:
    many = [replace(POINT, number=i, done=i) for i in range(1, 19)]
    shown = drawn([STARTED, *many])
    assert "  18  0.9000" in shown
    assert "  13  0.9000" not in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_nothing_is_left_of_the_time_at_the_end() -> None:
    assert "left" not in drawn([STARTED, replace(POINT, done=20, remaining_seconds=0.0)])
    late = drawn([STARTED, replace(POINT, remaining_seconds=3.0)], now=60.0)
    assert "a few seconds left" in late


def test_on_a_terminal_it_is_drawn_and_vanishes() -> None:
    screen = io.StringIO()
    with progress(Console(file=screen, force_terminal=True, width=80)) as tell:
        for event in EVENTS:
            tell(event)
    assert "starting" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[1A\x1b[2K")  # the last line is wiped
    assert "\x1b[?25h" in screen.getvalue()  # the cursor is back


def test_elsewhere_it_is_a_line_for_each_event() -> None:
    file = io.StringIO()
    with progress(Console(file=file, width=20)) as tell:
        for event in EVENTS:
            tell(event)
            assert file.getvalue().endswith(plain(event) + "\n")
    assert len(file.getvalue().splitlines()) == len(EVENTS)
    assert "\x1b" not in file.getvalue()


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Phase("starting Ray"), "starting Ray"),
        (
            replace(STARTED, resumed=True, trials_done=5),
            "study digits goes on: 5 of 20 trials done, 2 workers, at most 2,000 of 200,000 parameters (1.0%); "
            "database postgresql://me:***@host/db",
        ),
        (HEAD, "[1/20] trial 0: score 0.7000, 0 parameters (0%); baseline: no modules, lr 0.001; 8.0 s"),
        (
            POINT,
            "[2/20] trial 6: score 0.9000, 1,500 parameters (0.75%); serial 6 in all layers, lr 0.003; best 0.9000, "
            "hypervolume 0.2500; 1 min 15 s, about 2 min left",
        ),
        (
            STOPPED,
            "[5/20] trial 9: stopped after epoch 1, 1,500 parameters (0.75%); serial 6 in all layers, lr 0.003; best "
            "0.9000, hypervolume 0.2500; 1 min 15 s, about 2 min left",
        ),
        (
            ANEW,
            "[4/20] trial 8: score 0.8800, 1,500 parameters (0.75%); confirming: serial 6 in all layers, lr 0.003; best "
            "0.9000, hypervolume 0.2500; 1 min 15 s, about 2 min left",
        ),
        (
            replace(FAILED, best_score=None, remaining_seconds=None),
            "[3/20] trial 7: failed: out of memory; serial 6 in all layers, lr 0.003; 1 min 15 s",
        ),
    ],
)
def test_lines(event: Event, line: str) -> None:
    assert plain(event) == line

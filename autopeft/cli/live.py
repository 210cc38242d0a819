"""Progress on stderr: a display that redraws itself on a terminal, and a line for each event elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from autopeft.cli.again import without_password
from autopeft.cli.terminal import Harmless, say
from autopeft.nouns import TrialKind
from autopeft.report.events import Event, Phase, Started, TrialDone
from autopeft.report.numbers import show_score, show_seconds, show_share

_LAST = 5  # trials that are shown
_BAR_WIDTH = 40
_REDRAWS_PER_SECOND = 8


@dataclass(frozen=True)
class Progress:
    """What is known of a running search. Times are those of one monotonic clock, in seconds.

    Attributes:
        began: When the display began.
        phase: What goes on beside trials; empty while trials are all there is.
        started: The study, once it is there.
        trials: The last few trials, the newest last.
        told: When the newest trial was told.
    """

    began: float
    phase: str = "starting"
    started: Started | None = None
    trials: tuple[TrialDone, ...] = ()
    told: float = 0.0


def advance(progress: Progress, event: Event, now: float) -> Progress:
    """The progress after an event that came at `now`."""
    match event:
        case Phase():
            return replace(progress, phase=event.text)
        case Started():
            return replace(progress, phase="", started=event)
        case TrialDone():
            phase = "confirming" if event.kind is TrialKind.CONFIRM else ""
            return replace(progress, phase=phase, trials=(*progress.trials, event)[-_LAST:], told=now)


@contextmanager
def progress(console: Console | None = None) -> Iterator[Callable[[Event], None]]:
    """A display of the events that the yielded function is called with, from any thread.

    Args:
        console: Where to draw, stderr by default. On a terminal the display is alive at once, and gone at the end.
    """
    console = console or Console(stderr=True, highlight=False)
    if not console.is_interactive:
        yield lambda event: say(plain(event), console.file)
        return
    board = Board()
    # vertical_overflow: on a window of a few lines the newest things are drawn first, so the rest may go.
    with Live(
        board,
        console=console,
        transient=True,
        refresh_per_second=_REDRAWS_PER_SECOND,
        vertical_overflow="crop",
    ):
        yield board.tell


@dataclass
class Board:
    """What the display redraws itself from. The progress is replaced whole, so that any thread may tell."""

    state: Progress = field(default_factory=lambda: Progress(began=time.monotonic()))
    spinner: Spinner = field(default_factory=lambda: Spinner("dots", style="cyan"))

    def tell(self, event: Event) -> None:
        """Take an event in; it is drawn with the next redraw."""
        self.state = advance(self.state, event, time.monotonic())

    def __rich__(self) -> RenderableType:
        return Harmless(draw(self.state, self.spinner, time.monotonic()))


def draw(state: Progress, spinner: Spinner, now: float) -> RenderableType:
    """The display at a moment."""
    spinner.update(text=_activity(state, now))
    if state.started is None:
        return spinner
    lines: list[RenderableType] = [spinner, Text(), _bar(state, state.started), _times(state, now)]
    if state.trials:
        lines += [*_found(state.started, state.trials[-1]), Text(), *map(_trial, reversed(state.trials))]
    return Group(*lines)


def _activity(state: Progress, now: float) -> Text:
    if state.started is None:
        return _line(state.phase, (f"  {_clock(now - state.began)}", "dim"))
    workers = (f" · {_workers(state.started.workers)}", "dim")
    return _line((state.started.name, "bold"), workers, f" · {state.phase}" if state.phase else "")


def _bar(state: Progress, study: Started) -> RenderableType:
    done = state.trials[-1].done if state.trials else study.trials_done
    wanted = state.trials[-1].wanted if state.trials else study.trials_wanted
    grid = Table.grid(padding=(0, 2))
    grid.add_row(
        Text(" "),
        ProgressBar(
            total=max(wanted, 1),
            completed=done,
            width=_BAR_WIDTH,
            complete_style="cyan",
            finished_style="cyan",
        ),
        Text(f"{done} of {wanted} trials"),
    )
    return grid


def _times(state: Progress, now: float) -> Text:
    if not state.trials:
        return _line((f"   {_clock(now - state.began)}", "dim"))
    last, since = state.trials[-1], now - state.told
    text = f"   {_clock(last.elapsed_seconds + since)}"
    if last.remaining_seconds is not None and last.done < last.wanted:
        text += f", {_left(last.remaining_seconds - since)}"
    return _line((text, "dim"))


def _found(study: Started, last: TrialDone) -> list[Text]:
    share = show_share(study.limit / study.backbone_parameters)
    return [
        _line(
            "   best score   ",
            (show_score(last.best_score), "bold green"),
            (f"   with at most {study.limit:,} parameters ({share})", "dim"),
        ),
        _line("   hypervolume  ", (show_score(last.hypervolume), "bold")),
    ]


def _trial(trial: TrialDone) -> Text:
    score: str | tuple[str, str] = f"{show_score(trial.score):>6}"
    if trial.stopped_after is not None:
        score = ("  weak", "dim")
    elif trial.score is None:
        score = ("failed", "red")
    about = f"  {_kind(trial)}{trial.reason or trial.description}"
    return _line((f"  {trial.number:>4}  ", "dim"), score, f"  {trial.trainable:>11,}", (about, "dim"))


def _line(*parts: str | tuple[str, str]) -> Text:
    """One line, cut at the window's edge: a display that redraws itself must keep its height."""
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def plain(event: Event) -> str:
    """An event in a line."""
    match event:
        case Phase():
            return event.text
        case Started():
            began = f"study {event.name} {'goes on' if event.resumed else 'begins'}"
            share = show_share(event.limit / event.backbone_parameters)
            return (
                f"{began}: {event.trials_done} of {event.trials_wanted} trials done, {_workers(event.workers)}, at most "
                f"{event.limit:,} of {event.backbone_parameters:,} parameters ({share}); "
                f"database {without_password(event.url).removeprefix('sqlite:///')}"
            )
        case TrialDone():
            head = f"[{event.done}/{event.wanted}] trial {event.number}: "
            size = f"{event.trainable:,} parameters ({show_share(event.share)})"
            if event.stopped_after is not None:
                head += f"stopped after epoch {event.stopped_after}, {size}"
            elif event.score is None:
                head += f"failed: {event.reason.rstrip('.')}"
            else:
                head += f"score {show_score(event.score)}, {size}"
            parts = [head, _kind(event) + event.description]
            if event.best_score is not None:
                parts.append(
                    f"best {show_score(event.best_score)}, hypervolume {show_score(event.hypervolume)}"
                )
            time_text = show_seconds(event.elapsed_seconds)
            if event.remaining_seconds is not None and event.done < event.wanted:
                time_text += f", {_left(event.remaining_seconds)}"
            return "; ".join([*parts, time_text])


def _kind(trial: TrialDone) -> str:
    return {TrialKind.SEARCH: "", TrialKind.CONFIRM: "confirming: ", TrialKind.PROBE: "probe: "}.get(
        trial.kind, "baseline: "
    )


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds, as 1:02:03 or 0:07."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _left(seconds: float) -> str:
    """An estimate, so no more exact than it is."""
    if seconds < 10:
        return "a few seconds left"
    if seconds < 60:
        return f"about {round(seconds, -1):.0f} s left"
    if seconds < 3600:
        return f"about {round(seconds / 60)} min left"
    return f"about {seconds / 3600:.1f} h left"


def _workers(count: int) -> str:
    return f"{count} worker{'' if count == 1 else 's'}"

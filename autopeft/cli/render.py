"""Tables and lines on stdout. Calm: one colour a meaning, and every meaning in words or signs as well."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from autopeft.cli.again import without_password
from autopeft.cli.terminal import Harmless, to_json
from autopeft.nouns import Job, TrialKind, TrialStatus
from autopeft.registry import TRADE_OFF, objectives
from autopeft.report.numbers import (
    share_decimals,
    show_mean,
    show_score,
    show_share,
    show_value,
)
from autopeft.report.summary import Row, Summary

if TYPE_CHECKING:
    from autopeft.doctor import Finding

_FILE_WIDTH = 1_000  # a file has no width: nothing is cut or wrapped in it
_WIDE = 100  # columns that a list of studies, or a confirmed front, needs for everything
_COLUMN = 20  # that each further objective needs
_NARROW = 80  # below, a front leaves out the share, and beside confirmed scores those on test
_MOST_AT_ONCE = 3  # objectives of which a front still leaves something out
_WAYS = {"maximize": "↑", "minimize": "↓"}
_KNEE = ("◆ knee", "bold cyan")
_BEST = ("★ best", "bold green")


def show(drawn: RenderableType) -> None:
    """Print to stdout: as wide as the terminal; in a file as wide as it must be, without trailing spaces."""
    if sys.stdout.isatty():
        Console(highlight=False).print(Harmless(drawn))
        return
    console = Console(width=_width(), highlight=False)
    with console.capture() as capture:
        console.print(Harmless(drawn))
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def _width() -> int:
    return Console().width if sys.stdout.isatty() else _FILE_WIDTH


def print_json(value: Any) -> None:
    """Print plain JSON, indented."""
    print(to_json(value, indent=2))


def print_line(text: str | Text) -> None:
    """Print a line that the terminal may break, but that is copied as one."""
    text = Text(text) if isinstance(text, str) else text
    Console(highlight=False).print(Harmless(text), soft_wrap=True)


def print_front(summary: Summary) -> None:
    """Print a study's front and its baselines."""
    show(draw_front(summary, _width()))


def print_studies(lines: Sequence[Mapping[str, Any]]) -> None:
    """Print what `report.studies_table` answers."""
    if not lines:
        print_line("No study yet. `autopeft search` starts one.")
    else:
        show(draw_studies(lines, _width()))


def print_jobs(jobs: Sequence[Job]) -> None:
    """Print the queue."""
    if not jobs:
        print_line("No job yet. `autopeft submit` makes one.")
        return
    table = _table("study", "state", "priority", "owner", "since", last="server", left=(0, 1, 3, 4))
    for job in jobs:
        state = f"{job.state}, to be {job.wish}" if job.wish else str(job.state)
        since = (job.finished_at or job.started_at or job.created_at)[:16].replace("T", " ")
        table.add_row(job.study, state, str(job.priority), job.owner, since, job.reason or job.server)
    show(table)


def print_trial(record: Mapping[str, Any]) -> None:
    """Print what `report.trial_record` answers."""
    show(draw_trial(record))


def print_next_steps(summary: Summary, *, db: str | None, more: str, to_confirm: int = 0) -> None:
    """Print where the study is, and what can be done with it.

    Args:
        summary: The study.
        db: The database as it was named, or None for the default one.
        more: The command that goes on with the search.
        to_confirm: Confirming trials that are still to come.
    """
    place = [] if db is None else ["--db", without_password(db)]
    folder = f"{summary.name}-knee"
    steps = [("look again", shlex.join(["autopeft", "front", summary.name, *place]))]
    if summary.front:
        exported = ["autopeft", "export", summary.name, "--pick", "knee", "--to", "peft", folder, *place]
        steps.append(("export the knee", shlex.join(exported)))
    steps.append(("confirm" if to_confirm else "go on", more))
    if to_confirm:
        print_line(f"The time was over with {_many(to_confirm, 'trial')} of the confirmation to go.")
    print_line(
        Text.assemble("Study ", (summary.name, "bold"), f" in {summary.url.removeprefix('sqlite:///')}")
    )
    for name, command in steps:
        print_line(Text.assemble((f"  {name:<17}", "dim"), command))


_STATES = {"ok": ("✓", "green"), "note": ("·", "cyan"), "problem": ("✗", "bold red")}


def print_finding(finding: "Finding") -> None:
    """Print what a check of `autopeft doctor` found: a line, and for what to do a second one."""
    sign, style = _STATES[finding.state]
    line = Text.assemble(
        (f"{sign} {finding.state:<8}", style), (f"{finding.about:<10} ", "bold"), finding.found
    )
    print_line(line)
    if finding.remedy:
        print_line(Text(f"{'':21}{finding.remedy}", style="" if finding.state == "problem" else "dim"))


def draw_front(summary: Summary, width: int) -> RenderableType:
    """A study's front, the cheapest first, and its baselines under a line.

    Configurations that do not fit into the width take several lines.
    """
    shared = width >= _NARROW
    head = draw_head(summary)
    rows = (*summary.front, *summary.baselines)
    if not rows:
        return Group(head, Padding("No trial is complete yet.", (1, 2)))
    decimals = share_decimals(row.share for row in rows)
    scores = _confirmed_scores if summary.by_confirmed else _scores
    others = [one for one in summary.objectives if one["name"] not in TRADE_OFF]
    columns = others if width >= _WIDE + _COLUMN * len(others) else []  # else beside the configuration
    titles = [*scores(summary, None, width), *(one["title"] for one in columns)]
    table = _table(
        *("Trial", "", "Trainable", *(["Share"] if shared else []), *titles), last="Configuration", left=(1,)
    )
    for group in (summary.front, summary.baselines):
        for row in group:
            strong = "bold" if row.knee or row.best else ""
            first, *more = scores(summary, row, width)
            more += [_objective(summary, row, one) for one in columns]
            about = [_configuration(row, summary)]
            about += [
                f"{one['title'].lower()} {_objective(summary, row, one)}"
                for one in others
                if one not in columns
            ]
            cells = [
                Text(str(row.number), style=strong),
                _mark(row, " " if width >= _WIDE else "\n"),
                Text(f"{row.trainable:,}"),
                *([Text(show_share(row.share, decimals))] if shared else []),
                Text(first, style=strong),
                *map(Text, more),
            ]
            table.add_row(*cells, Text("; ".join(about)))
        table.add_section()
    foot = Text("\n".join(_sureness(summary)), style="dim")
    return Group(head, Padding(table, (1, 0, 1, 2)), Padding(foot, (0, 0, 1, 2)))


def _objective(summary: Summary, row: Row, one: Mapping[str, Any]) -> str:
    """What a row says of an objective: the confirmed mean where the scores are confirmed ones, else the trial's own."""
    name = one["name"]
    value = row.reported_objective(name) if summary.by_confirmed else row.objectives.get(name)
    return show_value(value, one["unit"])


def _scores(summary: Summary, row: Row | None, width: int) -> list[str]:
    """The cells of a row with the search's own scores; the titles, for no row."""
    tested = any(one.test_score is not None for one in (*summary.front, *summary.baselines))
    if row is None:
        return ["Score", *(["Test"] if tested else [])]
    return [show_score(row.score), *([show_score(row.test_score)] if tested else [])]


def _confirmed_scores(summary: Summary, row: Row | None, width: int) -> list[str]:
    """The cells of a row with confirmed scores; the titles, for no row. The test score is a mean over the seeds too."""
    rows = [one.confirmed for one in (*summary.front, *summary.baselines)]
    tested = width >= _NARROW and any(found is not None and found.test_mean is not None for found in rows)
    if row is None:
        return ["Confirmed", *(["Search said"] if width >= _WIDE else []), *(["Test"] if tested else [])]
    found = row.confirmed
    return [
        "–" if found is None else show_mean(found.mean, found.standard_error),
        *([show_mean(row.score)] if width >= _WIDE else []),
        *([show_mean(row.test_score if found is None else found.test_mean)] if tested else []),
    ]


def _sureness(summary: Summary) -> list[str]:
    """How far the scores of a front can be believed, in sentences."""
    if not summary.front:
        return []
    if summary.imported is not None:
        said = [f"Published results, each of one run: from {summary.imported['source']}."]
        if len(summary.objectives) > _MOST_AT_ONCE:
            pair = ",".join(one["short"] for one in (summary.objectives[0], summary.objectives[-1]))
            said.append(
                f"Of so many objectives nearly all is on the front: --objectives {pair} looks at two."
            )
        return said
    confirming = sum(summary.confirmations.values())
    if not summary.by_confirmed:
        under_way = (
            f" ({_many(summary.confirmations['complete'], 'confirming trial')} complete)"
            if confirming
            else ""
        )
        return [f"Not confirmed{under_way}: these are the scores that the search chose by, which flatter."]
    found = [row.confirmed for row in (*summary.front, *summary.fallen) if row.confirmed is not None]
    seeds = sorted({one.seeds for one in found})
    over = _many(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    new = f" {found[0].examples:,}" if found[0].examples is not None else ""
    where = f"on{new} examples that the search never saw"
    if not all(one.held_back for one in found):
        where = "on the validation examples, which the search chose by: only the seeds are new"
    alone = (
        f" (the choice of the examples adds ± {summary.examples_error:.3f})" if summary.examples_error else ""
    )
    said = [f"Confirmed: mean ± standard error over {over}, {where}{alone}."]
    if summary.mean_gap is not None:
        way = "higher" if (summary.mean_gap >= 0) == (summary.direction == "maximize") else "lower"
        said.append(f"What the search said was {abs(summary.mean_gap):.3f} {way} on average.")
    if summary.fallen:
        trials = ", ".join(str(row.number) for row in summary.fallen)
        size = len(summary.fallen)
        said.append(
            f"{_many(size, 'point')} of its front fell off it when confirmed: trial{'' if size == 1 else 's'} {trials}."
        )
    return said


def draw_head(summary: Summary) -> RenderableType:
    """What was searched, and how far."""
    stopped, failed = summary.counts["stopped"], summary.counts["failed"]
    left = summary.counts["waiting"] + summary.counts["running"]
    counted = [f"{_many(summary.counts['complete'], 'trial')} complete"]
    counted += [f"{stopped} stopped early"] if stopped else []
    counted += [f"{failed} failed"] if failed else []
    counted += [f"{left} to go"] if left else []
    volume = [] if summary.hypervolume is None else [f"hypervolume {show_score(summary.hypervolume)}"]
    lines = [
        Text.assemble(
            (summary.name, "bold"),
            f" · {summary.model} on {summary.data} · space {summary.space} · {summary.metric}",
        ),
        Text(
            f"budget {summary.budget}: at most {summary.limit:,} of {summary.backbone_parameters:,} parameters"
            f"{', the head not counted' if summary.new_head else ''}"
        ),
        Text(" · ".join((", ".join(counted), *volume))),
    ]
    if {one["name"] for one in summary.objectives} != set(TRADE_OFF):
        wanted = [f"{one['title'].lower()} {_WAYS[one['direction']]}" for one in summary.objectives]
        lines.insert(1, Text(f"for {', '.join(wanted)}"))
    return Padding(Group(*lines), (1, 0, 0, 2))


def draw_studies(lines: Sequence[Mapping[str, Any]], width: int) -> RenderableType:
    """A line for each study; where the width is small, without what `autopeft front` says too."""
    wide = width >= _WIDE
    usual = not wide or all(set(line["objectives"]) == set(TRADE_OFF) for line in lines)
    shared = len({line["owner"] for line in lines}) > 1
    owner = ["Owner"] if shared else []
    texts = ["Study", *owner, *(["Created (UTC)", "Space"] if wide else []), *([] if usual else ["For"])]
    numbers = ("Budget", "Done", "Stopped", "Failed", "To go", "Best")
    table = _table(*texts, *numbers, last="Hypervolume", left=range(len(texts)))
    table.columns[0].no_wrap, table.columns[0].overflow = False, "fold"
    table.columns[-1].no_wrap, table.columns[-1].justify = True, "right"
    for line in lines:
        more = (Text(line["created_at"][:16].replace("T", " ")), Text(line["space"])) if wide else ()
        table.add_row(
            Text(line["name"], style="bold"),
            *([Text(line["owner"] or "–")] if shared else ()),
            *more,
            *(() if usual else (Text(",".join(line["objectives"])),)),
            line["budget"],
            str(line["complete"]),
            str(line["stopped"] or "–"),
            str(line["failed"] or "–"),
            str(line["waiting"] + line["running"] or "–"),
            show_score(line["best_score"]),
            show_score(line["hypervolume"]),
        )
    return Padding(table, (1, 0, 1, 2))


def draw_trial(record: Mapping[str, Any]) -> RenderableType:
    """One trial, a line for each thing that is known of it."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in _facts(record):
        grid.add_row(name, Text(value))
    head = Text.assemble(
        (f"Trial {record['number']}", "bold"),
        f" of {record['study']} · {_KINDS[record['kind']]} · {record['status']}",
    )
    return Padding(Group(head, Text(), grid), (1, 0, 1, 2))


_RANKED = 5  # configurations of a probe that are shown


def _facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    share = show_share(record["share"])
    facts = [("Failed", record["reason"])] if record["reason"] else []
    if record["status"] == TrialStatus.STOPPED.value:
        epoch = record["scores"][-1]["epoch"]
        facts += [("Stopped", f"after epoch {epoch}: other trials of about its size did better there")]
    facts += [
        ("Configuration", record["description"]),
        ("Trainable", f"{record['trainable']:,} parameters, {share} of the backbone, a new head not counted"),
    ]
    facts += (
        [("Score", f"{show_score(record['score'])} {record['metric']}")]
        if record["score"] is not None
        else []
    )
    by_epoch = "  ".join(show_score(one["score"]) for one in record["scores"])
    facts += [("by epoch", by_epoch)] if by_epoch else []
    facts += _confirmation(record)
    own = {one["name"]: one for one in record["objectives"]}
    facts += [
        (own[name]["title"], show_value(value, own[name]["unit"]))
        if name in own
        else _measurement(name, value)
        for name, value in record["measurements"].items()
    ]
    if record["ranking"]:
        facts.append(
            ("Ranked", f"{len(record['ranking'])} configurations, by what could be gained at first:")
        )
        facts += [("", f"{one['score']:.3g}  {one['description']}") for one in record["ranking"][:_RANKED]]
    facts += [
        (_READ_OUT[name], f"{_found(one['found'])}: {one['description']}")
        for name, one in record["read_out"].items()
    ]
    facts += [
        ("Learning rate", f"{record['configuration']['learning_rate']:g}"),
        *((f"Module {i}", _module(m)) for i, m in enumerate(record["configuration"]["modules"], start=1)),
        ("Seed", str(record["seed"])),
    ]
    trained = dict(record["details"])
    if trained.pop("published", None) is None:
        facts += [
            ("Started", "not yet" if record["attempt"] == 0 else _times(record["attempt"])),
            ("Adapter", record["artifact"] or "not kept"),
        ]
    if record["read_out"]:
        told = {*record["read_out"], "configurations"}
        trained["allocation"] = {n: v for n, v in trained["allocation"].items() if n not in told}
    details = ", ".join(f"{name} {value}" for name, value in trained.items())
    return [*facts, ("Trained with", details)] if details else facts


_READ_OUT = {"layer_set": "Layer set", "multipliers": "Multipliers"}


def _found(layers: list[int] | Mapping[str, float]) -> str:
    if isinstance(layers, list):
        return " ".join(map(str, layers))
    return "  ".join(f"{layer} ×{value:.2f}" for layer, value in layers.items())


def _confirmation(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = []
    found = record["confirmed"]
    if found is not None:
        mean = show_mean(found["mean"], found["standard_error"])
        more = (found["gap"] >= 0) == (record["direction"] == "maximize")
        gap = f"the search said {abs(found['gap']):.3f} {'more' if more else 'less'}"
        facts.append(("Confirmed", f"{mean} over {_many(found['seeds'], 'seed')}; {gap}"))
        known = {one["name"]: one for one in record["objectives"]}
        for name, one in found["objectives"].items():
            facts.append(("", f"{known[name]['title']} {_about(one, known[name]['unit'])}"))
    by_seed = "  ".join(
        f"{show_score(one['score']) if one['status'] == 'complete' else one['status']} (trial {one['number']})"
        for one in record["confirmations"]
    )
    facts += [("by seed", by_seed)] if by_seed else []
    confirms = ", ".join(map(str, record["confirms"]))
    return [*facts, ("Trains anew", f"trial {confirms}")] if confirms else facts


def _about(found: Mapping[str, Any], unit: str) -> str:
    """A mean with its standard error, in its unit."""
    error = found["standard_error"]
    return show_value(found["mean"], unit) + ("" if error is None else f" ± {show_value(error, unit)}")


def _module(module: Mapping[str, Any]) -> str:
    def value(of: Any) -> str:
        return " ".join(map(str, of)) if isinstance(of, list) else str(of)

    return ", ".join(f"{name} {value(of)}" for name, of in module.items())


def _measurement(name: str, value: float) -> tuple[str, str]:
    objective = objectives().get(name)
    if objective is None:
        return name, f"{value:g}"
    return objective.title, show_value(value, objective.unit)


_KINDS = {
    TrialKind.SEARCH.value: "a point of the search",
    TrialKind.HEAD_ONLY.value: "baseline: the frozen backbone",
    TrialKind.LORA_QV.value: "baseline: LoRA on q and v",
    TrialKind.TRUNCATED.value: "a part of another trial's training",
    TrialKind.CONFIRM.value: "confirming",
    TrialKind.PROBE.value: "probe of all configurations' gradients",
}


def _configuration(row: Row, summary: Summary) -> str:
    if row.kind in (TrialKind.SEARCH.value, TrialKind.TRUNCATED.value):
        return row.description
    modules = row.configuration.modules
    if row.kind == TrialKind.HEAD_ONLY.value and not summary.new_head:
        return "frozen backbone, nothing trained"
    if row.kind == TrialKind.HEAD_ONLY.value:
        name = "frozen backbone, head only"
    else:
        name = " + ".join(f"LoRA r={m.size} on {','.join(dict(m.options).get('sites', ()))}" for m in modules)
    tuned = f", best of {row.best_of} learning rates" if row.best_of > 1 else ""
    over = " (over the budget)" if row.trainable > summary.limit else ""
    return f"{name}, lr {row.learning_rate:g}{tuned}{over}"


def _mark(row: Row, between: str) -> Text:
    if not row.on_front:
        return Text("baseline", style="dim")
    marks = [mark for mark, wanted in ((_KNEE, row.knee), (_BEST, row.best)) if wanted]
    return Text(between).join(Text(text, style=style) for text, style in marks)


def _table(*titles: str, last: str, left: Sequence[int]) -> Table:
    """A table with lines under its header and between sections; its last column may take several lines.

    Args:
        *titles: Of the columns but the last, numbers unless they are among `left`.
        last: Title of the last column.
        left: Columns that are texts.
    """
    table = Table(
        box=box.HORIZONTALS, show_edge=False, padding=(0, 1, 0, 0), header_style="dim", border_style="dim"
    )
    for i, title in enumerate(titles):
        table.add_column(title, justify="left" if i in left else "right", no_wrap=True)
    table.add_column(last, overflow="fold")
    return table


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"

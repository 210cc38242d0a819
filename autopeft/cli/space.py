"""`autopeft space`: checking a search space, telling what it says, and what the language allows."""

import random
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopeft.budget import Budget
from autopeft.cli.failure import in_a_sentence
from autopeft.cli.options import AsJson, Sites, parse_sites
from autopeft.errors import InputError

if TYPE_CHECKING:
    from autopeft.dsl import BoundSpace, Space

_NO_LIMIT = 10**18  # more than any model has
_SAMPLES = 5

app = typer.Typer(
    name="space",
    help="Check a search space, and tell what it says.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_Space = Annotated[
    str,
    typer.Argument(metavar="SPACE", help="A shipped space's name (`autopeft space list`), or a YAML file."),
]
_Limit = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="SIZE",
        help="Most trainable parameters, as of `autopeft search`: 0.5% or 300k. Without it the space's own "
        "constraints alone count.",
        show_default=False,
    ),
]


@app.command("check")
@in_a_sentence
def check(
    space: _Space,
    *,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="Bind it to this model too: a folder, a hub id, or `starter`.",
            show_default=False,
        ),
    ] = None,
    budget: _Limit = None,
    sites: Sites = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a search space is right; what is wrong is told with file, line and column."""
    from autopeft.cli import draw_space, render
    from autopeft.dsl.explain import count_decisions
    from autopeft.dsl.finding import find_space

    found = find_space(space)
    if model is None:
        if budget is not None or sites:
            raise InputError(
                f"{'--budget' if budget else '--sites'} is checked on a model: give --model too."
            )
        if as_json:
            render.print_json({"name": found.name, "decisions": count_decisions(found)})
        else:
            render.print_line(draw_space.right(space, found, count_decisions(found)))
        return
    bound = _bind(found, model, budget, sites)
    if as_json:
        render.print_json({"name": found.name, "model": model, **_facts(bound)})
    else:
        render.show(draw_space.draw_bound(space, model, bound, limited=bound.limit < _NO_LIMIT))


@app.command("describe")
@in_a_sentence
def describe(
    space: _Space,
    *,
    model: Annotated[
        str, typer.Option("--model", metavar="MODEL", help="A folder, a hub id, or `starter`.")
    ] = "starter",
    budget: _Limit = None,
    sites: Sites = None,
    as_json: AsJson = False,
) -> None:
    """Tell in plain words what may be chosen, and what that costs on a model, with five samples."""
    from autopeft.cli import draw_space, render
    from autopeft.dsl.explain import explain, headline
    from autopeft.dsl.finding import find_space

    found = find_space(space)
    if found.decisions:
        _describe_plain(found, budget, sites, as_json=as_json)
        return
    bound = _bind(found, model, budget, sites)
    samples = [_sample(bound, assignment) for assignment in bound.sample(random.Random(0), _SAMPLES)]
    samples.sort(key=lambda sample: sample["trainable"])
    if as_json:
        told = {
            "name": found.name,
            "source": found.source,
            "about": headline(found.text),
            "explanation": ["  " * line.depth + line.text for line in explain(found)],
            "model": model,
            **_facts(bound),
            "samples": samples,
        }
        render.print_json(told)
    else:
        render.show(draw_space.draw_space(found, model, bound, samples, limited=bound.limit < _NO_LIMIT))


@app.command("list")
@in_a_sentence
def list_spaces(*, as_json: AsJson = False) -> None:
    """List the search spaces that ship with autopeft."""
    from autopeft.cli import draw_space, render
    from autopeft.dsl.explain import headline
    from autopeft.dsl.finding import find_space
    from autopeft.registry import space_names

    rows = [
        {"name": found.name, "source": found.source, "about": headline(found.text)}
        for found in map(find_space, space_names())
    ]
    if as_json:
        render.print_json(rows)
    else:
        render.show(draw_space.draw_spaces(rows))


@app.command("schema")
@in_a_sentence
def schema(*, as_json: AsJson = False) -> None:
    """Print the language as a JSON Schema, for editors: `# yaml-language-server: $schema=schema.json`."""
    from autopeft.cli import render
    from autopeft.dsl.schema import json_schema

    render.print_json(json_schema())  # JSON in any case


def _describe_plain(space: "Space", budget: str | None, sites: list[str] | None, *, as_json: bool) -> None:
    from autopeft.cli import draw_space, render
    from autopeft.dsl.explain import explain, headline

    if budget is not None or sites:
        raise InputError(
            f"{'--budget' if budget else '--sites'} is of a space with modules, and '{space.name}' has none: leave it out."
        )
    plain = space.plain()
    samples = [plain.configuration(a) for a in plain.sample(random.Random(0), _SAMPLES)]
    if as_json:
        told = {
            "name": space.name,
            "source": space.source,
            "about": headline(space.text),
            "explanation": [line.text for line in explain(space)],
            "decisions": len(plain.decisions),
            "cardinality": plain.cardinality,
            "samples": samples,
        }
        render.print_json(told)
    else:
        render.show(draw_space.draw_plain(space, plain, samples))


def _bind(space: "Space", model: str, budget: str | None, sites: list[str] | None) -> "BoundSpace":
    space.check_modules()
    parsed = Budget.parse(budget) if budget is not None else None  # refused before the model is looked at
    by_hand = parse_sites(sites or ())
    from autopeft.backbones import model_path, read_backbone

    _, layout = read_backbone(model_path(model), by_hand)
    return space.bind(layout.shape, parsed.limit(layout.shape.parameters) if parsed else _NO_LIMIT)


def _facts(bound: "BoundSpace") -> dict[str, Any]:
    return {
        "parameters": bound.shape.parameters,
        "decisions": len(bound.decisions),
        "cardinality": bound.cardinality,
        "smallest": bound.smallest,
        "largest": bound.largest,
        "limit": bound.limit if bound.limit < _NO_LIMIT else None,
    }


def _sample(bound: "BoundSpace", assignment: tuple[Any, ...]) -> dict[str, Any]:
    from autopeft.dsl.describe import describe as in_a_line

    configuration, cost = bound.configuration(assignment), bound.cost(assignment)
    return {
        "trainable": cost,
        "share": cost / bound.shape.parameters,
        "description": in_a_line(configuration, len(bound.shape.layers)),
        "configuration": configuration.to_json(),
    }

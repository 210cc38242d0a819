"""`autopeft modules`: the types of module that a space may name, and what the tests found of each."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopeft.cli.failure import in_a_sentence
from autopeft.cli.options import AsJson
from autopeft.errors import unknown_name

if TYPE_CHECKING:
    from autopeft.dsl.module_type import ModuleType


@in_a_sentence
def modules(
    module: Annotated[
        str | None,
        typer.Argument(
            metavar="TYPE", help="Tell the fields of this type, such as lora.", show_default=False
        ),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the types of module that a search space may name, or tell all about one of them."""
    from autopeft.cli import draw_modules, render
    from autopeft.dsl import MODULE_TYPES

    if module is None:
        rows = [_row(known) for known in MODULE_TYPES.values()]
        if as_json:
            render.print_json(rows)
        else:
            render.show(draw_modules.draw_types(rows))
        return
    if module not in MODULE_TYPES:
        raise unknown_name("module type", module, MODULE_TYPES)
    known = MODULE_TYPES[module]
    if as_json:
        render.print_json({**_row(known), "fields": _fields(known)})
    else:
        render.show(draw_modules.draw_type(_row(known), _fields(known)))


def _row(known: "ModuleType") -> dict[str, Any]:
    """A type, with what the tests found of all its forms together."""
    from autopeft.dsl.module_table import recorded
    from autopeft.dsl.types import sites_of

    forms = [form for form in recorded() if form["type"] == known.name]
    families = dict.fromkeys(family for form in forms for family in form["families"])
    return {
        "type": known.name,
        "about": known.about,
        "source": known.source,
        "size": known.size,
        "sites": list(sites_of(known)),
        "identity": known.identity,
        "changes_backbone_while_on": {name: list(values) for name, values in known.changes_base.items()},
        "forms_tested": len(forms),
        "families_tested": list(families),
        "loads_with_peft": bool(forms) and all(form.get("loads with peft") for form in forms),
        "unusable_here": known.refusal(),
    }


def _fields(known: "ModuleType") -> list[dict[str, Any]]:
    return [
        {
            "field": name,
            "kind": field.kind,
            "default": field.default if field.times_size is None else f"{field.times_size:g} x {known.size}",
            "words": list(field.words),
            "about": field.about,
        }
        for name, field in known.fields.items()
    ]

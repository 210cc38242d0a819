"""`autopeft backbone`: what was found in a model, and which architectures are tested."""

from typing import Annotated

import typer

from autopeft.cli.failure import in_a_sentence
from autopeft.cli.options import AsJson, Sites, parse_sites


@in_a_sentence
def backbone(
    model: Annotated[
        str, typer.Argument(metavar="PATH", help="A folder with config.json, a hub id, or `starter`.")
    ] = "starter",
    *,
    sites: Sites = None,
    tested: Annotated[
        bool, typer.Option("--tested", help="List the architectures that the tests run on instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a backbone offers: its layers, their sites with their shapes, and its parameters."""
    if tested:
        from autopeft.backbones.describe import architecture_table
        from autopeft.cli import draw_backbone, render

        rows = architecture_table()
        if as_json:
            render.print_json(rows)
        else:
            render.show(draw_backbone.draw_tested(rows))
        return
    by_hand = parse_sites(sites or ())
    from autopeft.backbones import model_path, read_backbone
    from autopeft.backbones.describe import describe_layout
    from autopeft.cli import draw_backbone, render

    name, layout = read_backbone(model_path(model), by_hand)
    if as_json:
        render.print_json({"model": model, "class": name, **describe_layout(layout)})
    else:
        render.show(draw_backbone.draw_backbone(model, name, layout))

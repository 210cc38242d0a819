"""The regret curves of a results file as an SVG; needs matplotlib, which nothing else of autopeft does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from peers import METHODS

mpl.use("svg")
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "autopeft", "font.size": 9})

from matplotlib import pyplot as plt  # noqa: E402  (the back end comes first)

_LINES = {"median": ("median configuration, no search", ":"), "lora": ("LoRA, learning rates tuned", "--")}


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Mean regret with its 95 % band over the number of evaluations, for each method; lines for what needs no search."""
    figure, axes = plt.subplots(figsize=(7.5, 4.5))
    longest = results["cap"]
    for name, method in results["methods"].items():
        curve = {kind: values[:longest] for kind, values in method["curve"].items()}
        steps = range(1, len(curve["mean"]) + 1)
        ours = name == "autopeft"
        title = METHODS[name].title if name in METHODS else name
        (line,) = axes.plot(
            steps, curve["mean"], label=title, linewidth=2.2 if ours else 1.1, zorder=3 if ours else 2
        )
        axes.fill_between(steps, curve["low"], curve["high"], color=line.get_color(), alpha=0.15, linewidth=0)
    for name, one in results["without_search"].items():
        title, style = _LINES[name]
        axes.axhline(one["regret"], color="0.5", linestyle=style, linewidth=1, label=title)
    axes.axhline(0.05, color="0.8", linewidth=0.8, zorder=1)
    axes.set(yscale="log", xlim=(1, longest), xlabel="evaluations", ylabel="hypervolume regret")
    axes.legend(frameon=False, fontsize=8, bbox_to_anchor=(1.01, 1), loc="upper left")
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)

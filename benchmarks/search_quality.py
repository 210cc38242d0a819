"""Searchers against the exhaustive table of trainings: how fast each finds the front.

    python benchmarks/search_quality.py                              # the standard set, half an hour on two cores
    python benchmarks/search_quality.py --set all --merge            # the slow ones too, beside what has been measured
    python benchmarks/search_quality.py --methods autopeft --merge   # one anew
    python benchmarks/search_quality.py --table                      # the results as markdown
    python benchmarks/search_quality.py --plot docs/search-quality.svg

Every searcher is run through the same ask and tell that the product uses, against `peft_table/images.parquet`: an
evaluation is one recorded training, so its score has the noise of a training. Judged is the truth (the mean over all
recorded seeds) of what was evaluated: its hypervolume over the score of the head alone, as the product computes it, as a
share of the whole table's. Regret is what lacks to 1. Writes benchmarks/results/search_quality.json.
"""

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Small linear algebra is slower on two threads than on one, and the processes share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from peers import ABLATION, METHODS, Method
from peers.heuristics import lora_front, median_configuration
from peft_table.table import Table, load_images
from replay import Run, replay
from scipy.stats import mannwhitneyu

RESULTS = Path(__file__).parent / "results" / "search_quality.json"
AT = (10, 25, 50, 100)
SHARE = 0.95
PACKAGES = ("autopeft", "botorch", "gpytorch", "numpy", "numpyro", "optuna", "scipy", "smac", "torch")


def search(name: str, repeat: int, evaluations: int) -> Run:
    """One run of a method, in a worker process."""
    return replay(METHODS[name], load_images(), repeat, evaluations)


def measure(
    methods: Sequence[Method], repeats: int, evaluations: int, workers: int
) -> Iterator[tuple[str, list[Run]]]:
    """Each method's runs, by repeat, as soon as it has them all."""
    runs: dict[str, dict[int, Run]] = {method.name: {} for method in methods}
    spawn, began = multiprocessing.get_context("spawn"), time.monotonic()
    with ProcessPoolExecutor(workers, spawn) as pool:
        futures = {
            pool.submit(search, m.name, repeat, max(evaluations, m.evaluations)): (m.name, repeat)
            for m in methods
            for repeat in range(repeats)
        }
        for done, future in enumerate(as_completed(futures), start=1):
            name, repeat = futures[future]
            runs[name][repeat] = run = future.result()
            print(
                f"{done} of {len(futures)} after {(time.monotonic() - began) / 60:.1f} min: {name}, repeat {repeat}, "
                f"{run.found[-1]:.4f}, {sum(run.seconds):.0f} s",
                flush=True,
            )
            if len(runs[name]) == repeats:
                yield name, [runs[name][i] for i in range(repeats)]


def summarise(runs: Sequence[Run], total: float, evaluations: int) -> dict[str, Any]:
    """What is kept of a method: its curves of regret with 95 % bands over the repeats, and each repeat's key figures.

    Args:
        runs: One a repeat.
        total: Hypervolume of the whole table.
        evaluations: The cap of "evaluations to 95 %": a run that does not get there counts with it.
    """
    regret = 1 - np.array([run.found for run in runs]) / total
    handed = 1 - np.array([run.front for run in runs]) / total
    cap = max(evaluations, regret.shape[1])
    there = regret <= 1 - SHARE
    to_share = np.where(there.any(axis=1), there.argmax(axis=1) + 1, cap)
    at = [n for n in AT if n <= regret.shape[1]]
    seconds = np.concatenate([run.seconds for run in runs])
    return {
        "repeats": len(runs),
        "evaluations": int(regret.shape[1]),
        "evaluations_to_95": [int(n) for n in to_share],
        "reached_95": int(there.any(axis=1).sum()),
        "regret_at": {str(n): _rounded(regret[:, n - 1]) for n in at},
        "front_regret_at": {str(n): _rounded(handed[:, n - 1]) for n in at},
        "curve": _curve(regret),
        "front_curve": _curve(handed),
        "duplicates": statistics.mean(run.duplicates for run in runs),
        "seconds_per_ask": {
            "median": round(float(np.median(seconds)), 4),
            "90%": round(float(np.quantile(seconds, 0.9)), 4),
        },
    }


def _curve(values: np.ndarray) -> dict[str, list[float]]:
    low, high = bootstrap(values)
    return {"mean": _rounded(values.mean(axis=0)), "low": _rounded(low), "high": _rounded(high)}


def bootstrap(values: np.ndarray, resamples: int = 2_000) -> tuple[np.ndarray, np.ndarray]:
    """A 95 % interval of the mean over the first axis, by the bootstrap's percentiles."""
    rng = np.random.default_rng(0)
    picks = rng.integers(len(values), size=(resamples, len(values)))
    means = np.stack([values[pick].mean(axis=0) for pick in picks])
    low, high = np.quantile(means, (0.025, 0.975), axis=0)
    return low, high


def _rounded(values: Any) -> list[float]:
    return [round(float(v), 4) for v in values]


def compare(methods: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Ours against every other: two-sided Mann-Whitney tests over the repeats, and how ours stands to it."""
    if "autopeft" not in methods:
        return {}
    ours, found = methods["autopeft"], {}
    for name, theirs in methods.items():
        if name == "autopeft":
            continue
        one: dict[str, Any] = {}
        for figure in ("25", "50", "100"):
            if figure in ours["regret_at"] and figure in theirs["regret_at"]:
                a, b = ours["regret_at"][figure], theirs["regret_at"][figure]
                one[f"regret_at_{figure}"] = _against(a, b)
        one["evaluations_to_95"] = _against(ours["evaluations_to_95"], theirs["evaluations_to_95"])
        found[name] = one
    return found


def _against(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    ratio = statistics.mean(ours) / statistics.mean(theirs) if any(theirs) else float("nan")
    return {"ratio": round(ratio, 3), "p": float(f"{mannwhitneyu(ours, theirs).pvalue:.2g}")}


def record(
    methods: dict[str, dict[str, Any]], table: Table, evaluations: int, command: str
) -> dict[str, Any]:
    """The results file."""

    def means(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
        return {name: round(statistics.mean(v), 4) for name, v in values.items()}

    bands = {
        name: {
            "evaluations_to_95": _rounded(bootstrap(np.array(m["evaluations_to_95"], dtype=float))),
            **{
                f"regret_at_{n}": _rounded(bootstrap(np.array(values)))
                for n, values in m["regret_at"].items()
            },
        }
        for name, m in methods.items()
    }
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, one thread a search",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "table": {
            "digest": table.digest,
            "configurations": len(table.entries),
            "reference_score": table.head.truth,
            "hypervolume": round(table.total, 6),
        },
        "cap": evaluations,
        "evaluations_to_95": means({name: m["evaluations_to_95"] for name, m in methods.items()}),
        **{
            f"regret_at_{n}": means(
                {name: m["regret_at"][str(n)] for name, m in methods.items() if str(n) in m["regret_at"]}
            )
            for n in AT
        },
        "without_search": without_search(table),
        "bands": bands,
        "ours_against": compare(methods),
        "methods": methods,
    }


def without_search(table: Table) -> dict[str, Any]:
    """Regret of what needs no search: the median configuration, and LoRA at tuned learning rates where it was trained."""
    found = {"median": [table.entry(median_configuration(table.space))], "lora": lora_front()}
    return {
        name: {
            "regret": round(1 - table.hypervolume(entries) / table.total, 4),
            "points": [{"score": round(e.truth, 4), "trainable": e.trainable} for e in entries],
        }
        for name, entries in found.items()
        if entries
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def markdown(results: Mapping[str, Any]) -> str:
    """The results as docs/results.md has them, the best method first; without those of the ablation."""
    methods = {name: m for name, m in results["methods"].items() if METHODS.get(name) not in ABLATION}
    lines = [
        "| method | regret at 10 | at 25 | at 50 | at 100 | evaluations to 95 % | got there | front's regret at 50 "
        "| duplicates | seconds per suggestion, median (90 %) |",
        "| --- " * 10 + "|",
    ]
    at_50 = results["regret_at_50"]
    for name in sorted(methods, key=lambda n: at_50.get(n, 1.0)):
        m = methods[name]
        cells = []
        for n in AT:
            values = m["regret_at"].get(str(n))
            cells.append("" if values is None else _with_band(m, name, results, n))
        low, high = results["bands"][name]["evaluations_to_95"]
        to_share = f"{results['evaluations_to_95'][name]:.0f} ({low:.0f} to {high:.0f})"
        handed = m["front_regret_at"].get("50")
        handed_cell = "" if handed is None else f"{statistics.mean(handed):.3f}"
        title = METHODS[name].title if name in METHODS else name
        lines.append(
            f"| {title} | {' | '.join(cells)} | {to_share} | {m['reached_95']} of {m['repeats']} | {handed_cell} "
            f"| {m['duplicates']:.1f} | {m['seconds_per_ask']['median']:.2g} ({m['seconds_per_ask']['90%']:.2g}) |"
        )
    for name, one in results["without_search"].items():
        title = {"median": "the median configuration", "lora": "LoRA, learning rates tuned"}[name]
        points = "1 point" if len(one["points"]) == 1 else f"{len(one['points'])} points"
        cells = [f"{one['regret']:.3f}"] * len(AT)
        lines.append(f"| {title} ({points}, no search) | {' | '.join(cells)} | | | | | |")
    return "\n".join(lines)


def ablation_markdown(results: Mapping[str, Any]) -> str:
    """Ours, and without each ingredient, as docs/suggesting.md has it."""
    lines = [
        f"| ours | {' | '.join(f'regret at {n}' for n in AT)} | evaluations to 95 % |",
        "| --- " * (len(AT) + 2) + "|",
    ]
    for name, m in results["methods"].items():
        if name != "autopeft" and METHODS.get(name) not in ABLATION:
            continue
        cells = [_with_band(m, name, results, n) for n in AT]
        low, high = results["bands"][name]["evaluations_to_95"]
        to_share = f"{results['evaluations_to_95'][name]:.0f} ({low:.0f} to {high:.0f})"
        title = "with everything" if name == "autopeft" else METHODS[name].title.removeprefix("ours, ")
        lines.append(f"| {title} | {' | '.join(cells)} | {to_share} |")
    return "\n".join(lines)


def _with_band(m: Mapping[str, Any], name: str, results: Mapping[str, Any], n: int) -> str:
    low, high = results["bands"][name][f"regret_at_{n}"]
    return f"{statistics.mean(m['regret_at'][str(n)]):.3f} ({low:.3f} to {high:.3f})"


def chosen(names: Sequence[str] | None, which: str) -> list[Method]:
    """The methods to run."""
    if names:
        return [METHODS[name] for name in names]
    if which == "ablation":
        return [METHODS["autopeft"], *ABLATION]
    return [m for m in METHODS.values() if m.standard or (which == "all" and m not in ABLATION)]


def measured_before(path: Path, digest: str) -> dict[str, dict[str, Any]]:
    """The methods of a results file.

    Raises:
        SystemExit: They were measured on another table.
    """
    before = json.loads(path.read_text(encoding="utf-8"))
    if before["table"]["digest"] != digest:
        raise SystemExit(f"{path} was measured on another table: measure all anew, without --merge.")
    methods: dict[str, dict[str, Any]] = before["methods"]
    return methods


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--methods", nargs="+", choices=METHODS, metavar="NAME", help=", ".join(METHODS))
    parser.add_argument("--set", choices=("standard", "all", "ablation"), default="standard")
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--merge", action="store_true", help="keep the methods that were measured before")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only print the results that are there")
    parser.add_argument("--plot", type=Path, metavar="SVG", help="only draw the results that are there")
    args = parser.parse_args()
    if args.table or args.plot:
        results = json.loads(args.results.read_text(encoding="utf-8"))
        if args.table:
            print(markdown(results), ablation_markdown(results), sep="\n\n")
        if args.plot:
            from plots import draw

            draw(results, args.plot)
        return
    methods = chosen(args.methods, args.set)
    table = load_images()
    known = measured_before(args.results, table.digest) if args.merge and args.results.exists() else {}
    command = " ".join(["python", "benchmarks/search_quality.py", *sys.argv[1:]])
    args.results.parent.mkdir(exist_ok=True)
    results: dict[str, Any] = {}
    for name, runs in measure(methods, args.repeats, args.evaluations, args.workers):
        known[name] = {
            **summarise(runs, table.total, args.evaluations),
            "settings": dict(METHODS[name].settings),
            "command": command,
        }
        in_order = {n: known[n] for n in METHODS if n in known}
        results = record(in_order, table, args.evaluations, command)
        # After every method: what is measured is kept, and --merge goes on from there.
        args.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(markdown(results))


if __name__ == "__main__":
    main()

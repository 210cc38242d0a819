"""Epochs that stopping weak trials saves: searches on the exhaustive table with `--fidelity none` and `epochs`.

    python benchmarks/fidelity.py                        # 40 repeats for each of two samplers
    python benchmarks/fidelity.py --table                # the results as markdown

Suggester and stopping rule are those of `autopeft search`; the workers are simulated (`autopeft.run.simulator`), a training
is one recorded training of `peft_table/images.parquet`, drawn among its seeds. In one repeat a configuration has the same
curve whoever asks for it. Judged are the complete trials, as a front has no others: the hypervolume of their truths (the
mean over all recorded seeds of the last score) as a share of the whole table's. Epochs are counted in units of full
trainings. Writes benchmarks/results/fidelity.json.
"""

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import random
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Small linear algebra is slower on two threads than on one, and the processes share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from peers.ours import probe_of
from peft_table.table import Table, load_images

from autopeft.nouns import Configuration, TrialStatus
from autopeft.optimize import find_suggester, halving
from autopeft.optimize.curves import complete
from autopeft.optimize.probed import believe_gradients
from autopeft.run.simulator import Recorded, simulate

RESULTS = Path(__file__).parent / "results" / "fidelity.json"
FIDELITIES = ("none", "epochs")
PACKAGES = ("autopeft", "botorch", "gpytorch", "numpy", "scipy", "torch")
AT = (10, 17, 25, 50)


def full_epochs(table: Table) -> int:
    """Epochs of a full training."""
    return len(next(iter(table.head.curves.values())).validation)


def search(sampler: str, fidelity: str, repeat: int, trainings: int, workers: int) -> dict[str, Any]:
    """One simulated search: its share of the table's hypervolume after each unit of full trainings, and its counts."""
    table = load_images()
    full = full_epochs(table)

    def train(configuration: Configuration) -> Recorded:
        curve = table.draw(configuration, random.Random(f"{repeat}/{configuration.key}/0"))
        return Recorded(curve.validation, curve.seconds)

    ended = simulate(
        table.space,
        find_suggester(sampler, believe_gradients(table.space, probe_of(repeat))),
        train,
        rungs=halving.rungs(full) if fidelity == "epochs" else (),
        workers=workers,
        epochs=trainings * full,
        seed=repeat,
    )
    shares, seconds = [0.0] * trainings, 0.0
    found = []
    for one in ended:
        if one.trial.status is TrialStatus.COMPLETE:
            found.append(table.entry(one.trial.configuration))
            share = table.hypervolume(found) / table.total
            for unit in range(-(-one.epochs // full), trainings + 1):
                shares[unit - 1] = share
        seconds = one.seconds
    return {
        "shares": shares,
        "started": len(ended),
        "complete": len(found),
        "seconds": seconds,
    }


def measure(
    samplers: Sequence[str], repeats: int, trainings: int, at_once: int, processes: int
) -> list[dict[str, Any]]:
    """A row for each sampler and fidelity."""
    runs: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn) as pool:
        futures = {
            pool.submit(search, sampler, fidelity, repeat, trainings, at_once): (sampler, fidelity, repeat)
            for repeat in range(repeats)
            for sampler in samplers
            for fidelity in FIDELITIES
        }
        for done, future in enumerate(as_completed(futures), start=1):
            sampler, fidelity, repeat = futures[future]
            runs.setdefault((sampler, fidelity), {})[repeat] = future.result()
            print(f"{done} of {len(futures)}: {sampler}, {fidelity}, repeat {repeat}", flush=True)
    rows = []
    for sampler in samplers:
        shares = {f: np.array([runs[sampler, f][r]["shares"] for r in range(repeats)]) for f in FIDELITIES}
        for fidelity in FIDELITIES:
            found = [runs[sampler, fidelity][r] for r in range(repeats)]
            rows.append(
                {
                    "sampler": sampler,
                    "fidelity": fidelity,
                    "repeats": repeats,
                    "share": [round(float(v), 4) for v in shares[fidelity].mean(axis=0)],
                    "standard_error": [
                        round(float(v), 4) for v in shares[fidelity].std(axis=0, ddof=1) / repeats**0.5
                    ],
                    "started": float(np.mean([run["started"] for run in found])),
                    "complete": float(np.mean([run["complete"] for run in found])),
                    "epochs_for_the_same": needed(shares["none"], shares[fidelity]),
                }
            )
    return rows


def needed(reference: np.ndarray, shares: np.ndarray, draws: int = 2_000) -> dict[str, Any]:
    """The part of the epochs that suffices for the mean share that the reference has at its end.

    Args:
        reference: Shares by repeat and unit of full trainings.
        shares: The same of another search, over the same repeats.
        draws: Of the bootstrap over repeats.

    Returns:
        `mean`, and the 95 % band from `low` to `high`; None where the share is not reached.
    """

    def part(rows: np.ndarray) -> float:
        there = shares[rows].mean(axis=0) >= reference[rows, -1].mean()
        return (int(there.argmax()) + 1) / shares.shape[1] if there.any() else float("inf")

    rng = np.random.default_rng(0)
    n = len(shares)
    drawn = sorted(part(rng.integers(0, n, n)) for _ in range(draws))
    found = {
        "mean": part(np.arange(n)),
        "low": drawn[int(0.025 * draws)],
        "high": drawn[int(0.975 * draws)],
    }
    return {name: round(value, 3) if value < float("inf") else None for name, value in found.items()}


def foretelling(table: Table, repeats: int = 200) -> list[dict[str, Any]]:
    """How well the end of a training is foretold from an early rung, by trainings that it is learnt from."""
    full = full_epochs(table)
    curves = [
        dict(enumerate(c.validation, start=1)) for e in table.entries.values() for c in e.curves.values()
    ]
    rng, rows = random.Random(0), []
    for learnt in (5, 20, 60):
        for rung in range(1, full // 2 + 1):
            errors, scaled = [], []
            for _ in range(repeats):
                drawn = rng.sample(curves, learnt + 20)
                cut = [{e: s for e, s in curve.items() if e <= rung} for curve in drawn[learnt:]]
                for curve, told in zip(
                    drawn[learnt:], complete([*drawn[:learnt], *cut], full)[learnt:], strict=True
                ):
                    assert told is not None
                    errors.append(told[0] - curve[full])
                    scaled.append(errors[-1] / told[1] ** 0.5)
            rows.append(
                {
                    "learnt_from": learnt,
                    "rung": rung,
                    "rmse": round(float(np.sqrt(np.mean(np.square(errors)))), 4),
                    "scaled_rmse": round(float(np.sqrt(np.mean(np.square(scaled)))), 3),
                }
            )
    return rows


def table_of(results: Mapping[str, Any]) -> str:
    """Markdown."""
    units = [n for n in AT if n <= results["trainings"]]
    shown = " | ".join(f"{n}" for n in units)
    lines = [
        f"| sampler | fidelity | share of the hypervolume after {shown} full trainings | trials: started, complete | "
        "epochs for the same |",
        f"| --- | --- | {'--- | ' * len(units)}--- | --- |",
    ]
    for row in results["rows"]:
        cells = " | ".join(f"{row['share'][n - 1]:.3f} ± {row['standard_error'][n - 1]:.3f}" for n in units)
        same = row["epochs_for_the_same"]
        part = "not reached" if same["mean"] is None else f"{same['mean']:.0%}"
        counts = f"{row['started']:.0f}, {row['complete']:.0f}"
        lines.append(f"| {row['sampler']} | {row['fidelity']} | {cells} | {counts} | {part} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samplers", nargs="+", default=["random", "botorch"])
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--trainings", type=int, default=50, help="epochs to spend, in full trainings")
    parser.add_argument("--workers", type=int, default=2, help="simulated ones")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the results that are there")
    args = parser.parse_args()
    if not args.table:
        rows = measure(args.samplers, args.repeats, args.trainings, args.workers, args.processes)
        data = load_images()
        results = {
            "command": " ".join(["python", "benchmarks/fidelity.py", *sys.argv[1:]]),
            "date": datetime.date.today().isoformat(),
            "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
            "versions": {name: version(name) for name in PACKAGES},
            "table": {"digest": data.digest},
            "trainings": args.trainings,
            "workers": args.workers,
            "rungs": list(halving.rungs(full_epochs(data))),
            "rows": rows,
            "foretelling": foretelling(data),
        }
        args.results.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(table_of(json.loads(args.results.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()

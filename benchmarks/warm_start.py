"""What an earlier study is worth at the start, and what it costs in the long run where it misleads.

    python benchmarks/warm_start.py              # 20 repeats of 100 evaluations, from a cold start and from three others
    python benchmarks/warm_start.py --table      # the results as markdown

Every search is ours on `peft_table/images.parquet`, as `search_quality.py` runs it. A warm one also knows an earlier study: a
search of ours of 50 evaluations, on the same configurations with other scores:

    related     the score on the test split after two of the six epochs: other data and shorter trainings
    unrelated   the scores dealt out anew among the configurations: nothing can be learnt from it
    reversed    one less the score: the earlier study has looked for the worst, and praises it

Judged is the regret as in `search_quality.py`, repeat by repeat against the cold start of the same seed, in which the same
configurations have the same noise. Writes benchmarks/results/warm_start.json.
"""

import argparse
import datetime
import json
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Small linear algebra is slower on two threads than on one, and the processes share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from peers import Method, Peer
from peft_table.table import Curve, Table, load_images
from replay import Run, replay
from scipy.stats import wilcoxon
from search_quality import AT, bootstrap, summarise

import autopeft
from autopeft.dsl import BoundSpace
from autopeft.nouns import Configuration
from autopeft.optimize.observation import Observation
from autopeft.optimize.suggest import believe
from autopeft.registry import objectives

RESULTS = Path(__file__).parent / "results" / "warm_start.json"
EARLIER_EVALUATIONS = 50
_OTHER_SEED = 1_000  # the earlier study's seed is so much above the repeat

Scores = Callable[[Table, Configuration, random.Random], float]
"""An evaluation of the earlier study."""


def related(table: Table, configuration: Configuration, rng: random.Random) -> float:
    """Other data, and a third of the training."""
    return table.draw(configuration, rng).test[1]


def unrelated(table: Table, configuration: Configuration, rng: random.Random) -> float:
    """The score of another configuration, always the same one."""
    keys = sorted(table.entries)
    dealt = dict(zip(keys, random.Random(0).sample(keys, len(keys)), strict=True))
    other = dealt.get(configuration.key)  # none, of the head alone
    return _last(table.draw(table.entries[other].configuration if other else configuration, rng))


def reversed_(table: Table, configuration: Configuration, rng: random.Random) -> float:
    """The better, the worse."""
    return 1 - _last(table.draw(configuration, rng))


def _last(curve: Curve) -> float:
    return curve.validation[-1]


SOURCES: Mapping[str, Scores | None] = {
    "cold": None,
    "related": related,
    "unrelated": unrelated,
    "reversed": reversed_,
}


@dataclass(frozen=True)
class Start(Method):
    """Our searcher with what an earlier study has told it.

    Attributes:
        observed: The earlier study's observations; none for a cold start.
    """

    observed: tuple[tuple[Observation, ...], ...] = ()

    def make(self, space: BoundSpace, seed: int, evaluations: int) -> Peer:
        """A fresh searcher that knows them."""
        known = objectives()
        return autopeft.Optimizer(
            space,
            [known["score"], known["trainable"]],
            seed=seed,
            beliefs=[believe(space, one) for one in self.observed],
        )


def search(name: str, repeat: int, evaluations: int) -> Run:
    """One search from one start, in a worker process."""
    scores = SOURCES[name]
    observed = () if scores is None else (tuple(earlier_study(load_images(), scores, repeat + _OTHER_SEED)),)
    return replay(Start(name, name, "", observed=observed), load_images(), repeat, evaluations)


def earlier_study(table: Table, scores: Scores, seed: int) -> list[Observation]:
    """What a cold search of ours on other scores leaves behind."""
    optimizer = Start("earlier", "earlier", "").make(table.space, seed, EARLIER_EVALUATIONS)
    told: dict[str, tuple[Configuration, float]] = {}
    for _ in range(EARLIER_EVALUATIONS):
        (configuration,) = optimizer.ask(1)
        score = scores(table, configuration, random.Random(f"{seed}/{configuration.key}"))
        told[configuration.key] = configuration, score
        optimizer.tell(configuration, {"score": score})
    told.pop(table.head.configuration.key, None)  # no point of the table's space
    return [Observation(table.space.assignment(one), score) for one, score in told.values()]


def against_cold(runs: Sequence[Run], cold: Sequence[Run], total: float) -> dict[str, dict[str, Any]]:
    """How much regret a warm start saves (above 0) or costs (below), repeat by repeat.

    For each number of evaluations: the mean with its 95 % interval by the bootstrap, and the two-sided p of Wilcoxon's
    signed-rank test.
    """
    found = {}
    for n in (at for at in AT if at <= len(cold[0].found)):
        saved = np.array([(w.found[n - 1] - c.found[n - 1]) / total for w, c in zip(runs, cold, strict=True)])
        low, high = bootstrap(saved[:, None])
        found[str(n)] = {
            "saved": round(float(saved.mean()), 4),
            "band": [round(float(low[0]), 4), round(float(high[0]), 4)],
            "p": float(f"{wilcoxon(saved).pvalue:.2g}") if np.any(saved) else 1.0,
        }
    return found


def measure(names: Sequence[str], repeats: int, evaluations: int, workers: int) -> dict[str, list[Run]]:
    """Every start's runs, by repeat."""
    runs: dict[str, dict[int, Run]] = {name: {} for name in names}
    jobs = [(name, repeat) for repeat in range(repeats) for name in names]
    spawn = multiprocessing.get_context("spawn")
    began = time.monotonic()
    with ProcessPoolExecutor(workers, spawn) as pool:
        futures = {pool.submit(search, name, repeat, evaluations): (name, repeat) for name, repeat in jobs}
        for done, future in enumerate(as_completed(futures), start=1):
            name, repeat = futures[future]
            runs[name][repeat] = run = future.result()
            minutes = (time.monotonic() - began) / 60
            print(
                f"{done} of {len(jobs)} after {minutes:.1f} min: {name}, repeat {repeat}, {run.found[-1]:.4f}",
                flush=True,
            )
    return {name: [by_repeat[r] for r in range(repeats)] for name, by_repeat in runs.items()}


def record(runs: Mapping[str, Sequence[Run]], table: Table, evaluations: int, command: str) -> dict[str, Any]:
    """The results file."""
    starts = {name: summarise(found, table.total, evaluations) for name, found in runs.items()}
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command,
        "table": {"digest": table.digest},
        "earlier_evaluations": EARLIER_EVALUATIONS,
        "cap": evaluations,
        "evaluations_to_95": {
            name: round(statistics.mean(one["evaluations_to_95"]), 1) for name, one in starts.items()
        },
        **{
            f"regret_at_{n}": {
                name: round(statistics.mean(one["regret_at"][str(n)]), 4) for name, one in starts.items()
            }
            for n in AT
            if n <= evaluations
        },
        "against_cold": {
            name: against_cold(found, runs["cold"], table.total)
            for name, found in runs.items()
            if name != "cold" and "cold" in runs
        },
        "starts": starts,
    }


def markdown(results: Mapping[str, Any]) -> str:
    """The results as docs/results.md has them: mean regret, and beside it what the earlier study has saved."""
    at = [n for n in AT if f"regret_at_{n}" in results]
    lines = [
        f"| start | {' | '.join(f'regret at {n}' for n in at)} | evaluations to 95 % |",
        "| --- " * (len(at) + 2) + "|",
    ]
    for name in results["starts"]:
        cells = []
        for n in at:
            cell = f"{results[f'regret_at_{n}'][name]:.3f}"
            if name in results["against_cold"]:
                low, high = results["against_cold"][name][str(n)]["band"]
                cell += f" (saves {low:+.3f} to {high:+.3f})"
            cells.append(cell)
        lines.append(f"| {name} | {' | '.join(cells)} | {results['evaluations_to_95'][name]:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--starts", nargs="+", choices=SOURCES, default=list(SOURCES), metavar="NAME")
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only print the results that are there")
    args = parser.parse_args()
    if args.table:
        print(markdown(json.loads(args.results.read_text(encoding="utf-8"))))
        return
    table = load_images()
    runs = measure(args.starts, args.repeats, args.evaluations, args.workers)
    command = " ".join(["python", "benchmarks/warm_start.py", *sys.argv[1:]])
    results = record(runs, table, args.evaluations, command)
    args.results.parent.mkdir(exist_ok=True)
    args.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(markdown(results))


if __name__ == "__main__":
    main()

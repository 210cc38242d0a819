"""What the probe says of the table's configurations: the gradients of all their modules before any is trained.

    python benchmarks/peft_table/probe.py       # half a minute

A search begins with one probe (`autopeft.train.elastic.gradient_scores`), which takes less time than one of the table's trainings.
It depends on a seed, so there is one for each of twenty repeats of a benchmark, as each would have its own. Writes
probe.json: the CPU seconds of each, and configuration keys with what ranks them, larger is better: the norm of the whole
gradient, and of its parts by kind of module.
"""

import json
import time
from dataclasses import replace
from pathlib import Path

from make import prepare

from autopeft.train.elastic import gradient_scores

HERE = Path(__file__).parent
SEEDS = range(20)


def main() -> None:
    bench, space = prepare("images")
    space = replace(space, limit=space.largest)
    seconds, rankings = [], []
    for seed in SEEDS:
        began = time.process_time()
        ranking = gradient_scores(bench, space, seed)
        seconds.append(round(time.process_time() - began, 2))
        values = zip(*([score for _, score in ranking.scores], *ranking.parts.values()), strict=True)
        rankings.append(
            {
                space.configuration(point).key: [float(f"{value:.4g}") for value in row]
                for (point, _), row in zip(ranking.scores, values, strict=True)
            }
        )
        print(f"seed {seed}: {len(rankings[-1])} configurations in {seconds[-1]} CPU seconds", flush=True)
    text = json.dumps({"cpu_seconds": seconds, "rankings": rankings})
    (HERE / "probe.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

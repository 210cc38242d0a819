"""What the probe says before any configuration of the table is trained.

    python benchmarks/peft_table/probe.py       # half a minute

A search begins with one probe (`autopeft.train.elastic.gradient_scores`), which takes less time than one of the table's trainings.
It depends on a seed, so there is one for each of twenty repeats of a benchmark, as each would have its own. Writes
probe.json: the CPU seconds of each, and its gradients (`autopeft.allocate.gradients`).
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
    seconds, gradients = [], []
    for seed in SEEDS:
        began = time.process_time()
        ranking = gradient_scores(bench, space, seed)
        seconds.append(round(time.process_time() - began, 2))
        assert ranking.gradients is not None
        gradients.append(ranking.gradients.to_json())
        print(f"seed {seed}: {seconds[-1]} CPU seconds", flush=True)
    text = json.dumps({"cpu_seconds": seconds, "gradients": gradients})
    (HERE / "probe.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

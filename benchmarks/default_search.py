"""The default search against its baselines, over several seeds: the table in docs/results.md.

    python benchmarks/default_search.py            # five seeds, about four minutes each on two cores
    python benchmarks/default_search.py --table    # the results as markdown

For every seed the command is `autopeft search --budget 0.5% --seed SEED` in a database of its own. Baselines are the
frozen backbone with its head only and LoRA on query and value, each tuned over six learning rates on the validation
split, as the search itself is. All scores are confirmed ones: the mean of three trainings with seeds of their own, on
validation examples that neither the search nor the tuning saw; beside them the same trainings' test scores. "At LoRA's
cost or less": the best of the front's members that cost no more than the LoRA baseline, by the same means. (The head
alone costs nothing, so for it the whole front counts.)
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "default_search.json"


def run(seed: int, folder: Path) -> dict[str, Any]:
    """One search by the installed command; its summary, with its wall time and the time to its first sign of life."""
    command = [sys.executable, "-m", "autopeft", "search", "--budget", "0.5%", "--seed", str(seed), "--json"]
    environment = {**os.environ, "AUTOPEFT_DB": f"sqlite:///{folder}/seed{seed}.db"}
    began = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    )
    assert process.stderr is not None
    assert process.stdout is not None
    first = process.stderr.readline()
    alive = time.monotonic() - began
    rest = process.stderr.read()
    answer = process.stdout.read()
    if process.wait() != 0:
        raise SystemExit(f"the search failed:\n{first}{rest}")
    return {**json.loads(answer), "seconds": time.monotonic() - began, "alive_seconds": alive}


def compare(summary: dict[str, Any]) -> dict[str, Any]:
    """The best member of the front that costs no more than each baseline, by confirmed means."""
    front = summary["front"]
    baselines = {row["kind"]: row for row in summary["baselines"]}
    head, lora = baselines["head-only"], baselines["lora-qv"]
    rivals = [row for row in front if row["trainable"] <= lora["trainable"]]
    rival = max(rivals, key=mean, default=None)
    return {
        "front": len(front),
        "by_confirmed": summary["by_confirmed"],
        "mean_gap": summary["mean_gap"],
        "hypervolume": summary["hypervolume"],
        "head": head,
        "lora": lora,
        "best": max(front, key=mean),
        "at_loras_cost": rival,
        "beats_both": bool(rival and mean(rival) > max(mean(lora), mean(head))),
        "beats_both_on_test": bool(rival and test_mean(rival) > max(test_mean(lora), test_mean(head))),
        "seconds": summary["seconds"],
        "alive_seconds": summary["alive_seconds"],
    }


def mean(row: dict[str, Any]) -> float:
    """What a configuration was confirmed with."""
    return float(row["confirmed"]["mean"])


def test_mean(row: dict[str, Any]) -> float:
    """The same trainings on the test split."""
    return float(row["confirmed"]["test_mean"])


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""

    def cell(row: dict[str, Any] | None) -> str:
        if row is None:
            return "none"
        error = row["confirmed"]["standard_error"]
        return f"{mean(row):.3f} ± {error:.3f} / {test_mean(row):.3f} ({row['trainable']:,})"

    lines = [
        "| seed | front | head only | LoRA on q, v | best at LoRA's cost or less | best inside 0.5 % | beats both | time |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for seed, row in enumerate(rows):
        verdict = f"{'yes' if row['beats_both'] else 'no'} / {'yes' if row['beats_both_on_test'] else 'no'}"
        lines.append(
            f"| {seed} | {row['front']} | {cell(row['head'])} | {cell(row['lora'])} | {cell(row['at_loras_cost'])} "
            f"| {cell(row['best'])} | {verdict} | {row['seconds']:.0f} s |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="only print the results that are there")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(json.loads(RESULTS.read_text(encoding="utf-8"))["seeds"]))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            rows.append(compare(run(seed, Path(folder))))
            print(table(rows), flush=True)
    packages = ("autopeft", "torch", "transformers", "peft", "botorch", "ray")
    record = {
        "command": "autopeft search --budget 0.5% --seed SEED",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, no GPU",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "seeds": rows,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    won = sum(row["beats_both"] for row in rows)
    print(f"\nbeats both baselines in {won} of {len(rows)} seeds; written to {RESULTS}")


if __name__ == "__main__":
    main()

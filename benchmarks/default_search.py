"""The default search against its baselines, over several seeds: the table in docs/results.md.

    python benchmarks/default_search.py            # five seeds, about four minutes each on two cores

For every seed the command is `autopeft search --budget 0.5% --seed SEED` in a database of its own. Baselines are the
frozen backbone with its head only and LoRA on query and value, each tuned over six learning rates on the validation
split, as the search itself is. "At equal or smaller cost": the best of the front's members that cost no more than the
baseline, chosen on validation. (The head alone costs nothing, so for it the whole front counts.) Test scores are of
those choices. Writes benchmarks/results/default_search.json and prints the table.
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
    """The best member of the front that costs no more than each baseline."""
    front = summary["front"]
    baselines = {row["kind"]: row for row in summary["baselines"]}
    head, lora = baselines["head-only"], baselines["lora-qv"]
    best = max(front, key=lambda row: row["score"])
    rivals = [row for row in front if row["trainable"] <= lora["trainable"]]
    rival = max(rivals, key=lambda row: row["score"], default=None)
    return {
        "front": len(front),
        "hypervolume": summary["hypervolume"],
        "head": head,
        "lora": lora,
        "best": best,
        "at_loras_cost": rival,
        "beats_both": bool(rival and rival["score"] > lora["score"] and rival["score"] > head["score"]),
        "beats_both_on_test": bool(
            rival and rival["test_score"] > lora["test_score"] and rival["test_score"] > head["test_score"]
        ),
        "seconds": summary["seconds"],
        "alive_seconds": summary["alive_seconds"],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""

    def cell(row: dict[str, Any] | None) -> str:
        return (
            "none" if row is None else f"{row['score']:.3f} / {row['test_score']:.3f} ({row['trainable']:,})"
        )

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
    arguments = parser.parse_args()
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

"""A search that chooses among allocators, through the installed command."""

from pathlib import Path

import pytest
from end_to_end import answer, autopeft

from autopeft.nouns import Configuration, TrialKind, TrialStatus
from autopeft.store import Repository

SPACE = """
name: dealt-out
modules:
  lora: {type: lora, sites: [q, v, up, down], rank: {choice: [1, 2]}}
training: {learning_rate: 5.0e-3}
allocation:
  one_of: [{type: spt}, {type: knapsack}, {type: ist}, {type: random}]
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_among_allocators(tmp_path: Path) -> None:
    (tmp_path / "dealt-out.yaml").write_text(SPACE)
    small = (
        "--trials",
        "4",
        "--epochs",
        "1",
        "--confirm-seeds",
        "0",
        "--prior",
        "none",
        "--fidelity",
        "none",
    )
    done = autopeft(tmp_path, "search", "--space", "dealt-out.yaml", "--budget", "10%", *small)
    assert done.returncode == 0, done.stderr
    (study,) = answer(tmp_path, "studies")
    with Repository.open(str(tmp_path / "autopeft.db")) as repository:
        trials = repository.trials(repository.get_study(study["name"]).id)
    found = [trial for trial in trials if trial.kind is TrialKind.SEARCH]
    assert len(found) == 4
    for trial in found:
        assert trial.status is TrialStatus.COMPLETE, trial.reason
        record = trial.details["allocation"]
        assert record["trainable"] <= trial.trainable
        assert trial.plan == Configuration.from_json(record["plan"])
        shown = answer(tmp_path, "show", study["name"], str(trial.number))
        assert f"dealt out by {dict(trial.configuration.allocation)['type']}" in shown["description"]


EVERY_RANK = """
name: every-rank
modules:
  lora: {type: lora, sites: [q, v, up, down], rank: {choice: [2, 4]}}
training: {learning_rate: {choice: [2.0e-3, 5.0e-3, 1.0e-2]}}
allocation: {type: dylora}
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_training_hands_out_every_rank(tmp_path: Path) -> None:
    (tmp_path / "every-rank.yaml").write_text(EVERY_RANK)
    small = (
        "--trials",
        "2",
        "--epochs",
        "1",
        "--confirm-seeds",
        "1",
        "--prior",
        "none",
        "--fidelity",
        "none",
    )
    done = autopeft(tmp_path, "search", "--space", "every-rank.yaml", "--budget", "10%", *small)
    assert done.returncode == 0, done.stderr
    (study,) = answer(tmp_path, "studies")
    with Repository.open(str(tmp_path / "autopeft.db")) as repository:
        trials = repository.trials(repository.get_study(study["name"]).id)
    found = [trial for trial in trials if trial.kind is TrialKind.SEARCH]
    parts = [trial for trial in trials if trial.kind is TrialKind.TRUNCATED]
    ranks = sorted(max(m.size for m in t.configuration.modules) for t in found)
    assert len(parts) == sum(rank - 1 for rank in ranks)
    assert all(part.status is TrialStatus.COMPLETE for part in parts)
    cheapest = min(parts, key=lambda part: part.trainable)
    front = answer(tmp_path, "front", study["name"])
    assert cheapest.number in [row["number"] for row in front["front"]]  # nothing costs less
    anew = [t for t in trials if t.kind is TrialKind.CONFIRM and t.configuration == cheapest.configuration]
    assert anew
    assert all(t.plan.modules == cheapest.plan.modules for t in anew)
    exported = autopeft(
        tmp_path, "export", study["name"], "--pick", str(cheapest.number), "--to", "peft", "out"
    )
    assert exported.returncode == 0, exported.stderr
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()

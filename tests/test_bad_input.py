"""Bad input to the installed command: one sentence, exit code 2, nothing started, nothing lost."""

from pathlib import Path

import pytest
from end_to_end import autopeft

TSV = "text\tlabel\n" + "".join(f"sentence number {i}\t{'yes' if i % 2 else 'no'}\n" for i in range(20))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--buget", "1%"], "--budget"),
        (["--budget", "half"], "cannot read the budget 'half'"),
        (["--budget", "0.001%"], "the smallest configuration"),
        (["--space", "nope"], "there is no search space 'nope'"),
        (["--space", "site.yaml"], "site.yaml:5:13: unknown site 'query'"),
        (["--space", "field.yaml"], "field.yaml:5:5: unknown field 'rnak'"),
        (["--sampler", "optuna:tep"], "Did you mean 'optuna:tpe'?"),
        (["--trials", "0"], "trials"),
        (["--confirm-seeds", "-1"], "--confirm-seeds"),
        (["--confirm-fraction", "1"], "the confirmation fraction 1.0 is not at least 0 and below 1"),
        (["--warm-start", "nope"], "unknown study 'nope'"),
        (["--warm-start", "some", "--sampler", "random"], "only botorch takes a warm start"),
        (["--model", "./nowhere", "--data", "data.tsv"], "there is no model folder './nowhere'"),
        (["--model", "empty", "--data", "data.tsv"], "cannot load"),
        (["--model", "some-model"], "--data"),
        (["--data", "missing.csv"], "missing.csv"),
        (["--data", "data.tsv", "--label-column", "lable"], "lable"),
        (["--data", "one.tsv"], "one"),
    ],
)
def test_refused(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "data.tsv").write_text(TSV)
    (tmp_path / "one.tsv").write_text("text\tlabel\n" + "a b c\tyes\n" * 20)
    (tmp_path / "empty").mkdir()
    space = "name: x\nmodules:\n  a:\n    type: lora\n    sites: [query]\n    rank: 4\ntraining: {learning_rate: 0.1}\n"
    (tmp_path / "site.yaml").write_text(space)
    (tmp_path / "field.yaml").write_text(space.replace("sites: [query]", "rnak: 4"))
    done = autopeft(tmp_path, "search", *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "starting Ray" not in done.stderr
    assert done.stdout == ""

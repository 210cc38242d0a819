"""Eight processes that write to one study at once, on each database."""

import subprocess
import sys
import textwrap

import pytest
from sqlalchemy import text

from autopeft.nouns import Study, TrialStatus
from autopeft.store import Repository

WRITERS, TRIALS = 8, 5_000

# What each proposes is drawn from a pool that all draw from, so that they meet. Every seventh trial is lost, every eleventh
# given back, and what was given back is claimed before anything new is proposed, as a driver does.
WRITER = textwrap.dedent("""
    import os, random, sys
    from autopeft.nouns import Configuration, TrialKind
    from autopeft.store import Repository

    url, name, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])
    draw = random.Random(name)
    completed = refused = 0
    with Repository.open(url) as repository:
        study = repository.get_study("s")
        repository.join(study.id, owner=name, host=name, pid=os.getpid())
        print("ready", flush=True)
        input()
        while True:
            trial = repository.claim(study.id, name)
            if trial is None:
                rate = draw.randrange(100, 900) * 10.0 ** -draw.randrange(3, 13)
                trial = repository.propose(
                    study.id, TrialKind.SEARCH, Configuration.of([], rate), 1, 0, owner=name, at_most=wanted
                )
            if trial is None:
                refused += 1
                counts = repository.counts(study.id)[TrialKind.SEARCH]
                if sum(counts.values()) == wanted and counts["waiting"] == 0:
                    break
                continue
            attempt = repository.start_trial(trial.id, name).attempt
            assert repository.report(trial.id, 1, {"score": trial.number / 1e4}, attempt=attempt)
            if attempt == 1 and trial.number % 7 == 0:
                assert repository.lose(trial.id, "lost", retries=1, attempt=attempt)
            elif attempt == 1 and trial.number % 11 == 0:
                assert repository.requeue(trial.id)
            else:
                assert repository.report(trial.id, 2, {"score": trial.number / 1e4}, attempt=attempt)
                assert repository.complete(trial.id, {"seconds": 1.0}, {"by": name}, "/a", attempt=attempt)
                completed += 1
            if draw.random() < 0.05:
                assert repository.beat(name)
        repository.leave(study.id, name)
    print(completed, refused)
""")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_eight_writers_and_five_thousand_trials(repository: Repository, study: Study) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, repository.url, f"writer {n}", str(TRIALS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(WRITERS)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("\n")
            writer.stdin.flush()
        said = [writer.communicate()[0] for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
    assert [writer.returncode for writer in writers] == [0] * WRITERS
    completed, refused = (sum(int(line.split()[i]) for line in said) for i in (0, 1))
    assert completed == TRIALS  # each by one writer, once
    assert refused > 0  # they have met
    trials = repository.trials(study.id)
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert len({trial.configuration.key for trial in trials}) == TRIALS
    for trial in trials:
        assert trial.status is TrialStatus.COMPLETE
        assert trial.scores == {1: trial.number / 1e4, 2: trial.number / 1e4}
        assert trial.attempt == (2 if trial.number % 7 == 0 or trial.number % 11 == 0 else 1)
        assert trial.measurements == {"seconds": 1.0}
    assert repository.drivers(study.id) == []
    with repository._engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM trial")).scalar() == TRIALS
        assert connection.execute(text("SELECT sum(losses) FROM trial")).scalar() == len(range(0, TRIALS, 7))

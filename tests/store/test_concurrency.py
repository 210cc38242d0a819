import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autopeft.confirmation import FOUND
from autopeft.errors import StudyError
from autopeft.nouns import Study, TrialKind, TrialStatus
from autopeft.store import Repository

from .conftest import a_configuration

ADDER = textwrap.dedent("""
    import sys
    from autopeft.nouns import Configuration, TrialKind
    from autopeft.store import Repository

    with Repository.open(sys.argv[1]) as repository:
        study = repository.get_study("s")
        print("ready", flush=True)
        input()
        for i in range(40):
            configuration = Configuration.of([], 1e-6 * (1 + i))
            repository.add_trial(study.id, TrialKind.SEARCH, configuration, 1, seed=int(sys.argv[2]))
""")


def test_two_processes_never_share_a_number(repository: Repository, study: Study) -> None:
    adders = [
        subprocess.Popen(
            [sys.executable, "-c", ADDER, repository.url, str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(2)
    ]
    for adder in adders:
        assert adder.stdout is not None
        assert adder.stdout.readline() == "ready\n"
    for adder in adders:
        assert adder.stdin is not None
        adder.stdin.write("\n")
        adder.stdin.flush()
    for adder in adders:
        adder.communicate()
        assert adder.returncode == 0
    trials = repository.trials(study.id)
    assert [trial.number for trial in trials] == list(range(80))
    assert sorted(trial.seed for trial in trials) == [0] * 40 + [1] * 40


def test_threads_share_one_repository(repository: Repository, study: Study) -> None:
    def one(rank: int) -> int:
        trial = repository.add_trial(study.id, TrialKind.SEARCH, a_configuration(rank), 1, 0)
        repository.start_trial(trial.id)
        repository.report(trial.id, 1, {"score": rank / 100})
        repository.complete(trial.id, {}, {})
        assert repository.trial(study.id, trial.number).score == rank / 100
        return trial.number

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(one, range(1, 41)))
    assert sorted(numbers) == list(range(40))


def test_one_of_many_threads_adds_a_configuration(repository: Repository, study: Study) -> None:
    def one(_: int) -> bool:
        try:
            repository.add_trial(study.id, TrialKind.SEARCH, a_configuration(), 1, 0)
        except StudyError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(16))) == 1
    assert len(repository.trials(study.id)) == 1


def test_a_trial_is_claimed_once(repository: Repository, study: Study) -> None:
    for rank in range(1, 21):
        repository.add_trial(study.id, TrialKind.SEARCH, a_configuration(rank), 1, 0)

    def claim(owner: int) -> list[int]:
        found = []
        while (trial := repository.claim(study.id, str(owner))) is not None:
            found.append(trial.number)
        return found

    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(claim, range(8)))
    assert sorted(number for numbers in claimed for number in numbers) == list(range(20))


def test_one_of_many_threads_proposes_a_configuration(repository: Repository, study: Study) -> None:
    def one(number: int) -> bool:
        owner = None if number % 2 else str(number)
        return (
            repository.propose(study.id, TrialKind.SEARCH, a_configuration(), 1, 0, owner=owner) is not None
        )

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(16))) == 1
    assert repository._propose(study.id, TrialKind.SEARCH, a_configuration(), 1, 0, None, None) is None


def test_no_more_are_proposed_than_are_wanted(repository: Repository, study: Study) -> None:
    """Each of eight proposes eight of the same sixteen, and one kind more."""
    repository.add_trial(study.id, TrialKind.HEAD_ONLY, a_configuration(), 1, 0)

    def propose(owner: int) -> list[int]:
        found = []
        for step in range(8):
            configuration = a_configuration(1 + (owner + step) % 16)
            trial = repository.propose(
                study.id, TrialKind.SEARCH, configuration, 1, 0, owner=str(owner), at_most=10
            )
            if trial is not None:
                found.append(trial.number)
                repository.start_trial(trial.id, str(owner))
        return found

    with ThreadPoolExecutor(8) as pool:
        numbers = [number for found in pool.map(propose, range(8)) for number in found]
    assert sorted(numbers) == list(range(1, 11))
    assert repository.counts(study.id)[TrialKind.SEARCH][TrialStatus.RUNNING] == 10


def test_a_front_of_the_past_is_not_stored(repository: Repository, study: Study) -> None:
    """Two drivers end a trial each; the first comes late with the front that it has made before the second's."""
    for rank in (1, 2):
        trial = repository.add_trial(study.id, TrialKind.SEARCH, a_configuration(rank), rank, 0)
        repository.report(trial.id, 1, {"score": rank / 10})
        repository.complete(trial.id, {}, {})
    assert repository.record_front(study.id, 1, [0, 1], 0.2, complete=2)
    assert not repository.record_front(study.id, 0, [0], 0.1, complete=1)
    assert [front.members for front in repository.fronts(study.id)] == [(0, 1)]
    last = repository.standing(study.id, FOUND).front
    assert last == repository.fronts(study.id)[-1]


@pytest.mark.parametrize("attempt", range(3))
def test_many_open_a_new_database_at_once(path: Path, attempt: int) -> None:
    def one(number: int) -> None:
        with Repository.open(str(path)) as opened:
            opened.create_study(str(number), {}, 1, "x")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(8)))
    with Repository.open(str(path)) as opened:
        assert len(opened.studies()) == 8


OPENER = textwrap.dedent("""
    import sys
    from autopeft.store import Repository

    print("ready", flush=True)
    input()
    with Repository.open(sys.argv[1]) as repository:
        repository.create_study(sys.argv[2], {}, 1, "x")
""")


def test_many_processes_open_a_new_database_at_once(path: Path) -> None:
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for opener in openers:
        assert opener.stdout is not None
        opener.stdout.readline()
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write("\n")
        opener.stdin.flush()
    for opener in openers:
        opener.communicate()
        assert opener.returncode == 0
    with Repository.open(str(path)) as opened:
        assert len(opened.studies()) == 4

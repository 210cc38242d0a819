"""The queue of searches: who is next, what a job becomes, and what becomes of a server's jobs when it is gone."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from autopeft.errors import StudyError
from autopeft.nouns import Job, JobState
from autopeft.store import Lookout, Repository, queue
from autopeft.store.queue import Server

from .conftest import on_postgres
from .test_again import lose_answers

HERE = Server("here", os.getpid())


def submit(repository: Repository, study: str, priority: int = 0) -> Job:
    return queue.submit(
        repository, study, ("--study", study), folder="/tmp", owner="somebody", priority=priority
    )


def take(repository: Repository, server: Server = HERE) -> Job | None:
    return queue.take(repository, server, "/logs")


def test_the_most_urgent_first_then_the_oldest(repository: Repository) -> None:
    for name, priority in (("a", 0), ("b", 5), ("c", 5), ("d", -1)):
        submit(repository, name, priority)
    assert [job.study for job in queue.jobs(repository)] == ["b", "c", "a", "d"]
    taken = [take(repository) for _ in range(5)]
    assert [job and job.study for job in taken] == ["b", "c", "a", "d", None]
    assert taken[0] is not None
    assert (taken[0].state, taken[0].log) == (JobState.RUNNING, f"/logs/job-{taken[0].id}.log")


def test_two_servers_never_have_one_job(repository: Repository) -> None:
    for i in range(12):
        submit(repository, f"s{i}")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: take(repository, Server("h", number)), range(16)))
    studies = [job.study for job in found if job is not None]
    assert sorted(studies) == sorted(f"s{i}" for i in range(12))


@pytest.mark.parametrize(
    ("first", "wished", "then"),
    [
        (JobState.WAITING, JobState.PAUSED, JobState.PAUSED),
        (JobState.WAITING, JobState.CANCELLED, JobState.CANCELLED),
        (JobState.PAUSED, JobState.WAITING, JobState.WAITING),
        (JobState.PAUSED, JobState.CANCELLED, JobState.CANCELLED),
        (JobState.FAILED, JobState.WAITING, JobState.WAITING),
        (JobState.CANCELLED, JobState.WAITING, JobState.WAITING),
        (JobState.DONE, JobState.WAITING, JobState.WAITING),
        (JobState.DONE, JobState.CANCELLED, None),
        (JobState.PAUSED, JobState.PAUSED, None),
        (JobState.WAITING, JobState.WAITING, None),
    ],
)
def test_what_a_job_that_does_not_run_can_become(
    first: JobState, wished: JobState, then: JobState | None, repository: Repository
) -> None:
    submit(repository, "s")
    if first is not JobState.WAITING:
        job = take(repository)
        assert job is not None
        assert queue.end(repository, HERE, job, first)
    if then is None:
        with pytest.raises(StudyError, match=f"cannot become {wished}: it is {first}"):
            queue.wish(repository, "s", wished)
        assert queue.get_job(repository, "s").state is first
    else:
        assert queue.wish(repository, "s", wished).state is then


def test_a_running_job_is_told(repository: Repository) -> None:
    submit(repository, "s")
    job = take(repository)
    assert job is not None
    told = queue.wish(repository, "s", JobState.PAUSED)
    assert (told.state, told.wish) == (JobState.RUNNING, JobState.PAUSED)
    assert queue.wish(repository, "s", JobState.WAITING).wish is None  # it was not meant
    queue.wish(repository, "s", JobState.CANCELLED)
    seen = queue.beat(repository, HERE, job)
    assert seen is not None
    assert seen.wish is JobState.CANCELLED
    assert queue.end(repository, HERE, job, JobState.CANCELLED)
    assert queue.beat(repository, HERE, job) is None
    assert not queue.end(repository, HERE, job, JobState.DONE)  # too late


def test_a_study_has_one_job_which_may_be_asked_for_again(repository: Repository) -> None:
    first = submit(repository, "s")
    with pytest.raises(StudyError, match="has a job already, which is waiting"):
        submit(repository, "s")
    job = take(repository)
    assert job is not None
    queue.end(repository, HERE, job, JobState.FAILED, "no data")
    assert queue.get_job(repository, "s").reason == "no data"
    again = submit(repository, "s", 3)
    assert (again.id, again.state, again.priority, again.reason) == (first.id, JobState.WAITING, 3, "")


def test_an_unknown_study_is_told_which_have_jobs(repository: Repository) -> None:
    submit(repository, "one")
    for ask in (
        lambda: queue.get_job(repository, "oen"),
        lambda: queue.wish(repository, "oen", JobState.PAUSED),
    ):
        with pytest.raises(StudyError, match="known are one"):
            ask()


def free(repository: Repository, host: str) -> list[Job]:
    """One look, by who has not looked before."""
    return queue.free(repository, Lookout(host, patience=1))


def test_jobs_of_a_process_that_is_gone_wait_again(repository: Repository) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        server = Server("here", child.pid)
        submit(repository, "on")
        submit(repository, "paused")
        assert take(repository, server)
        assert take(repository, server)
        queue.wish(repository, "paused", JobState.PAUSED)
        assert free(repository, "here") == []
        child.kill()
    assert free(repository, "elsewhere") == []  # from there its heartbeats count
    freed = {job.study: job.state for job in free(repository, "here")}
    assert freed == {"on": JobState.WAITING, "paused": JobState.PAUSED}


@pytest.mark.parametrize("moment", ["1999-12-31T23:59:59.999Z", "2099-01-01T00:00:00.000Z"])
def test_from_elsewhere_heartbeats_count_and_no_clock(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    there, lookout = Server("there", 1), Lookout("here", patience=3)
    submit(repository, "s")
    job = take(repository, there)
    assert job is not None
    assert [queue.free(repository, lookout) for _ in range(3)] == [[], [], []]
    monkeypatch.setattr(queue, "now", lambda: moment)
    assert queue.beat(repository, there, job)  # in the last moment
    assert [[one.study for one in queue.free(repository, lookout)] for _ in range(4)] == [[], [], [], ["s"]]
    assert queue.beat(repository, there, job) is None
    assert take(repository) is not None  # somebody else's now, whose beats are new
    assert [queue.free(repository, lookout) for _ in range(3)] == [[], [], []]


def test_a_server_that_gives_a_sign_of_life_in_the_midst_keeps_its_job(repository: Repository) -> None:
    there = Server("there", 1)
    submit(repository, "s")
    job = take(repository, there)
    assert job is not None
    (seen,) = queue._running(repository)
    assert queue.beat(repository, there, job)
    assert queue._free(repository, seen) is None
    assert queue.get_job(repository, "s").state is JobState.RUNNING


@on_postgres
def test_a_job_that_was_taken_though_its_server_did_not_hear_of_it_is_its_own(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(repository, "a")
    submit(repository, "b")
    lose_answers(repository, monkeypatch)
    taken = [take(repository) for _ in range(3)]
    assert [job and job.study for job in taken] == ["a", "b", None]
    assert taken[0] is not None
    assert queue.beat(repository, HERE, taken[0])
    assert not queue.end(repository, HERE, taken[0], JobState.DONE)  # it was done a moment before
    assert queue.get_job(repository, "a").state is JobState.DONE
    assert free(repository, "here") == []


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_names_are_as_those_of_studies(name: str, repository: Repository) -> None:
    with pytest.raises(StudyError, match="1 to 200 characters"):
        submit(repository, name)

"""Jobs: found again by what was asked, with what is left to do."""

from __future__ import annotations

import threading
import time

import pytest

from app import jobs
from app.jobs import Job


def ended(job: Job) -> Job:
    """The job, once it has ended."""
    for _ in range(500):
        if job.finished:
            return job
        time.sleep(0.01)
    raise AssertionError("still running")


def test_who_asks_the_same_finds_the_job_running_and_finished() -> None:
    go = threading.Event()

    def work(job: Job) -> None:
        go.wait(5)
        job.results.append(1)

    job = jobs.start(work, ("asked", 1), shared=True)
    assert jobs.known(("asked", 1)) is job and jobs.known(("asked", 2)) is None
    assert jobs.start(work, ("asked", 1), shared=True) is job  # pressed twice, or in two windows
    go.set()
    assert jobs.known(("asked", 1)) is ended(job) and job.results == [1]
    assert ended(jobs.start(work, ("asked", 1), shared=True)) is not job
    alone = jobs.start(lambda job: None, ["not", "hashable"])
    assert ended(alone).error == ""


def test_a_job_that_failed_or_was_cancelled_is_asked_for_anew() -> None:
    def fail(job: Job) -> None:
        raise ValueError("no")

    assert ended(jobs.start(fail, "fails", shared=True)).error == "no"
    assert jobs.known("fails") is None
    begun = threading.Event()

    def work(job: Job) -> None:
        begun.set()
        while True:
            job.report(0.5, "working")
            time.sleep(0.005)

    job = jobs.start(work, "cancelled", shared=True)
    assert begun.wait(5)
    job.cancel()
    assert ended(job).error == "" and jobs.known("cancelled") is None


def test_only_so_many_are_remembered() -> None:
    for number in range(20):
        ended(jobs.start(lambda job: None, ("many", number), shared=True))
    assert jobs.known(("many", 0)) is None and jobs.known(("many", 19)) is not None


def test_time_left_follows_from_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    job = Job(began=now)
    job.report(0.5, "half")
    assert job.seconds_left is None  # too soon to tell
    now = 130.0
    job.report(0.5, "half")
    assert job.seconds_left == pytest.approx(30)
    now = 150.0  # no more was done, perhaps because a program is compiled: it does not take longer for that
    assert job.seconds_left == pytest.approx(10)
    now = 170.0
    assert job.seconds_left is None
    job.report(0.0, "begins anew")
    assert job.seconds_left is None


def test_the_end_of_the_server_cancels_what_is_under_way_and_waits_for_it() -> None:
    begun = threading.Event()

    def work(job: Job) -> None:
        begun.set()
        while True:
            job.report(0.5, "working")
            time.sleep(0.005)

    job = jobs.start(work)
    assert begun.wait(5)
    jobs.end()
    assert job.finished and job.cancelled and not jobs._running

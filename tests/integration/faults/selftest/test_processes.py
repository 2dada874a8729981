"""Worker processes: every job is run once, and what happens to one worker harms no other."""

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from tests.integration.faults.runner.processes import JobResult, Pipe, distribute, worker_processes
from tests.integration.faults.runner.round_report import Figures
from tests.integration.faults.runner.schedule import Job

_JOBS = [Job(number, f"job {number}") for number in range(6)]
_MOMENT, _POLL = 0.3, 0.01


def counts(pipe: Pipe, index: int, dies_at: str) -> None:
    """Counts a round for each job; dies as soon as it is given one of that name."""
    while (job := pipe.recv()) is not None:
        if job.name == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        pipe.send(JobResult(Figures(rounds=1), [job.name]))
    pipe.send(JobResult(Figures(), ["the end"]))


def notes(pipe: Pipe, index: int, log: Path) -> None:
    """Notes down when jobs begin and end; those that want to be alone give others time to begin meanwhile."""
    while (job := pipe.recv()) is not None:
        note(log, f"{job.name} begins")
        until = time.monotonic() + _MOMENT
        while job.alone and log.read_text().endswith(f"{job.name} begins\n") and time.monotonic() < until:
            time.sleep(_POLL)
        note(log, f"{job.name} ends")
        pipe.send(JobResult(Figures(rounds=1), []))
    pipe.send(JobResult(Figures(), []))


def note(log: Path, line: str) -> None:
    with log.open("a") as file:
        file.write(line + "\n")


def run(dies_at: Iterable[str]) -> list[str]:
    """The lines about the jobs when two workers run them."""
    with worker_processes(2, counts, *dies_at) as workers:
        said = [line.strip() for result in distribute(iter(_JOBS), list(workers)) for line in result.lines]
        processes = list(workers.values())
    assert not any(psutil.pid_exists(process.pid or 0) for process in processes)
    return said


def test_each_job_is_run_once() -> None:
    """By whichever worker; each of them sends a last result."""
    assert sorted(run([""])) == sorted([*(job.name for job in _JOBS), "the end", "the end"])


def test_a_worker_that_breaks_loses_its_job_only() -> None:
    """The other one runs the rest."""
    others = [job.name for job in _JOBS if job.number != 1]
    assert sorted(run(["job 1"])) == sorted([*others, "a worker broke at job 1", "the end"])


def test_nothing_else_is_run_beside_a_job_that_measures(tmp_path: Path) -> None:
    """They come first, one after the other; of the others as many at a time as there are workers."""
    log = tmp_path / "log"
    jobs = [job._replace(alone=job.number in (2, 4)) for job in _JOBS]
    with worker_processes(2, notes, log) as workers:
        assert sum(result.figures.rounds for result in distribute(jobs, list(workers))) == len(jobs)
    lines = log.read_text().splitlines()
    assert lines[:4] == ["job 2 begins", "job 2 ends", "job 4 begins", "job 4 ends"]
    assert len(lines) == 2 * len(jobs)


def test_jobs_that_no_worker_is_left_for_are_reported() -> None:
    """They do not count as run."""
    figures = Figures()
    with worker_processes(1, counts, "job 1") as workers:
        for result in distribute(iter(_JOBS), list(workers)):
            figures.merge(result.figures)
    assert figures.failed
    assert (figures.rounds, figures.findings.total()) == (1, 5)

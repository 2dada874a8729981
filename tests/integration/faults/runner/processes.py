"""Worker processes, each with an environment of its own: when one breaks, the others go on."""

import contextlib
import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, TypeAlias

from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.runner.round_report import Figures
from tests.integration.faults.runner.schedule import Job

_END_SECONDS = 90.0
_SPAWN = multiprocessing.get_context("spawn")  # no fork: threads run, and gRPC has started

Pipe: TypeAlias = "Connection[Any, Any]"


class JobResult(NamedTuple):
    """The result of a job: its figures, and lines about it for people."""

    figures: Figures
    lines: list[str]

    @classmethod
    def failed(cls, text: str) -> "JobResult":
        """A job that could not be run."""
        figures = Figures()
        figures.note([Finding(Kind.UNRECOVERED, text)])
        return cls(figures, [f"    {text}"])


@contextmanager
def worker_processes(count: int, run_jobs: Callable[..., None], *given: Any) -> Iterator[dict[Pipe, BaseProcess]]:
    """`count` processes that run `run_jobs(pipe, index, *given)`; whatever happens, all have ended afterwards."""
    workers: dict[Pipe, BaseProcess] = {}
    try:
        for index in range(count):
            ours, theirs = _SPAWN.Pipe()
            workers[ours] = _SPAWN.Process(target=run_jobs, args=(theirs, index, *given))
            workers[ours].start()
            theirs.close()
        yield workers
    finally:
        for process in workers.values():
            process.terminate()
        for process in workers.values():
            process.join(_END_SECONDS)
            process.kill()


class _JobQueue:
    """The jobs that wait: first those to be run alone.

    An environment goes on with those for as many brokers as it has, while there are any.
    """

    def __init__(self, jobs: Iterable[Job], pipes: Sequence[Pipe]) -> None:
        self.jobs = sorted(jobs, key=lambda job: not job.alone)
        kinds = sorted({job.brokers for job in self.jobs}, reverse=True) or [1]
        # The rarer kind begins in one environment, so that not all of them change in the end.
        self._has = {pipe: kinds[0] if pipe is pipes[-1] else kinds[-1] for pipe in pipes}

    def give(self, pipe: Pipe) -> Job | None:
        """Gives a worker its next job, None when there are no more."""
        job = self._next(pipe)
        if job is not None:
            self._has[pipe] = job.brokers
        with contextlib.suppress(OSError):  # whoever is gone does not answer either
            pipe.send(job)
        return job

    def _next(self, pipe: Pipe) -> Job | None:
        if not self.jobs:
            return None
        fitting = (i for i, job in enumerate(self.jobs) if job.alone or job.brokers == self._has[pipe])
        return self.jobs.pop(next(fitting, 0))


def distribute(jobs: Iterable[Job], pipes: Sequence[Pipe]) -> Iterator[JobResult]:
    """Gives each worker a job, another one for each that is done, and None when there are no more."""
    queue = _JobQueue(jobs, pipes)
    idle, under_way = deque(pipes), dict[Pipe, Job | None]()
    while idle or under_way:
        while idle and not any(job and job.alone for job in under_way.values()):
            free = idle.popleft()
            under_way[free] = queue.give(free)
        for pipe in wait(list(under_way)):
            assert isinstance(pipe, Connection)
            job = under_way.pop(pipe)
            try:
                yield pipe.recv()
            except (EOFError, OSError):
                yield JobResult.failed(f"a worker broke at {job.name if job else 'its end'}")
                continue
            if job is not None:
                idle.appendleft(pipe)  # it is up already
    yield from (JobResult.failed(f"{job.name} was not run: no worker is left") for job in queue.jobs)


def leave(number: int, frame: object) -> None:
    """Ends this process on a signal, without a word, with all that it has started; once it does, no other stops it."""
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    sys.exit(128 + number)

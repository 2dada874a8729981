"""A worker process: runs the jobs it is given, on a system of its own, until there are no more."""

import contextlib
import signal
import traceback
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from tests.integration.faults.checkers import leftovers
from tests.integration.faults.checkers.observations import Finding
from tests.integration.faults.checkers.observer import Observer
from tests.integration.faults.environment import event_taps, mounts
from tests.integration.faults.environment.environment import Environment
from tests.integration.faults.environment.setup import Setup
from tests.integration.faults.runner.processes import JobResult, Pipe, leave
from tests.integration.faults.runner.round import RoundRunner
from tests.integration.faults.runner.round_report import Figures, keep, summary
from tests.integration.faults.runner.schedule import Job, every_fault
from tests.integration.faults.selftest.harness_selftest import HARMLESS, try_sabotage
from tests.integration.faults.workload.calls import Calls

_QUICK_SECONDS, _LONG_SECONDS = 1.5, 4.0
_TOLD = 20


class Run(NamedTuple):
    """A run: its seed, whether time is short, the systems, where failed rounds are kept, the options that repeat it."""

    seed: int
    quick: bool
    setup: Setup
    keep: Path
    again: str


def run_jobs(pipe: Pipe, index: int, run: Run, folder: Path, ports: Sequence[Sequence[int]]) -> None:
    """Runs the jobs that come through the pipe; sends what was left at the end. The sender may be gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the whole group: they who started this one end it
    signal.signal(signal.SIGTERM, leave)
    may_mount = mounts.have_own()
    runner = JobRunner(run, folder / f"environment-{index}", ports[index], may_mount)
    late: list[Finding] = []
    try:
        with contextlib.suppress(EOFError, BrokenPipeError):
            while (job := pipe.recv()) is not None:
                pipe.send(runner.run(job))
            late = runner.changed()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        last = runner.end(late)
    with contextlib.suppress(OSError):
        pipe.send(last)


class JobRunner:
    """Runs jobs in an environment, in another one after it broke."""

    def __init__(self, run: Run, folder: Path, ports: Sequence[int], may_mount: bool) -> None:
        self._run = run
        self._folder = folder
        self._ports = ports
        self._may_mount = may_mount
        self._faults = {fault.name: fault for fault in every_fault(run.quick, run.setup)}
        self._stack = ExitStack()
        self._round_runner: RoundRunner | None = None
        self._opened = 0
        self._found: list[Finding] = []
        """In environments that were left for one with another number of brokers."""

    def run(self, job: Job) -> JobResult:
        """The result of a job. An environment in which it can't be run to its end is closed."""
        try:
            round_runner = self._in_environment(job.brokers)
            return self._selftest(round_runner, job) if job.is_selftest else self._round(round_runner, job)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other jobs are run
            traceback.print_exc()
            self._close()
            return JobResult.failed(f"{job.name} could not be run: {str(error).partition(chr(10))[0]}")

    def changed(self) -> list[Finding]:
        """Changes of orders and products since their rounds were over."""
        return [] if self._round_runner is None else self._round_runner.observer.changed_since(self._name(""))

    def end(self, late: Sequence[Finding]) -> JobResult:
        """Closes the environment; what was found late, and what it has left behind."""
        findings = [*self._found, *self._leave(late)]
        figures = Figures()
        figures.note(findings)
        return JobResult(figures, _lines(findings))

    def _leave(self, late: Sequence[Finding]) -> list[Finding]:
        environment = None if self._round_runner is None else self._round_runner.environment
        self._close()
        return [*late, *(leftovers.find(environment) if environment is not None else ())]

    def _round(self, round_runner: RoundRunner, job: Job) -> JobResult:
        run = self._run
        seconds = _QUICK_SECONDS if run.quick else _LONG_SECONDS
        result = round_runner.round(self._name(job.number), self._faults[job.name], seconds, run.quick)
        figures = Figures()
        figures.add(result)
        if result.findings:
            repeat = f"nox -s faults -- --seed={run.seed} --round={job.number} {run.again}"
            keep(result, round_runner.environment.folder, run.keep / result.name, repeat)
        return JobResult(figures, [summary(result), *_lines(result.findings)])

    def _selftest(self, round_runner: RoundRunner, job: Job) -> JobResult:
        verdict = try_sabotage(round_runner, job.name)
        tried = {job.name: verdict.passed}
        figures = Figures(harmless=tried) if job.name in HARMLESS else Figures(selftests=tried)
        return JobResult(figures, [f"{'sabotage':<10} {job.name:<45} {verdict.text}"])

    def _name(self, number: object) -> str:
        return f"s{self._run.seed}r{number}"

    def _in_environment(self, brokers: int) -> RoundRunner:
        """The environment there is, when it has that many brokers, else another one."""
        if self._round_runner is not None and len(self._round_runner.environment.brokers) != brokers:
            self._found += self._leave(self.changed())
        if self._round_runner is None:
            self._opened += 1
            with ExitStack() as opened:
                folder = self._folder / str(self._opened)
                made = Environment(folder, self._ports, self._may_mount, brokers, self._run.setup)
                environment = opened.enter_context(made)
                event_taps.declare(environment.amqp)
                calls = opened.enter_context(closing(Calls(environment.channel, environment.addresses)))
                self._round_runner = RoundRunner(environment, calls, Observer(calls, environment))
                self._stack = opened.pop_all()
        return self._round_runner

    def _close(self) -> None:
        self._round_runner = None
        self._stack.close()


def _lines(findings: Sequence[Finding]) -> list[str]:
    return [f"    {finding.kind.value}: {finding.text}" for finding in findings[:_TOLD]]

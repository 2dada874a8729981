"""Tests that run in several processes at once, by pytest-xdist: how many, which of them together, how they are ended.

Each worker takes whole files. Where it tries laws of the contract, it judges a system of its own; what all of them
have tried is told in one report. A system that is named by its addresses is judged by one worker.

Tests of integration wait for most of their time: for brokers that boot, services that die, alerts that fire. So there
is one worker more than cores, for them alone; laws and unit tests, which compute, have one a core.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import execnet
import psutil
import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests.contract_options import is_there_once

if TYPE_CHECKING:
    from tests.contract.harness.joined_report import JoinedReport

REPORTED = "contract"
"""The part of the certificate that a worker hands over, pickled."""
_MOST_WORKERS = 4
# Less than nox has patience with what it interrupts.
_INTERRUPT_SECONDS = 40.0
_END_SECONDS = 15.0
_POLL = 0.1
_TESTS = Path(__file__).parent
_CONTRACT = "tests/contract/"
_INTEGRATION = "tests/integration/"
_FOR_ANY = pytest.StashKey[int]()
"""The number of workers that take tests of any suite; those beyond take tests of integration."""
# The longest first: what is short fills up the end of the run.
_FIRST = ("contract", "integration")
_GUARD = "ordersys.local.guard"


def number(config: pytest.Config) -> int:
    """The number of workers for `-n auto`; 0, for none, where tests can't or need not be distributed."""
    by_hand = config.option.capture == "no"  # it is watched
    files = {argument.partition("::")[0] for argument in config.args}
    one_file = len(files) == 1 and all(Path(file).is_file() for file in files)
    if is_there_once(config) or by_hand or one_file:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores == 1:
        return 0
    config.stash[_FOR_ANY] = cores
    return min(cores + any(map(_holds_integration, files)), _MOST_WORKERS)


def _holds_integration(argument: str) -> bool:
    """True where a file or folder that was named holds tests of integration."""
    named, suite = Path(argument).resolve(), _TESTS / "integration"
    return named.is_relative_to(suite) or suite.is_relative_to(named)


def is_worker(config: pytest.Config) -> bool:
    """True when this process runs tests for another one."""
    return hasattr(config, "workerinput")


def suite(test: Path) -> str:
    """The suite a test file belongs to: the name of its folder right below tests."""
    return (test.relative_to(_TESTS) if test.is_relative_to(_TESTS) else test.parent).parts[0]


def rank(suite: str) -> int:
    """The position of a suite when its tests are distributed."""
    return _FIRST.index(suite) if suite in _FIRST else len(_FIRST)


def interrupted_once(number: int, frame: FrameType | None) -> None:
    """Ends a worker's tests; what it has started is ended then, which no further signal cuts short.

    Ctrl-C reaches a worker twice: from the terminal, and from the process it works for.
    """
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, _ignored)  # not SIG_IGN: what is started would inherit that
    raise KeyboardInterrupt


def _ignored(number: int, frame: FrameType | None) -> None:
    pass


class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist tells no types
    """Hands out file by file, the contract suite as one where what it judges is there once.

    Where there is one worker more than cores, the last one takes tests of integration alone, and ends after them.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _CONTRACT if is_there_once(self.config) and nodeid.startswith(_CONTRACT) else nodeid.partition("::")[0]

    def _reschedule(self, node: WorkerController) -> None:
        if self._is_apart(node) and not self._integration() and not node.shutting_down:
            node.shutdown()
        else:
            super()._reschedule(node)

    def _assign_work_unit(self, node: WorkerController) -> None:
        if self._is_apart(node) and (files := self._integration()):
            self.workqueue.move_to_end(files[0], last=False)
        super()._assign_work_unit(node)

    def _is_apart(self, node: WorkerController) -> bool:
        return bool(self.nodes.index(node) >= self.config.stash.get(_FOR_ANY, len(self.nodes)))

    def _integration(self) -> Sequence[str]:
        """The files of integration that wait for a worker, in order."""
        return [file for file in self.workqueue if file.startswith(_INTEGRATION)]


class Workers:
    """The side that hands out tests. A pytest plugin.

    Whatever becomes of a worker, nothing is left running of what it has started.
    """

    def __init__(self, seed: int | None) -> None:
        self._seed = seed
        self._nodes: list[WorkerController] = []
        self._parts: list[bytes] = []
        self._report: JoinedReport | None = None
        self._lost: list[str] = []

    def pytest_configure_node(self, node: WorkerController) -> None:
        """One seed for all."""
        node.workerinput["seed"] = self._seed
        self._nodes.append(node)

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: object) -> Scheduling:
        """In the order of the collection."""
        config.option.loadscopereorder = False
        return Scheduling(config, log)

    def pytest_testnodedown(self, node: WorkerController, error: object) -> None:
        """Takes the report of one that has finished; ends what is left of one that was killed."""
        if error is None and REPORTED in node.workeroutput:
            self._parts.append(node.workeroutput.pop(REPORTED))
        elif error is not None:
            self._lost.append(node.workerinput["workerid"])
            end_left(node.workerinput["testrunuid"], node.workerinput["workerid"])

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Iterator[None]:
        """Ends the workers in good order first, xdist has little patience with them; then whatever is left."""
        if exitstatus == pytest.ExitCode.INTERRUPTED:
            self._interrupt()
        if self._parts:
            from tests.contract.harness.joined_report import JoinedReport  # noqa: PLC0415 - few runs need it, and gRPC

            self._report = JoinedReport(self._parts, self._lost, session.config.getoption("--report"))
            self._report.write()
            if exitstatus == pytest.ExitCode.OK and self._report.troubles:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
        yield
        for run in {node.workerinput["testrunuid"] for node in self._nodes}:
            end_left(run)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the result of the contract suite."""
        if self._report:
            self._report.print(terminalreporter)

    def _interrupt(self) -> None:
        for process in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        until = time.monotonic() + _INTERRUPT_SECONDS
        for node in self._nodes:
            with contextlib.suppress(OSError, EOFError, execnet.RemoteError):
                node.channel.waitclose(max(until - time.monotonic(), 0.0))


def end_left(run: str, worker: str | None = None) -> None:
    """Ends the processes that a worker of a run, or any, has started and left; returns when they are gone.

    They know by their environment whose they are. A guard ends by itself, after what it guards.
    """
    for stop in (psutil.Process.terminate, psutil.Process.kill):
        for process in left(run, worker):
            with contextlib.suppress(psutil.NoSuchProcess):
                if _GUARD not in process.cmdline():
                    stop(process)
        until = time.monotonic() + _END_SECONDS
        while left(run, worker):
            if time.monotonic() > until:
                break
            time.sleep(_POLL)


def left(run: str, worker: str | None = None) -> Sequence[psutil.Process]:
    """The processes that run still of those which a worker of a run, or any, has started."""
    wanted = {"PYTEST_XDIST_TESTRUNUID": run} | ({"PYTEST_XDIST_WORKER": worker} if worker else {})
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and wanted.items() <= process.environ().items():
                processes.append(process)
    return processes

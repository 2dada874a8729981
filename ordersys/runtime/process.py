"""The process of a service: help, settings, log, signals, exit status."""

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import NoReturn, TypeVar

from ordersys.console import interrupts, output
from ordersys.console.interrupts import Interrupted
from ordersys.console.parser import Parser, UsageError
from ordersys.runtime.base import event_loop, log
from ordersys.runtime.base.errors import StartupError
from ordersys.runtime.base.failpoints import failpoint
from ordersys.runtime.base.settings import described, misspelt, read
from ordersys.runtime.base.tasks import TaskEnded
from ordersys.runtime.metrics.exposition import exposed
from ordersys.runtime.settings import Settings
from ordersys.runtime.storage import backup
from ordersys.runtime.storage.backup import Stored
from ordersys.runtime.tracing.starting import recording

S = TypeVar("S", bound=Settings)
Serve = Callable[[S, asyncio.Event, asyncio.TaskGroup], Awaitable[None]]
DONE, FAILED, WRONG_USE = range(3)
_TELEMETRY = (
    "  OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER, OTEL_METRICS_EXPORTER, …\n"
    "      traces and metrics, as OpenTelemetry has it (docs/operations.md)"
)
_log = logging.getLogger(__name__)


def run(name: str, meaning: str, kind: type[S], serve: Serve[S], stored: Stored) -> NoReturn:
    """Runs `serve(settings, stop, tasks)` until SIGTERM, SIGINT or SIGHUP sets `stop`.

    Every long-running task of the process lives in `tasks` (see `tasks.endless`): should one of them fail, the calls
    under way are finished as on SIGTERM. Exits 0 when stopped, 1 after a failure nobody foresaw, 2 when it can't start.
    Given a command, does that to what is `stored` instead; exits 0 when it is done, 2 when it can't be.
    """
    interrupts.end_at_once()
    closed = output.prepare()
    program = f"python -m ordersys.{name.replace('-', '_')}"

    def work() -> int:
        try:
            arguments = _parser(program, meaning, kind).parse_args()
            settings = read(kind, os.environ)
        except (StartupError, UsageError) as wrong:
            output.error(f"{name}: {wrong}")
            return WRONG_USE
        if arguments.command:
            return _command(name, arguments, stored, settings)
        if sys.stdout.fileno() in closed:
            output.drop()  # a service does its work without a log, and says so once
        log.configure(name, settings.log_level, closed)
        return _served(name, kind, settings, serve)

    output.finish(program, work)


def _command(name: str, arguments: argparse.Namespace, stored: Stored, settings: Settings) -> int:
    """Backup or restore; the exit status."""
    if settings.database_url is not None:
        output.error(f"{name}: the state is in PostgreSQL ({settings.database_url}): use pg_dump and pg_restore")
        return WRONG_USE
    with interrupts.interrupts.raising():
        try:
            output.line(backup.run_command(arguments, stored, settings.data_dir))
        except StartupError as wrong:
            output.error(f"{name}: {wrong}")
            return WRONG_USE
        except Interrupted:
            output.error(f"{name}: {arguments.command} was interrupted; repeat it")
            raise
    return DONE


def _served(name: str, kind: type[S], settings: S, serve: Serve[S]) -> int:
    """Serves until it is told to stop; the exit status."""
    status = DONE
    for variable, meant in misspelt(kind, os.environ):
        _log.warning("%s is no setting and has no effect; %s is one", variable, meant)
    try:
        with exposed(name, settings.metrics_address), recording(name):
            _keep_what_is_loaded()
            with asyncio.Runner(loop_factory=event_loop.factory(settings.event_loop)) as runner:
                runner.run(_until_stopped(settings, serve))
    # A task group wraps what its body raises in a group (PEP 654).
    except* StartupError as wrong:
        output.error(f"{name}: {_first(wrong)}")
        status = WRONG_USE
    except* TaskEnded:
        status = FAILED
    except* Exception as unforeseen:  # noqa: BLE001 - logged, and told by the exit status
        _log.critical("failed, the process ends", exc_info=_first(unforeseen))
        status = FAILED
    return status


def _keep_what_is_loaded() -> None:
    """Has the garbage collector look no more at modules and descriptors, which stay as long as the process.

    They are nearly all there is: each full collection would go through them again, and keep the event loop waiting.
    """
    gc.collect()  # what is garbage by now would stay as well
    # The longest pause for the collector went from 22 to 1 ms (docs/performance.md, "What was worth it").
    gc.freeze()


async def _until_stopped(settings: S, serve: Serve[S]) -> None:
    stop = asyncio.Event()
    for number in _stopping():
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    failpoint("process.started")
    async with asyncio.TaskGroup() as tasks:
        await serve(settings, stop, tasks)
    failpoint("process.stopping")


def _first(group: BaseExceptionGroup[Exception]) -> BaseException:
    """The first of the exceptions in a group that are none themselves."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _stopping() -> Iterator[signal.Signals]:
    """A terminal that closes sends SIGHUP, which `nohup` has ignored."""
    yield from (signal.SIGTERM, signal.SIGINT)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        yield signal.SIGHUP


def _parser(program: str, meaning: str, kind: type[Settings]) -> Parser:
    lines = (f"  {s.variable}\n      {s.meaning} (default: {s.default})" for s in described(kind))
    parser = Parser(
        prog=program,
        description=meaning,
        epilog="settings, from the environment:\n" + "\n".join([*lines, _TELEMETRY]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    backup.add_commands(parser)
    return parser

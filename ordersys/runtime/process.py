"""What every service's `python -m` does: help, settings, log, signals, exit status."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ordersys.runtime import backup, log
from ordersys.runtime.backup import Stored
from ordersys.runtime.crash import crash_point
from ordersys.runtime.schema import UnusableDatabase
from ordersys.runtime.server import PortTaken
from ordersys.runtime.settings import Settings, WrongSetting, described, misspelt, read
from ordersys.runtime.static import WrongFile
from ordersys.runtime.tasks import TaskEnded

S = TypeVar("S", bound=Settings)
Serve = Callable[[S, asyncio.Event, asyncio.TaskGroup], Awaitable[None]]
WRONG_USE, FAILED = 2, 1
_log = logging.getLogger(__name__)


def run(name: str, meaning: str, kind: type[S], serve: Serve[S], stored: Stored) -> None:
    """Runs `serve(settings, stop, tasks)` until SIGTERM or SIGINT sets `stop`.

    Every long-running task of the process lives in `tasks` (see `tasks.endless`): should one of them fail, the calls
    under way are finished as on SIGTERM. Exits 0 when stopped, 1 after a failure nobody foresaw, 2 when it can't start.
    Given a command, does that to what is `stored` instead; exits 0 when it is done, 2 when it can't be.
    """
    arguments = _parse(name, meaning, kind)
    status = 0
    try:
        settings = read(kind, os.environ)
        if arguments.command:
            print(_printable(backup.run_command(arguments, stored, settings.data_dir)))
            return
        log.configure(name, settings.log_level)
        for variable, meant in misspelt(os.environ):
            _log.warning("%s is no setting and has no effect; %s is one", variable, meant)
        asyncio.run(_until_stopped(settings, serve))
    except* (WrongSetting, UnusableDatabase, PortTaken, WrongFile) as wrong:
        print(f"{name}: {_first(wrong)}", file=sys.stderr)
        status = WRONG_USE
    except* TaskEnded:
        status = FAILED
    except* Exception as unforeseen:  # noqa: BLE001 - logged, and told by the exit status
        _log.critical("failed, the process ends", exc_info=_first(unforeseen))
        status = FAILED
    if status:
        raise SystemExit(status)


def _printable(text: str) -> str:
    """With escapes for what standard output can't encode: a path may have bytes that are no text."""
    encoding = sys.stdout.encoding
    return text.encode(encoding, "backslashreplace").decode(encoding)


async def _until_stopped(settings: S, serve: Serve[S]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    crash_point("process.started")
    async with asyncio.TaskGroup() as tasks:
        await serve(settings, stop, tasks)
    crash_point("process.stopping")


def _first(group: BaseExceptionGroup[Exception]) -> BaseException:
    """The first of the exceptions in a group that are none themselves."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _parse(name: str, meaning: str, kind: type[Settings]) -> argparse.Namespace:
    lines = (f"  {s.variable}\n      {s.meaning} (default: {s.default})" for s in described(kind))
    parser = argparse.ArgumentParser(
        prog=f"python -m ordersys.{name.replace('-', '_')}",
        description=meaning,
        epilog="settings, from the environment:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    backup.add_commands(parser)
    return parser.parse_args()

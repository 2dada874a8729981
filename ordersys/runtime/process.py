"""What every service's `python -m` does: help, settings, log, signals, exit status."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ordersys.runtime import log
from ordersys.runtime.crash import crash_point
from ordersys.runtime.schema import UnusableDatabase
from ordersys.runtime.server import PortTaken
from ordersys.runtime.settings import Settings, WrongSetting, described, read
from ordersys.runtime.static import WrongFile

S = TypeVar("S", bound=Settings)
Serve = Callable[[S, asyncio.Event], Awaitable[None]]
WRONG_USE = 2


def run(name: str, meaning: str, kind: type[S], serve: Serve[S]) -> None:
    """Runs `serve(settings, stop)` until SIGTERM or SIGINT sets `stop`; exits 0 then, 2 when it can't start."""
    _parse(name, meaning, kind)
    try:
        settings = read(kind, os.environ)
        log.configure(name, settings.log_level)
        asyncio.run(_until_stopped(settings, serve))
    except (WrongSetting, UnusableDatabase, PortTaken, WrongFile) as error:
        print(f"{name}: {error}", file=sys.stderr)
        raise SystemExit(WRONG_USE) from None


async def _until_stopped(settings: S, serve: Serve[S]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    crash_point("process.started")
    await serve(settings, stop)
    crash_point("process.stopping")


def _parse(name: str, meaning: str, kind: type[Settings]) -> None:
    lines = (f"  {s.variable}\n      {s.meaning} (default: {s.default})" for s in described(kind))
    argparse.ArgumentParser(
        prog=f"python -m ordersys.{name.replace('-', '_')}",
        description=meaning,
        epilog="settings, from the environment:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()

"""The command line of `python -m ordersys.live`."""

import argparse
import asyncio
import sys
from importlib.util import find_spec
from typing import NoReturn

from ordersys.console import output
from ordersys.console.parser import Parser, UsageError
from ordersys.runtime.base import settings

_PROGRAM = "python -m ordersys.live"
_FAILED, _WRONG_USE = 1, 2
_MOST_PORT = 65_535
_EXTRA = "it needs aiohttp, which is not installed: pip install 'ordersys[live]', or from a clone pip install '.[live]'"


def main() -> NoReturn:
    """Serves the page, or shows the view, until a signal or `q`, and exits.

    0 when told to stop, 1 where it can't listen or the terminal is gone, 2 for wrong usage.

    To be called behind `output.prepare`.
    """
    output.finish(_PROGRAM, _run)


def _run() -> int:
    try:
        arguments = _arguments()
        if arguments.terminal:
            return _on_terminal(arguments)
        _check_extra()
        from ordersys.live import serving  # noqa: PLC0415 - an extra, which --help does without

        return asyncio.run(serving.served(arguments.data_dir, arguments.port))
    except (UsageError, settings.InvalidSetting) as error:
        output.error(f"{_PROGRAM}: {error}")
        return _WRONG_USE
    except OSError as error:
        output.error(f"{_PROGRAM}: it can't listen: {error.strerror or error}; name another --port")
        return _FAILED


def _on_terminal(arguments: argparse.Namespace) -> int:
    if not (sys.stdin.isatty() and output.moves(sys.stdout)):
        raise UsageError("--terminal needs a terminal that can be drawn on, as input and output; see `ordersys status`")
    from ordersys.live import terminal  # noqa: PLC0415 - takes time, which --help does without

    try:
        return asyncio.run(terminal.shown(arguments.data_dir, arguments.pipe))
    except OSError as error:
        output.error(f"{_PROGRAM}: the terminal can't be used: {error.strerror or error}")
        return _FAILED


def _check_extra() -> None:
    if find_spec("aiohttp") is None:
        raise UsageError(_EXTRA)


def _arguments() -> argparse.Namespace:
    parser = Parser(
        prog=_PROGRAM,
        description="Serves a page, on this machine alone, that shows a running system: its flow, newest orders,"
        " events, dead letters, and whether everything comes out even. It only reads; it finds the system as `ordersys`"
        " does.",
        epilog="Exit status: 0 stopped as it was told to, 1 it can't listen, or the terminal is gone, 2 wrong usage.",
    )
    parser.add_argument("--data-dir", metavar="DIR", help="the folder of a running `python -m ordersys.local`")
    parser.add_argument("--port", type=_port, default=0, metavar="PORT", help="port of the page (default: a free one)")
    parser.add_argument(
        "--terminal", action="store_true", help="show it on this terminal instead (keys: q quit, p pause, o page)"
    )
    parser.add_argument("--pipe", type=int, help=argparse.SUPPRESS)  # of the launcher, to its view
    arguments: argparse.Namespace = parser.parse_args()
    return arguments


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:6]) <= _MOST_PORT):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to {_MOST_PORT}")
    return int(text)

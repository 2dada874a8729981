"""Arguments that all commands about mutants have."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from tests import virtual_host
from tests.mutants import suite
from tests.mutants.court import MOST_JOBS


def add_common(parser: argparse.ArgumentParser) -> None:
    """Adds how many are tried at a time, on which broker, and where the results go."""
    parser.add_argument(
        "--jobs", type=_jobs, default=2, metavar="N", help="how many are tried at a time, each with a broker (2)"
    )
    parser.add_argument(
        "--amqp-url",
        metavar="URL",
        default=virtual_host.given(),
        help="a RabbitMQ to use, left empty, with one job (default: a private one for each job)",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the result there, too")
    parser.add_argument(
        "--results", type=Path, metavar="FILE", help="keep each verdict there, and try only what it does not have"
    )


def end_on_signals() -> None:
    """Ends the process in good order, with what it has started, when it is told to."""

    def end(number: int, frame: FrameType | None) -> None:
        suite.interrupted.set()
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def count(text: str) -> int:
    """A number from 1 on."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= MOST_JOBS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {MOST_JOBS}")
    return int(text)

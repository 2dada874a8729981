"""`nox -s mutants`: breaks the implementation in one place after the other; the contract suite has to notice.

The unbroken implementation is judged first, by the whole suite. A mutant is judged by the law that has to catch it,
and by all of them only if that one does not. Prints the matrix and `killed N of N`; fewer is a failing exit status.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue

from rich.console import Console

from tests import virtual_host
from tests.contract.harness.law_index import node_id
from tests.mutants.catalogue import MUTANTS
from tests.mutants.matrix import UNBROKEN, Row, all_killed, matrix, said
from tests.mutants.mutant import Mutant
from tests.mutants.suite import NoVerdict, Scope, judge
from tests.running import addresses, local

_ENOUGH = 1
_MOST_JOBS = 16
_EVERYTHING = Scope()
_console = Console(stderr=True, highlight=False)


def main() -> None:
    """Judges the unbroken implementation and the mutants; exits 0 when all of these were caught, and only these."""
    arguments = _arguments()
    if arguments.list:
        print(_listed())
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: sys.exit(128 + received))
    with (
        tempfile.TemporaryDirectory(prefix="mutants-") as folder,
        _brokers(arguments.jobs, arguments.amqp_url, Path(folder)) as urls,
    ):
        court = Court(urls, arguments.full)
        unbroken = court.try_unbroken()
        rows = court.try_all(arguments.mutants) if unbroken.kept and not unbroken.broken else []
    text = matrix(unbroken, rows)
    print(text)
    if arguments.report:
        arguments.report.write_text(f"{text}\n", encoding="utf-8")
    sys.exit(0 if all_killed(rows) else 1)


class Court:
    """Tries implementations, as many at a time as there are brokers."""

    def __init__(self, urls: Sequence[str], full: bool) -> None:
        self._full = full
        self._jobs = len(urls)
        self._free: SimpleQueue[str] = SimpleQueue()
        for url in urls:
            self._free.put(url)

    def try_unbroken(self) -> Row:
        """Judge the implementation as it is by the whole suite."""
        return self._try(UNBROKEN, lambda url: _judged(UNBROKEN, None, url, _EVERYTHING))

    def try_all(self, mutants: Sequence[Mutant]) -> list[Row]:
        """Judge each mutant by the suite."""
        with ThreadPoolExecutor(self._jobs) as pool:
            return list(pool.map(self._try_mutant, mutants))

    def _try_mutant(self, mutant: Mutant) -> Row:
        whole = Scope(enough=0 if self._full else _ENOUGH)
        first = Scope(node_id(mutant.caught_by), _ENOUGH)

        def judged(url: str) -> Row:
            row = None if self._full else _judged(mutant.name, mutant, url, first)
            return row if row and row.killed else _judged(mutant.name, mutant, url, whole)

        return self._try(mutant.name, judged)

    def _try(self, name: str, judged: Callable[[str], Row]) -> Row:
        url, began = self._free.get(), time.monotonic()
        try:
            row = judged(url)
        finally:
            self._free.put(url)
        _console.print(f"{time.monotonic() - began:6.1f} s  {name}: {said(row)}", markup=False, soft_wrap=True)
        return row


def _judged(name: str, mutant: Mutant | None, url: str, scope: Scope) -> Row:
    try:
        judgement = judge(mutant, url, scope)
    except NoVerdict as error:
        return Row(name, (), no_verdict=str(error))
    return Row(name, judgement.broken, judgement.kept)


@contextmanager
def _brokers(count: int, given: str | None, folder: Path) -> Iterator[list[str]]:
    """The URLs of so many private RabbitMQs, started at once; where one is given, of that one alone."""
    if given:
        yield [given]
        return
    with ExitStack() as stack:
        started = [stack.enter_context(local(folder / str(number), "--broker-only")) for number in range(count)]
        yield [addresses(process)["ORDERSYS_AMQP_URL"] for process in started]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nox -s mutants --", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("mutants", nargs="*", type=_mutant, metavar="NAME", help="only these (default: all)")
    parser.add_argument("--list", action="store_true", help="name the mutants, say what they break, and end")
    parser.add_argument("--full", action="store_true", help="find every law that catches a mutant, not the first ones")
    parser.add_argument(
        "--jobs", type=_count, default=2, metavar="N", help="how many are tried at a time, each with a broker (2)"
    )
    parser.add_argument(
        "--amqp-url",
        metavar="URL",
        default=virtual_host.given(),
        help="a RabbitMQ to use, left empty, with one job (default: a private one for each job)",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the matrix there, too")
    arguments = parser.parse_args()
    arguments.mutants = arguments.mutants or list(MUTANTS.values())
    return arguments


def _mutant(name: str) -> Mutant:
    if name not in MUTANTS:
        raise argparse.ArgumentTypeError(f"{name!r} is no mutant; --list names them")
    return MUTANTS[name]


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= _MOST_JOBS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {_MOST_JOBS}")
    return int(text)


def _listed() -> str:
    return "\n".join(f"{mutant.name}: {mutant.sentence}" for mutant in MUTANTS.values())


if __name__ == "__main__":
    main()

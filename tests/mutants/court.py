"""A court: tries implementations, as many at a time as it has brokers, and keeps the verdicts."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from rich.console import Console

from tests.mutants.implementation import DoesNotStart
from tests.mutants.results import Results
from tests.mutants.suite import Endless, NoVerdict
from tests.mutants.verdict import Outcome, Verdict
from tests.running import addresses, local

MOST_JOBS = 16
_console = Console(stderr=True, highlight=False)


class Case(NamedTuple):
    """An implementation to be judged in one way, on the broker at a URL."""

    key: str
    """It says what is judged: a verdict on another of that key is one on this."""
    way: str
    judge: Callable[[str], Verdict]
    final: frozenset[Outcome] = frozenset(Outcome) - {Outcome.NO_VERDICT}
    """The outcomes that are kept; after any other it is tried anew in the next run."""


class Court:
    """Tries cases, one at a time on each broker; what `results` has is not tried again."""

    def __init__(self, urls: Sequence[str], results: Results) -> None:
        self._results = results
        self._jobs = len(urls)
        self._free: SimpleQueue[str] = SimpleQueue()
        for url in urls:
            self._free.put(url)

    def try_all(self, cases: Sequence[Case]) -> list[Verdict]:
        """The verdict on each, in order."""
        with ThreadPoolExecutor(max(1, self._jobs)) as pool:
            return list(pool.map(self._try, cases))

    def _try(self, case: Case) -> Verdict:
        if known := self._results.find(case.key, case.way):
            return known
        url, began = self._free.get(), time.monotonic()
        try:
            verdict = _verdict(case, url)
        finally:
            self._free.put(url)
        if verdict.outcome in case.final:
            self._results.add(case.key, case.way, verdict)
        seconds = time.monotonic() - began
        _console.print(f"{seconds:6.1f} s  {case.key} {case.way}: {verdict}", markup=False, soft_wrap=True)
        return verdict


def _verdict(case: Case, url: str) -> Verdict:
    try:
        return case.judge(url)
    except DoesNotStart as error:
        return Verdict(Outcome.NO_START, said=str(error))
    except Endless as error:
        return Verdict(Outcome.WATCHDOG, said=str(error))
    except NoVerdict as error:
        return Verdict(Outcome.NO_VERDICT, said=str(error))


@contextmanager
def brokers(count: int, given: str | None, folder: Path) -> Iterator[list[str]]:
    """The URLs of so many private RabbitMQs, started at once; where one is given, of that one alone."""
    if given:
        yield [given]
        return
    with ExitStack() as stack:
        started = [stack.enter_context(local(folder / str(number), "--broker-only")) for number in range(count)]
        yield [addresses(process)["ORDERSYS_AMQP_URL"] for process in started]

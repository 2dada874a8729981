"""The rate of work under way: from the first observed progress to the end, so that start-up is not counted."""

import time
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.observing import Unsound, until
from benchmarks.processor import Meter, since


class Progress(NamedTuple):
    """The rate a second; `processor` in seconds for each item, by process."""

    rate: float
    processor: dict[str, float]


def progress(done: Callable[[], int], whole: int, meter: Meter) -> Progress:
    """Measures the rate at which `done`, a count that begins at 0, rises. Raises Unsound."""
    until(lambda: done() > 0)
    already, began, worked = done(), time.monotonic(), meter()
    if already >= whole:
        raise Unsound(f"all {whole} were done before the first was seen; measure with more")
    ended = until(lambda: done() >= whole)
    used, seen = since(worked, meter()), whole - already
    return Progress(seen / (ended - began), {name: seconds / seen for name, seconds in used.items()})

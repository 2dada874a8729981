"""How fast something that has begun goes on: from the first progress that is seen to the end, starts not counted."""

import time
from collections.abc import Callable

from benchmarks.observing import Unsound, until


def rate(done: Callable[[], int], whole: int) -> float:
    """So many a second, `done` answering how many there are by now, all having begun at none. Raises Unsound."""
    until(lambda: done() > 0)
    already, began = done(), time.monotonic()
    if already >= whole:
        raise Unsound(f"all {whole} were done before the first was seen; measure with more")
    ended = until(lambda: done() >= whole)
    return (whole - already) / (ended - began)

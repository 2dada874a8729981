"""Growing pauses between tries."""

import random
from collections.abc import Iterator


def jittered_backoff(first: float = 0.1, most: float = 5.0) -> Iterator[float]:
    """Seconds to pause, doubling from `first` to `most`, each drawn from its upper half so that many do not meet."""
    pause = first
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        pause = min(pause * 2, most)

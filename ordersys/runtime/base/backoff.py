"""Growing pauses between tries."""

import random
from collections.abc import Iterator


def jittered_backoff(first: float = 0.1, most: float = 5.0) -> Iterator[float]:
    """Seconds to pause, doubling from `first` to `most`, each drawn from its upper half so that many do not meet."""
    pause = first
    while True:
        # Never less than half: all the way down to 0, as "full jitter" goes, would ask a broker that has just come back
        # at once.
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        pause = min(pause * 2, most)

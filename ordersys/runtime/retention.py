"""Retention by a clock that may jump.

One reading of the wall clock must not decide: a clock that is two days ahead for some seconds, as after a mistaken
correction, would forget every request_id, and a repeat would have a second effect (docs/reliability.md).
"""

import time
from collections import deque
from typing import NamedTuple

from ordersys.runtime.base.ids import now

MICROSECONDS_PER_HOUR = 3_600_000_000
# As long as a wall clock may be ahead without harm. Nothing is forgotten before a process has run for that long.
WITNESS_SECONDS = 600.0


class _Reading(NamedTuple):
    """Both clocks at one moment: `elapsed` in seconds, which never jumps, `wall` in microseconds since 1970."""

    elapsed: float
    wall: int


class Retention:
    """A time of retention, counted from the earliest wall clock of the last ten minutes. For one thread."""

    def __init__(self, hours: int) -> None:
        self._retained = hours * MICROSECONDS_PER_HOUR
        self._readings: deque[_Reading] = deque()

    def limit(self) -> int | None:
        """The time before which things may be forgotten, in microseconds since 1970. To be called now and then.

        None until the wall clock was seen for ten minutes.
        """
        reading = _Reading(time.monotonic(), now())
        self._readings.append(reading)
        # The newest reading that is old enough stays: it shows that the clock was seen for all of the time.
        while len(self._readings) > 1 and reading.elapsed - self._readings[1].elapsed >= WITNESS_SECONDS:
            self._readings.popleft()
        if reading.elapsed - self._readings[0].elapsed < WITNESS_SECONDS:
            return None
        return min(seen.wall for seen in self._readings) - self._retained

"""When what is kept for a time may be forgotten."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersys.runtime import retention
from ordersys.runtime.retention import MICROSECONDS_PER_HOUR, WITNESS_SECONDS, Retention

HOUR = MICROSECONDS_PER_HOUR
SECOND = 1_000_000
BEGIN = 1_790_000_000 * SECOND


class Clocks:
    """The wall clock, ahead by as much as a test wants, and the one that never jumps."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.ahead = 0

    def monotonic(self) -> float:
        return self.elapsed

    def wall(self) -> int:
        return BEGIN + int(self.elapsed * SECOND) + self.ahead


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """Clocks a test may set."""
    clocks = Clocks()
    monkeypatch.setattr(time, "monotonic", clocks.monotonic)
    monkeypatch.setattr(retention, "now", clocks.wall)
    return clocks


def looked(retained: Retention, clocks: Clocks, seconds: float, every: float = 5.0) -> list[int | None]:
    """The limits of looks every so many seconds, for that long."""
    limits = []
    until = clocks.elapsed + seconds
    while clocks.elapsed < until:
        clocks.elapsed += every
        limits.append(retained.limit())
    return limits


def test_what_is_older_than_the_retention_may_go(clocks: Clocks) -> None:
    """Once the clock was seen for ten minutes; ten minutes late at most."""
    retained = Retention(48)
    limits = looked(retained, clocks, 3 * WITNESS_SECONDS)
    assert limits[0] is None
    assert limits[-1] is not None
    assert 0 <= clocks.wall() - 48 * HOUR - limits[-1] <= (WITNESS_SECONDS + 5) * SECOND


@given(ahead=st.integers(0, 1000 * HOUR), seconds=st.floats(0, WITNESS_SECONDS - 10))
def test_a_clock_that_is_ahead_for_minutes_forgets_nothing(ahead: int, seconds: float) -> None:
    """However far it jumps, and also at the start of a process."""
    for before in (0.0, 2 * WITNESS_SECONDS):
        with pytest.MonkeyPatch.context() as patch:
            clocks = Clocks()
            patch.setattr(time, "monotonic", clocks.monotonic)
            patch.setattr(retention, "now", clocks.wall)
            retained = Retention(24)
            looked(retained, clocks, before)
            clocks.ahead = ahead
            during = looked(retained, clocks, seconds)
            clocks.ahead = 0
            limits = [limit for limit in [*during, *looked(retained, clocks, 10)] if limit is not None]
            assert all(limit <= clocks.wall() - 24 * HOUR for limit in limits)


def test_a_clock_that_was_put_right_is_believed(clocks: Clocks) -> None:
    """One that was behind: after ten minutes what is old goes."""
    retained = Retention(24)
    clocks.ahead = -100 * HOUR
    looked(retained, clocks, WITNESS_SECONDS)
    clocks.ahead = 0
    limit = looked(retained, clocks, 2 * WITNESS_SECONDS)[-1]
    assert limit is not None
    assert limit > clocks.wall() - 25 * HOUR

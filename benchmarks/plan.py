"""The sizes of a run: the full one, and one of three minutes."""

from dataclasses import dataclass
from typing import NamedTuple

_LEAST_OPEN_SECONDS = 2.0  # at a few hundred calls a second, for a 99th percentile


@dataclass(frozen=True)
class Plan:
    """The sizes of a run. Seconds are those of one round of load; orders and events are counts."""

    mode: str
    rounds: int
    seconds: float
    curve_rounds: int
    """Rounds of measurements without a goal."""
    relayed: int
    consumed: int
    stored: tuple[int, ...]
    """Orders in the databases before the services start, ascending; the largest stands for S6 and S7."""
    waiting: int
    """Events in the outbox while the broker is away."""
    products: int
    """The large catalogue, none where 0; the small one has 50."""
    memory_orders: tuple[int, int]
    """The numbers of orders after which the resident memory is read, first and second time."""
    profiled: float
    """Seconds of a profile."""

    @property
    def open_seconds(self) -> float:
        """Seconds of a round at a fixed rate."""
        return max(self.seconds, _LEAST_OPEN_SECONDS)


FULL = Plan("full", 5, 4.0, 2, 20_000, 20_000, (1_000, 100_000, 1_000_000), 100_000, 100_000, (10_000, 40_000), 8.0)
QUICK = Plan("quick", 3, 1.0, 1, 4_000, 4_000, (1_000, 20_000), 2_000, 0, (1_000, 3_000), 2.0)


class Batch(NamedTuple):
    """The shape of batches: orders in each call, and calls in flight."""

    orders: int
    calls: int

    @property
    def in_flight(self) -> int:
        """Orders in flight."""
        return self.orders * self.calls


IN_FLIGHT = (1, 8, 64, 256)  # calls, from a single one to nearly as many as a service admits (300)
USUAL_IN_FLIGHT = 64  # calls
USUAL_BATCH, LARGE_BATCH = Batch(16, 4), Batch(64, 8)
LOW_RATE = 20.0
"""Calls a second at low load: each is alone, though its commits include the completion of the call before."""
SMALL_CATALOGUE = 50  # products
WINDOW = 1000
"""Events on their way to the broker at a time: ORDERSYS_PUBLISH_WINDOW's default, and the baselines' window."""
PREFETCH = 500
"""ORDERSYS_PREFETCH's default, and the baselines' prefetch."""

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
    replicas: tuple[int, ...]
    """The processes of each service on a PostgreSQL, ascending; the first is 1."""
    takeovers: int
    """The kills of each leader; one takes some ten seconds."""

    @property
    def open_seconds(self) -> float:
        """Seconds of a round at a fixed rate."""
        return max(self.seconds, _LEAST_OPEN_SECONDS)


FULL = Plan(
    mode="full",
    rounds=5,
    seconds=4.0,
    curve_rounds=2,
    relayed=20_000,
    consumed=20_000,
    stored=(1_000, 100_000, 1_000_000),
    waiting=100_000,
    products=100_000,
    memory_orders=(10_000, 40_000),
    profiled=8.0,
    replicas=(1, 2, 4),
    takeovers=5,
)
QUICK = Plan(
    mode="quick",
    rounds=3,
    seconds=1.0,
    curve_rounds=1,
    relayed=4_000,
    consumed=4_000,
    stored=(1_000, 20_000),
    waiting=2_000,
    products=0,
    memory_orders=(1_000, 3_000),
    profiled=2.0,
    replicas=(1, 4),
    takeovers=1,
)


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
SPREAD_CATALOGUE, HOT_CATALOGUE = 10_000, 2
"""Products of which an order hardly ever shares one with another, and so few that each order shares both."""
WINDOW = 1000
"""Events on their way to the broker at a time: ORDERSYS_PUBLISH_WINDOW's default, and the baselines' window."""
PREFETCH = 500
"""ORDERSYS_PREFETCH's default, and the baselines' prefetch."""

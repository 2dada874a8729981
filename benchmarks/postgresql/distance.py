"""The round trips to its database that PlaceOrder waits for: S15.

The services reach the server through a link that delays whatever passes it. PlaceOrder's p50 with the delay, less that
without, is what the round trips took, each as long as one measured through the same link.
"""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from statistics import median

import psycopg

from benchmarks.bench import Bench
from benchmarks.children import Child
from benchmarks.figures import GUARANTEED
from benchmarks.pipeline import place, place_at
from benchmarks.plan import LOW_RATE
from benchmarks.postgresql.systems import Wanted, sharing
from benchmarks.seeding import Stored
from benchmarks.summary import percentile
from benchmarks.systems import Measured
from ordersys.local import ports
from ordersys.local.postgresql import Server

EACH_WAY_SECONDS = 0.001
_COMMITS = 2  # that PlaceOrder waits for: one of the Product Service, one of the Order Service
_PROBES = 100
_SAID = f"{GUARANTEED}; {LOW_RATE:g} calls a second"


def measure(bench: Bench, other: Measured, server: Server) -> None:
    """Adds the figures of S15, of a system of its own."""
    (port,) = ports.free(1)
    link = bench.child("postgresql.slow_link", str(port), str(server.port))
    with sharing(bench, other, server, Wanted("distant", Stored(), through=port)) as distant:
        place(bench, distant, 1, bench.plan.seconds)
        with closing(psycopg.connect(distant.system.database_url, autocommit=True)) as probe:
            for number in bench.terminal.rounds("a distant database", bench.plan.rounds):
                _round(bench, distant, link, probe, slow_first=number % 2 == 1)


def _round(
    bench: Bench, distant: Measured, link: Child, probe: "psycopg.Connection[tuple[object]]", slow_first: bool
) -> None:
    latencies, trips = {}, {}
    for seconds in sorted((0.0, EACH_WAY_SECONDS), reverse=slow_first):
        with _delayed(link, seconds):
            trips[seconds] = _trip(probe)
            done = place_at(bench, distant, LOW_RATE, bench.plan.open_seconds)
            latencies[seconds] = percentile(done.latencies, 50)
    longer, added = (values[EACH_WAY_SECONDS] - values[0.0] for values in (latencies, trips))
    add = bench.figures.add
    add("distance.near.p50", 1000 * latencies[0.0], "ms", f"{_SAID}; through the link, without delay")
    add("distance.far.p50", 1000 * latencies[EACH_WAY_SECONDS], "ms", f"{_SAID}; 1 ms later each way")
    add("distance.trip", 1000 * added, "ms", "a round trip with the delay, less one without: SELECT 1, p50")
    add("distance.trips", longer / added / _COMMITS, "round trips", f"in each of two commits; {_SAID}")


@contextmanager
def _delayed(link: Child, seconds: float) -> Iterator[None]:
    """Delays what passes the link each way, until the context is left."""
    link.ask(seconds=seconds)
    yield
    link.ask(seconds=0.0)


def _trip(probe: "psycopg.Connection[tuple[object]]") -> float:
    """The time of a round trip, p50."""
    took = []
    for _ in range(_PROBES):
        began = time.perf_counter()
        probe.execute("SELECT 1")
        took.append(time.perf_counter() - began)
    return median(took)

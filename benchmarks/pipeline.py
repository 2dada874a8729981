"""Orders end to end: accepted, committed twice, confirmed by the broker, recorded by both notification services.

Every round is verified: exactly the accepted orders are recorded in both, or the run ends.
"""

from contextlib import closing
from dataclasses import dataclass
from typing import Any

from benchmarks import processor
from benchmarks.bench import Bench
from benchmarks.observing import Unsound
from benchmarks.plan import Batch
from benchmarks.systems import Measured

UNLIMITED = 10**9  # calls: more than any round makes


@dataclass(frozen=True)
class Round:
    """One round of orders. `accepted` and `recorded` in orders/s; processor time in seconds an order, by process."""

    orders: int
    accepted: float
    recorded: float
    latencies: list[float]
    processor: dict[str, float]


def place(
    bench: Bench,
    measured: Measured,
    in_flight: int,
    seconds: float,
    most: int = UNLIMITED,
    *,
    catalogue: int | None = None,
) -> Round:
    """Places orders in a closed loop, of the first `catalogue` products or of all. Raises Unsound."""
    manner = {"in_flight": in_flight, "seconds": seconds, "most": most}
    return _round(bench, measured, **manner, **({"catalogue": catalogue} if catalogue else {}))


def place_many(bench: Bench, measured: Measured, batch: Batch, seconds: float) -> Round:
    """Places orders in a closed loop, many in each call. Raises Unsound."""
    manner = {"orders": batch.orders, "in_flight": batch.calls, "seconds": seconds, "most": UNLIMITED}
    return _round(bench, measured, call="batch_place_orders", **manner)


def place_at(bench: Bench, measured: Measured, rate: float, seconds: float) -> Round:
    """Places orders in an open loop, `rate` a second. Raises Unsound."""
    return _round(bench, measured, rate=rate, seconds=seconds)


def _round(bench: Bench, measured: Measured, **manner: Any) -> Round:
    with closing(measured.records) as records:
        marks, meter = records.marks(), measured.meter()
        before = meter()
        answer = placed(bench, measured, **manner)
        ended = records.wait(marks, answer["orders"])
        used = {**processor.since(before, meter()), "client": answer["cpu"]}
    orders = len(answer["orders"])
    return Round(
        orders,
        orders / (answer["ended"] - answer["began"]),
        orders / (ended - answer["began"]),
        answer["latencies"],
        {name: seconds / orders for name, seconds in used.items()},
    )


def placed(bench: Bench, measured: Measured, call: str = "place_order", **manner: Any) -> dict[str, Any]:
    """Makes a round of load without refusals. Raises Unsound."""
    measured.keep_identities()
    answer = bench.calls(measured.door, call, **{"catalogue": measured.catalogue, **manner})
    if answer["failed"]:
        raise Unsound(f"calls failed: {answer['failed']}")
    return answer

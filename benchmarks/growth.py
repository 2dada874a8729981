"""Orders/s with many stored orders, products and waiting events (S6); and memory (S7).

Each is measured beside an empty system on the same broker, in rounds that alternate.
"""

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import NamedTuple

from benchmarks import memory, processor
from benchmarks.bench import Bench, in_turn
from benchmarks.figures import GUARANTEED
from benchmarks.observing import AnyReading, Records, Unsound, oldest_waiting, until
from benchmarks.pipeline import UNLIMITED, place, placed
from benchmarks.plan import USUAL_IN_FLIGHT
from benchmarks.seeding import Stored, append_events
from benchmarks.systems import Measured, beside, running

_DRAIN_SECONDS = 600.0  # at most, for 100,000 waiting events to be recorded; then the run fails
_DRAIN_POLL = 0.05  # seconds: of some 20, and a server counts the records each time
_AWAY = "accepted, both commits durable, the broker away on both sides"


class Accepted(NamedTuple):
    """A round of orders while the broker is away; `rate` in orders/s, processor time in seconds an order."""

    orders: int
    rate: float
    processor: dict[str, float]


def measure(bench: Bench) -> None:
    """Adds all figures of S6 and S7."""
    few, *more = bench.plan.stored
    with running(bench, "empty", Stored(orders=few)) as empty:
        if bench.plan.products:
            with beside(bench, empty, "catalogue", Stored(products=bench.plan.products)) as large:
                _compare(bench, empty, large, f"products.{bench.plan.products}")
        for orders in more:
            with beside(bench, empty, f"stored-{orders}", Stored(orders=orders)) as large:
                _compare(bench, empty, large, f"stored.{orders}")
                if orders == more[-1]:
                    memory.measure(bench, empty, large)
                    waiting(bench, empty, large, "growth", partial(append_events, large.system.folder / "databases"))


def _compare(bench: Bench, empty: Measured, large: Measured, name: str) -> None:
    for system in (empty, large):
        place(bench, system, USUAL_IN_FLIGHT, bench.plan.seconds / 2)
    for number in bench.terminal.rounds(name, bench.plan.curve_rounds):
        in_turn(
            number,
            partial(_round, bench, large, f"growth.{name}"),
            partial(_round, bench, empty, f"growth.{name}.empty"),
        )


def _round(bench: Bench, measured: Measured, name: str) -> None:
    done = place(bench, measured, USUAL_IN_FLIGHT, bench.plan.seconds)
    bench.figures.add(name, done.recorded, "orders/s", f"{GUARANTEED}; end to end, 64 in flight")


def waiting(bench: Bench, empty: Measured, large: Measured, name: str, append: Callable[[int], None]) -> None:
    """Measures with the broker away. When it is back, every waiting event has to arrive once. Raises Unsound.

    `append` puts so many events into the outbox of the large one; `name` is the first part of the figures' names.

    Both Order Services are restarted, though events are added to one database only: orders may cost more in the first
    seconds after a start, which then holds for both.
    """
    with closing(large.records) as records:
        marks = records.marks()
        empty.node.stop()
        for measured in (empty, large):
            measured.system.services["order_service"].stop()
        append(bench.plan.waiting)
        for measured in (empty, large):
            measured.system.services["order_service"].start()
            measured.system.services["order_service"].wait_healthy()
        whole = bench.plan.waiting + _rounds(bench, empty, large, name)
        empty.node.start()
        began = time.monotonic()
        drained = whole / (_drained(records, marks, whole) - began)
    bench.figures.add(
        f"{name}.drained", drained, "events/s", f"{GUARANTEED}; from the broker's return to the last record"
    )
    for measured in (empty, large):
        with measured.outbox() as reading:
            until(partial(_is_empty, reading), _DRAIN_SECONDS)


def _drained(records: Records, marks: list[int], whole: int) -> float:
    """The moment when both had recorded `whole` events since `marks`. Raises Unsound when there are more."""

    def left() -> list[int]:
        return [whole - count for count in records.since(marks)]

    ended = until(lambda: max(left()) <= 0, _DRAIN_SECONDS, poll=_DRAIN_POLL)
    if min(left()) < 0:
        raise Unsound(f"{whole} events waited, {-min(left())} more were recorded")
    return ended


def _rounds(bench: Bench, empty: Measured, large: Measured, name: str) -> int:
    """Measures S6; the number of orders that the large system accepted."""
    _accepted(bench, empty, bench.plan.seconds)
    accepted = [_accepted(bench, large, bench.plan.seconds).orders]

    def round_of_large() -> None:
        done = _accepted(bench, large, bench.plan.seconds)
        accepted.append(done.orders)
        said = f"{_AWAY}; {bench.plan.stored[-1]:,} orders stored, {bench.plan.waiting:,} events waiting"
        _add(bench, f"{name}.waiting.large", done, said)

    def round_of_empty() -> None:
        _add(bench, f"{name}.waiting.empty", _accepted(bench, empty, bench.plan.seconds), _AWAY)

    for number in bench.terminal.rounds("broker away", bench.plan.rounds):
        in_turn(number, round_of_large, round_of_empty)
    return sum(accepted)


def _accepted(bench: Bench, measured: Measured, seconds: float) -> Accepted:
    meter = measured.meter()
    before = meter()
    answer = placed(bench, measured, in_flight=USUAL_IN_FLIGHT, seconds=seconds, most=UNLIMITED)
    used = {**processor.since(before, meter()), "client": answer["cpu"]}
    orders = len(answer["orders"])
    each = {process: seconds / orders for process, seconds in used.items()}
    return Accepted(orders, orders / (answer["ended"] - answer["began"]), each)


def _add(bench: Bench, name: str, done: Accepted, said: str) -> None:
    bench.figures.add(name, done.rate, "orders/s", said)
    bench.figures.add_processor(name, done.processor, "µs/order", said)


def _is_empty(reading: AnyReading) -> bool:
    return oldest_waiting(reading) == 0

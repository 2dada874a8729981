"""The goals S1 to S17: ratios of medians of rounds that alternated in one run, and whether they are met. Pure.

The verdict on a throughput goal depends on processor time: that of the baseline for a call or event, divided by ours
for an order or event. It stays valid on a busy machine. The ratio by the clock is shown beside it. Where a goal says
how much more ours may cost (its bound is a maximum), the ratio is ours to the baseline's.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from benchmarks.figures import Figures

SERVICES = ("order_service", "product_service", "notification_service_1", "notification_service_2")


class Measure(StrEnum):
    """The kinds of measurement; the value is shown to people."""

    PROCESSOR = "processor time"
    CLOCK = "clock"
    MEMORY = "memory"


class Bound(NamedTuple):
    """A limit for a value; infinite where none was set."""

    relation: str
    value: float

    def __str__(self) -> str:
        return "–" if math.isinf(self.value) else f"{'≥' if self.relation == '>=' else '≤'} {self.value:g}"

    def met(self, value: float) -> bool:
        """True if `value` is within the bound."""
        return value >= self.value if self.relation == ">=" else value <= self.value

    def worst(self, values: Sequence[float]) -> float:
        """The value that is nearest to breaking the bound, or farthest beyond."""
        return min(values) if self.relation == ">=" else max(values)


@dataclass(frozen=True)
class Part:
    """A figure with a bound, or its ratio to another figure; of several figures the worst counts.

    The ratio of processor times is the baseline's to ours, so that it says the same as that of rates; where the
    bound is a maximum, it is ours to the baseline's.
    """

    measure: Measure
    ours: tuple[str, ...]
    base: tuple[str, ...]
    bound: Bound
    judges: bool = True
    """True if the verdict depends on it; else it is shown beside."""
    said: str = ""
    """The difference to the first part of the goal."""

    def value(self, figures: Figures) -> float:
        """The worst of the values. Raises KeyError when one was not measured."""
        return self.bound.worst(list(self._values(figures)))

    def _values(self, figures: Figures) -> Iterator[float]:
        if not self.base:
            yield from (figures[name].median for name in self.ours)
            return
        for ours, base in zip(self.ours, self.base, strict=True):
            ratio = figures[ours].median / figures[base].median
            inverse = self.measure is Measure.PROCESSOR and self.bound.relation == ">="
            yield 1 / ratio if inverse else ratio


@dataclass(frozen=True)
class Goal:
    """A goal by its name; the first part's value is the goal's."""

    name: str
    ratio: str
    """The two figures that are compared, in words."""
    parts: tuple[Part, ...]


def _processor(ours: str, base: str, least: float, said: str = "", judges: bool = True) -> Part:
    return Part(Measure.PROCESSOR, (f"processor.{ours}",), (f"processor.{base}",), Bound(">=", least), judges, said)


def _rate(ours: str, base: str, least: float, said: str = "", judges: bool = False) -> Part:
    return Part(Measure.CLOCK, (ours,), (base,), Bound(">=", least), judges, said)


def _latency(ours: str, base: str, most: float, said: str = "", judges: bool = True) -> Part:
    return Part(Measure.CLOCK, (ours,), (base,), Bound("<=", most), judges, said)


def _costs(ours: str, base: str, most: float, said: str = "", judges: bool | None = None) -> Part:
    """The processor time of ours ÷ that of the baseline; without a bound it decides nothing."""
    judges = not math.isinf(most) if judges is None else judges
    return Part(Measure.PROCESSOR, (f"processor.{ours}",), (f"processor.{base}",), Bound("<=", most), judges, said)


def _takeovers(what: str) -> tuple[str, ...]:
    return tuple(f"takeover.{service}.{what}" for service in ("order_service", "notification_service_1"))


def _memory(after: str) -> tuple[str, ...]:
    return tuple(f"memory.{after}.{service}" for service in SERVICES)


_OTHER_LOOP = "the baseline on the other event loop"
_FLOOR = "÷ two hops that commit once each, the floor"
_FLOOR_ITSELF = "the floor ÷ two-hop echo"
_LARGE = "64 orders in each call, 512 in flight"
_WITH_BROKER = "with the broker's"
_AIO_PIKA = "÷ bare aio-pika"
_CARELESS = "without the guarantees"
_ANY = math.inf
_EVERY_TRACE = "with every trace"
_ALL_PROCESSES = "with client, broker and database server"
_EACH = "with 4 processes, 64 in flight for each"
_STORED = "orders stored, none waiting, end to end"
_WITH_CLIENT = "with the client's"

GOALS = (
    Goal(
        "S1",
        "orders end to end, 64 in flight ÷ empty echo calls, 64 in flight",
        (
            _processor("pipeline.64", "echo.64", 0.38),
            _rate("pipeline.64", "echo.64", 0.35, judges=True),
            _processor("pipeline.64", "echo.64.other_loop", 0.38, _OTHER_LOOP, judges=False),
            _rate("pipeline.64", "echo.64.other_loop", 0.35, _OTHER_LOOP),
        ),
    ),
    Goal(
        "S1_batch",
        "orders end to end, 16 in each call, 64 in flight ÷ empty echo calls, 64 in flight",
        (
            _processor("pipeline.64.batch16", "echo.64", 0.65),
            _rate("pipeline.64.batch16", "echo.64", 0.65),
            _processor("pipeline.512.batch64", "echo.64", 1.0, _LARGE),
            _rate("pipeline.512.batch64", "echo.64", 1.0, _LARGE),
        ),
    ),
    Goal(
        "S2",
        "PlaceOrder p50 at low load ÷ two-hop echo p50",
        (
            _latency("place_order.p50", "two_hops.p50", 2.0),
            _latency("place_order.p50", "two_hops.p50.other_loop", 2.0, _OTHER_LOOP, judges=False),
            _latency("place_order.p50", "two_hops.durable.p50", math.inf, _FLOOR, judges=False),
            _latency("two_hops.durable.p50", "two_hops.p50", math.inf, _FLOOR_ITSELF, judges=False),
            _processor("place_order.low", "two_hops", 0.5, "at low load", judges=False),
        ),
    ),
    Goal(
        "S3",
        "PlaceOrder p99 ÷ p50 at half of the maximum rate, open loop",
        (_latency("place_order.half.p99", "place_order.half.p50", 3.0),),
    ),
    Goal(
        "S4",
        "events relayed ÷ published by bare pika, pipelined with the same window",
        (
            _processor("relay.order_service", "pika.publish.client", 0.95),
            _rate("relay", "pika.publish", 0.95),
            _processor("relay", "pika.publish", 0.95, _WITH_BROKER, judges=False),
        ),
    ),
    Goal(
        "S5",
        "events recorded by a consumer ÷ consumed by bare pika",
        (
            _processor("consumer.notification_service_1", "pika.consume.client", 0.5),
            _rate("consumer", "pika.consume", 0.5),
            _processor("consumer.notification_service_1", "aio_pika.consume.client", 2.0, _AIO_PIKA),
            _rate("consumer", "aio_pika.consume", 2.0, _AIO_PIKA),
        ),
    ),
    Goal(
        "S6",
        "orders with many orders stored and events waiting ÷ in an empty system",
        (
            _processor("growth.waiting.large", "growth.waiting.empty", 0.95),
            _rate("growth.waiting.large", "growth.waiting.empty", 0.95),
        ),
    ),
    Goal(
        "S7",
        "resident memory of a service after many orders ÷ after few",
        (
            Part(Measure.MEMORY, _memory("after_many"), _memory("after_few"), Bound("<=", 1.05)),
            Part(Measure.MEMORY, _memory("after_many"), (), Bound("<=", 100.0), said="the largest, in MB"),
        ),
    ),
    Goal(
        "S8",
        "PlaceOrder's reply to the record in both notification services, p50 ÷ one confirmed publish",
        (_latency("notice.p50", "pika.one_publish.p50", 4.0),),
    ),
    Goal(
        "S9",
        "orders end to end ÷ the same system written plainly, with the same guarantees",
        (
            _rate("plain.guaranteed.ours", "plain.guaranteed", 5.0, judges=True),
            _processor("plain.guaranteed.ours", "plain.guaranteed", 5.0, judges=False),
            _rate("plain.careless.ours", "plain.careless", 2.5, _CARELESS, judges=True),
            _processor("plain.careless.ours", "plain.careless", 2.5, _CARELESS, judges=False),
        ),
    ),
    Goal(
        "S10",
        "services' processor time of an order on PostgreSQL ÷ in SQLite files",
        (
            _costs("postgresql.one.services", "postgresql.files.services", 1.25),
            _costs("postgresql.one", "postgresql.files", _ANY, _ALL_PROCESSES),
            Part(
                Measure.CLOCK,
                ("postgresql.files",),
                ("postgresql.one",),
                Bound("<=", _ANY),
                False,
                "SQLite's orders/s ÷ PostgreSQL's",
            ),
        ),
    ),
    Goal(
        "S11",
        "services' processor time of an order with 4 processes of each service ÷ with 1, 64 in flight",
        (
            _costs("replicas.4.services", "replicas.1.services", 1.15),
            _costs("replicas.2.services", "replicas.1.services", 1.15, "with 2 processes", judges=False),
            _costs("replicas.4.each.services", "replicas.1.services", 1.15, _EACH, judges=False),
            _costs("replicas.4", "replicas.1", _ANY, _ALL_PROCESSES),
        ),
    ),
    Goal(
        "S12",
        "orders end to end that all are of the same 2 products ÷ of any of 10,000, 4 processes of each service",
        (
            _rate("stock.hot", "stock.spread", 0.8, judges=True),
            _processor("stock.hot", "stock.spread", 0.8, judges=False),
        ),
    ),
    Goal(
        "S13",
        "seconds from the kill -9 of a process that has the lease to the record of the next event, the slowest",
        (
            Part(Measure.CLOCK, _takeovers("slowest"), (), Bound("<=", 15.0)),
            Part(Measure.CLOCK, _takeovers("taken_over"), (), Bound("<=", 15.0), judges=False, said="the median"),
        ),
    ),
    Goal(
        "S14",
        "PostgreSQL: orders with many orders stored and events waiting ÷ with few and none",
        (
            _processor("shared.waiting.large", "shared.waiting.empty", 0.9),
            _rate("shared.waiting.large", "shared.waiting.empty", 0.9),
            _processor("shared.stored.large", "shared.stored.empty", 0.9, _STORED),
            _rate("shared.stored.large", "shared.stored.empty", 0.9, _STORED),
        ),
    ),
    Goal(
        "S15",
        "round trips to the database that PlaceOrder waits for, in each of its two commits, p50 at low load",
        (Part(Measure.CLOCK, ("distance.trips",), (), Bound("<=", 3.0)),),
    ),
    Goal(
        "S16",
        "services' processor time of an order with identities ÷ without",
        (
            _costs("identities.with.services", "identities.without.services", 1.15),
            _costs("identities.with.services_and_client", "identities.without.services_and_client", _ANY, _WITH_CLIENT),
            _latency("identities.without", "identities.with", _ANY, "orders/s without ÷ with", judges=False),
        ),
    ),
    Goal(
        "S17",
        "orders with metrics and one trace in a hundred ÷ without",
        (
            _rate("observed.usual", "observed.none", 0.97, judges=True),
            _processor("observed.usual", "observed.none", 0.97, judges=False),
            _costs("observed.usual.services", "observed.none.services", _ANY, "services"),
            _rate("observed.all", "observed.none", 0.97, _EVERY_TRACE),
            _processor("observed.all", "observed.none", 0.97, _EVERY_TRACE, judges=False),
            _costs("observed.all.services", "observed.none.services", _ANY, f"services, {_EVERY_TRACE}"),
        ),
    ),
)


def judged(figures: Figures) -> dict[str, dict[str, Any]]:
    """The value, bound and verdict of each goal; value and verdict are None where something was not measured."""
    return {goal.name: _judged(goal, figures) for goal in GOALS}


def _judged(goal: Goal, figures: Figures) -> dict[str, Any]:
    parts = [_part(part, figures) for part in goal.parts]
    mets = [part["met"] for part in parts if part["judges"]]
    met = None if None in mets else all(mets)
    return {"value": parts[0]["value"], "goal": parts[0]["goal"], "met": met, "what": goal.ratio, "parts": parts}


def _part(part: Part, figures: Figures) -> dict[str, Any]:
    try:
        value: float | None = part.value(figures)
    except KeyError:
        value = None
    met = None if value is None else part.bound.met(value)
    said = {name: figures[name].said for name in (*part.ours, *part.base) if name in figures}
    return {
        "measure": part.measure,
        "value": value,
        "goal": str(part.bound),
        "met": met,
        "judges": part.judges,
        "said": part.said,
        "ours": part.ours,
        "base": part.base,
        "with": said,
    }

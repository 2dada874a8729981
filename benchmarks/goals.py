"""The goals S1 to S8: ratios of medians of rounds that alternated in one run, and whether they are met. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.figures import Figures

SERVICES = ("order_service", "product_service", "notification_service_1", "notification_service_2")


class Bound(NamedTuple):
    """How far a value may go."""

    relation: str
    value: float

    def __str__(self) -> str:
        return f"{'≥' if self.relation == '>=' else '≤'} {self.value:g}"

    def met(self, value: float) -> bool:
        """Whether `value` keeps it."""
        return value >= self.value if self.relation == ">=" else value <= self.value

    def worst(self, values: Sequence[float]) -> float:
        """The one of `values` that is nearest to breaking it, or farthest beyond."""
        return min(values) if self.relation == ">=" else max(values)


@dataclass(frozen=True)
class Part:
    """What is held against a bound: a figure, or its ratio to another; of several the worst counts."""

    ours: tuple[str, ...]
    base: tuple[str, ...]
    bound: Bound

    def values(self, figures: Figures) -> Iterator[float]:
        """A value for each figure of ours. Raises KeyError when one was not measured."""
        if not self.base:
            yield from (figures[name].median for name in self.ours)
            return
        for ours, base in zip(self.ours, self.base, strict=True):
            yield figures[ours].median / figures[base].median


@dataclass(frozen=True)
class Goal:
    """A goal by its name; the first part's value is the goal's."""

    name: str
    what: str
    parts: tuple[Part, ...]


def _at_least(ours: str, base: str, value: float) -> Part:
    return Part((ours,), (base,), Bound(">=", value))


def _at_most(ours: str, base: str, value: float) -> Part:
    return Part((ours,), (base,), Bound("<=", value))


def _memory(after: str) -> tuple[str, ...]:
    return tuple(f"memory.{after}.{service}" for service in SERVICES)


GOALS = (
    Goal(
        "S1",
        "orders/s end to end, 64 in flight ÷ empty echo calls/s, 64 in flight",
        (_at_least("pipeline.64", "echo.64", 0.50),),
    ),
    Goal(
        "S1_batch",
        "orders/s end to end, 64 orders in flight, 16 in each call ÷ empty echo calls/s, 64 in flight",
        (_at_least("pipeline.64.batch", "echo.64", 0.50),),
    ),
    Goal("S2", "PlaceOrder p50 at low load ÷ two-hop echo p50", (_at_most("place_order.p50", "two_hops.p50", 2.0),)),
    Goal(
        "S3",
        "PlaceOrder p99 ÷ p50 at half of the maximum rate, open loop",
        (_at_most("place_order.half.p99", "place_order.half.p50", 4.0),),
    ),
    Goal(
        "S4",
        "relay events/s ÷ bare pika, pipelined with the same window",
        (_at_least("relay", "pika.publish", 0.80),),
    ),
    Goal(
        "S5",
        "consumer events/s ÷ bare pika, and ÷ bare aio-pika",
        (_at_least("consumer", "pika.consume", 0.40), _at_least("consumer", "aio_pika.consume", 2.0)),
    ),
    Goal(
        "S6",
        "orders/s with many orders stored and events waiting ÷ empty system",
        (_at_least("growth.waiting.large", "growth.waiting.empty", 0.90),),
    ),
    Goal(
        "S7",
        "resident memory of a service after many orders ÷ after few, and in MB",
        (
            Part(_memory("after_many"), _memory("after_few"), Bound("<=", 1.2)),
            Part(_memory("after_many"), (), Bound("<=", 100.0)),
        ),
    ),
    Goal(
        "S8",
        "PlaceOrder's reply to the record in both notification services, p50 ÷ one confirmed publish",
        (_at_most("notice.p50", "pika.one_publish.p50", 8.0),),
    ),
)


def judged(figures: Figures) -> dict[str, dict[str, Any]]:
    """For each goal its value, its bound and whether it is met: None for both where something was not measured."""
    return {goal.name: _judged(goal, figures) for goal in GOALS}


def _judged(goal: Goal, figures: Figures) -> dict[str, Any]:
    first, *others = [_part(part, figures) for part in goal.parts]
    mets = [part["met"] for part in (first, *others)]
    document = {**first, "met": None if None in mets else all(mets), "what": goal.what}
    return {**document, "also": others} if others else document


def _part(part: Part, figures: Figures) -> dict[str, Any]:
    try:
        value: float | None = part.bound.worst(list(part.values(figures)))
    except KeyError:
        value = None
    met = None if value is None else part.bound.met(value)
    said = {name: figures[name].said for name in (*part.ours, *part.base) if name in figures}
    return {"value": value, "goal": str(part.bound), "met": met, "ours": part.ours, "base": part.base, "with": said}

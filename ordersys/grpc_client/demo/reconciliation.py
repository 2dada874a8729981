"""Reconciliation of requests, stored orders and recorded events. Pure.

Everything is compared with what the API answered: an order acknowledged is there once, each change is heard of
once by whoever takes it, and no unit of stock appears or vanishes. What others do meanwhile is left out, and said.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ordersys.api.notification.v1.notification_log_pb2 import Notification
from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderRejected, OrderUpdated
from ordersys.api.order.v1.order_pb2 import Order, OrderState

CREATED, REJECTED = "OrderCreated", "OrderRejected"
SILENT = "does not answer"
"""The health of a service that does not answer."""
_HEARS_ALL = 2
_SOMEBODY_ELSE = "is somebody else working with the system?"


class Stock(NamedTuple):
    """The units of a product."""

    available: int
    held: int


@dataclass
class Facts:
    """The facts of a run: requests and answers, stored orders, recorded events."""

    suffix: str = ""
    """Ends the names of the customers of this run; nobody else's end so."""
    answered: dict[tuple[str, int], Order] = field(default_factory=dict)
    """Each order the API answered, by id and version."""
    refused: int = 0
    """Placements refused for want of stock."""
    short: int = 0
    """Those of them for which there had been enough."""
    adjusted: Counter[str] = field(default_factory=Counter)
    """Units added, by product."""
    stock_before: Mapping[str, Stock] = field(default_factory=dict)
    stock_after: Mapping[str, Stock] = field(default_factory=dict)
    orders: Sequence[Order] = ()
    """The orders of this run that are there."""
    heard: tuple[list[Notification], list[Notification]] = field(default_factory=lambda: ([], []))
    """The records of notification services 1 and 2 of this run."""
    foreign: int = 0
    """Orders and events of others that came meanwhile."""
    broken: list[str] = field(default_factory=list)
    """Promises seen not to be kept on the way, a sentence each."""

    @property
    def created(self) -> int:
        """Orders created."""
        return len({order_id for order_id, _ in self.answered})

    @property
    def updated(self) -> int:
        """Changes of orders."""
        return len(self.answered) - self.created

    def owns(self, customer_id: str) -> bool:
        """True where the orders of this customer are of this run."""
        return customer_id.endswith(self.suffix)


@dataclass(frozen=True)
class Findings:
    """The result of a reconciliation; `ok` when nothing is wrong, else `troubles` has a sentence for each kind."""

    orders_created: int
    orders_updated: int
    orders_rejected: int
    recorded_by_notification_service_1: int
    recorded_by_notification_service_2: int
    lost: int
    duplicated: int
    stock_conserved: bool | None
    """None where it can't be told, since others took or returned stock meanwhile."""
    troubles: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True where everything comes out even."""
        return not self.troubles


class _Trouble(NamedTuple):
    """Something that is not as it should be; those of one kind are told together."""

    kind: str
    sentence: str


def reconcile(facts: Facts) -> Findings:
    """Reconciles `facts`."""
    lost = [*_lost_orders(facts), *_lost_events(facts)]
    duplicated = [*_doubles("order", (o.id for o in facts.orders)), *_heard_twice(facts)]
    stock = list(_stock_troubles(facts))
    untold = bool(stock and facts.foreign)
    broken = [_Trouble(sentence, sentence) for sentence in facts.broken]
    other = [*broken, *_short(facts), *_unasked(facts), *_unfounded(facts), *_unequal(facts), *_misdirected(facts)]
    return Findings(
        orders_created=facts.created,
        orders_updated=facts.updated,
        orders_rejected=facts.refused,
        recorded_by_notification_service_1=len(facts.heard[0]),
        recorded_by_notification_service_2=len(facts.heard[1]),
        lost=len(lost),
        duplicated=len(duplicated),
        stock_conserved=None if untold else not stock,
        troubles=tuple(_together([*lost, *duplicated, *([] if untold else stock), *other])),
        notes=tuple(_notes(facts, untold)),
    )


def complete(facts: Facts) -> bool:
    """True once both services have recorded as much as there is to hear."""
    first, second = facts.heard
    return len(first) >= facts.created and len(second) >= len(facts.answered) + facts.refused


def likely_causes(facts: Facts, health: Mapping[str, str]) -> Iterator[str]:
    """The likely causes of missing events; `health` is the health of each service."""
    first, second = facts.heard
    if complete(facts):
        return
    if not first and not second:
        yield (
            "No event arrived at all. Likely the broker takes nothing: it is not reachable, or its disk or memory alarm"
            " keeps publishers back. The orders are safe: their events wait in the outbox and leave by themselves."
        )
    else:
        for number, heard in enumerate(facts.heard, 1):
            if not heard:
                yield (
                    f"No event arrived at Notification Service {number}. Likely it is not subscribed, or can't write;"
                    " its log says why."
                )
        if first and second:
            yield "Some events may still be on their way; --timeout S waits longer."
    for name, said in health.items():
        if said != "SERVING":
            yield f"The {name} says {said}." if said.isupper() else f"The {name} {said}."


def customer(notification: Notification) -> str:
    """The customer of the order an event is about, empty when it is none of ours."""
    rejected = OrderRejected()
    return rejected.customer_id if notification.event.Unpack(rejected) else _order_in(notification).customer_id


def kind(notification: Notification) -> str:
    """The event's short name."""
    return notification.event.type_url.rpartition(".")[2]


def _together(troubles: Iterable[_Trouble]) -> Iterator[str]:
    """A sentence for each kind: the first of it, and how many there are."""
    by_kind: dict[str, list[str]] = {}
    for trouble in troubles:
        by_kind.setdefault(trouble.kind, []).append(trouble.sentence)
    for first, *more in by_kind.values():
        yield f"{first} (and {len(more)} more of this kind)" if more else first


def _notes(facts: Facts, untold: bool) -> Iterator[str]:
    if facts.foreign:
        yield f"{facts.foreign} orders and events of others came meanwhile; they are left out of it"
    if untold:
        yield "stock moved that this run did not move, as others were at work; whether it is conserved can't be told"


def _lost_orders(facts: Facts) -> Iterator[_Trouble]:
    stored = {order.id: order.version for order in facts.orders}
    for order_id, version in facts.answered:
        if stored.get(order_id, 0) < version:
            yield _Trouble("not there", f"order {order_id} was answered at version {version} and is not there")


def _lost_events(facts: Facts) -> Iterator[_Trouble]:
    for service, heard in enumerate(facts.heard, 1):
        known = {(n.order_id, n.version) for n in heard}
        by = f"was not heard of by notification service {service}"
        for order_id, version in facts.answered:
            hears = version == 1 or service == _HEARS_ALL
            if hears and (order_id, version) not in known:
                yield _Trouble(by, f"version {version} of order {order_id} {by}")
    rejected = sum(kind(n) == REJECTED for n in facts.heard[1])
    for _ in range(facts.refused - rejected):
        yield _Trouble("refused", "a refused placement was not heard of by notification service 2")


def _heard_twice(facts: Facts) -> Iterator[_Trouble]:
    for service, heard in enumerate(facts.heard, 1):
        yield from _doubles(f"event (service {service})", (n.event_id for n in heard))
        yield from _doubles(f"order version (service {service})", (f"{n.order_id} {n.version}" for n in heard))


def _doubles(what: str, names: Iterable[str]) -> Iterator[_Trouble]:
    for name, times in Counter(names).items():
        for _ in range(times - 1):
            yield _Trouble(what, f"{what} {name} is there twice")


def _stock_troubles(facts: Facts) -> Iterator[_Trouble]:
    held = _held(facts)
    for product_id, before in facts.stock_before.items():
        after = facts.stock_after.get(product_id, Stock(0, 0))
        if sum(after) != sum(before) + facts.adjusted[product_id]:
            delta = facts.adjusted[product_id]
            sentence = f"{product_id} had {sum(before)} units, was adjusted by {delta} and has {sum(after)}"
            yield _Trouble("sum", f"{sentence}; {_SOMEBODY_ELSE}")
        if after.held - before.held != held[product_id]:
            sentence = f"{product_id}: orders hold {held[product_id]} more, the stock says {after.held - before.held}"
            yield _Trouble("held", f"{sentence}; {_SOMEBODY_ELSE}")
        if min(after) < 0:
            yield _Trouble("below zero", f"{product_id} fell below zero: {after}")


def _held(facts: Facts) -> Counter[str]:
    """The units of each product that the last versions hold."""
    last = {order.id: order for _, order in sorted(facts.answered.items(), key=lambda entry: entry[0][1])}
    held: Counter[str] = Counter()
    for order in last.values():
        if order.state != OrderState.ORDER_STATE_CANCELLED:
            held.update({item.product_id: item.quantity for item in order.items})
    return held


def _short(facts: Facts) -> Iterator[_Trouble]:
    if facts.short and not facts.foreign:
        yield _Trouble("short", f"{facts.short} placements were refused though there was enough; {_SOMEBODY_ELSE}")


def _unasked(facts: Facts) -> Iterator[_Trouble]:
    """Orders of this run's customers that it did not ask for."""
    asked = {order_id for order_id, _ in facts.answered}
    for order in facts.orders:
        if order.id not in asked:
            yield _Trouble("unasked", f"order {order.id} is there and was not asked for")


def _unfounded(facts: Facts) -> Iterator[_Trouble]:
    """Events of what was never answered."""
    heard = [notification for log in facts.heard for notification in log]
    for notification in heard:
        if kind(notification) != REJECTED and (notification.order_id, notification.version) not in facts.answered:
            sentence = f"the event {notification.event_id} tells of a change nobody was answered; {_SOMEBODY_ELSE}"
            yield _Trouble("unfounded", sentence)
    rejections = sorted({n.event_id for n in heard if kind(n) == REJECTED})
    if len(rejections) > facts.refused:
        sentence = f"{facts.refused} placements were refused, and these events tell of one: {', '.join(rejections)}"
        yield _Trouble("refusals", sentence)


def _unequal(facts: Facts) -> Iterator[_Trouble]:
    for order in facts.orders:
        if facts.answered.get((order.id, order.version), order) != order:
            yield _Trouble("stored otherwise", f"order {order.id} is stored otherwise than the API answered")
    for heard in facts.heard:
        for notification in heard:
            answered = facts.answered.get((notification.order_id, notification.version))
            if answered is not None and _order_in(notification) != answered:
                sentence = f"the event {notification.event_id} tells of another order than the API answered"
                yield _Trouble("told otherwise", sentence)


def _misdirected(facts: Facts) -> Iterator[_Trouble]:
    for notification in facts.heard[0]:
        if kind(notification) != CREATED:
            sentence = f"notification service 1 heard of {kind(notification)} {notification.event_id}"
            yield _Trouble("misdirected", sentence)


def _order_in(notification: Notification) -> Order:
    for event in (OrderCreated(), OrderUpdated()):
        if notification.event.Unpack(event):
            return event.order
    return Order()

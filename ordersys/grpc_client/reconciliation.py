"""Whether what was asked, what is stored and what was heard of it come out even. Pure.

Everything is compared with what the API answered: an order acknowledged is there once, each change is heard of
once by whoever takes it, and no unit of stock appears or vanishes.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ordersys.api.notification.v1.notification_log_pb2 import Notification
from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderUpdated
from ordersys.api.order.v1.order_pb2 import Order, OrderState

CREATED, REJECTED = "OrderCreated", "OrderRejected"
_HEARS_ALL = 2
_SOMEBODY_ELSE = "is somebody else working with the system?"


class Stock(NamedTuple):
    """The units of a product."""

    available: int
    held: int


@dataclass
class Facts:
    """What happened between two moments: asked and answered, stored, heard."""

    answered: dict[tuple[str, int], Order] = field(default_factory=dict)
    """Each order the API answered, by id and version."""
    refused: int = 0
    """Placements refused for want of stock."""
    adjusted: Counter[str] = field(default_factory=Counter)
    """Units added, by product."""
    stock_before: Mapping[str, Stock] = field(default_factory=dict)
    stock_after: Mapping[str, Stock] = field(default_factory=dict)
    orders: Sequence[Order] = ()
    """The orders that are there now and were not before."""
    heard: tuple[list[Notification], list[Notification]] = field(default_factory=lambda: ([], []))
    """What notification services 1 and 2 have recorded."""
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


@dataclass(frozen=True)
class Findings:
    """What the facts come to; `ok` when nothing is wrong, else `troubles` says what is, a sentence each."""

    orders_created: int
    orders_updated: int
    orders_rejected: int
    recorded_by_notification_service_1: int
    recorded_by_notification_service_2: int
    lost: int
    duplicated: int
    stock_conserved: bool
    troubles: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything comes out even."""
        return not self.troubles


def reconcile(facts: Facts) -> Findings:
    """What `facts` come to."""
    lost = [*_lost_orders(facts), *_lost_events(facts)]
    duplicated = [*_doubles("order", (o.id for o in facts.orders)), *_heard_twice(facts)]
    stock = list(_stock_troubles(facts))
    other = [*facts.broken, *_foreign(facts), *_unfounded(facts), *_unequal(facts), *_misdirected(facts)]
    return Findings(
        orders_created=facts.created,
        orders_updated=facts.updated,
        orders_rejected=facts.refused,
        recorded_by_notification_service_1=len(facts.heard[0]),
        recorded_by_notification_service_2=len(facts.heard[1]),
        lost=len(lost),
        duplicated=len(duplicated),
        stock_conserved=not stock,
        troubles=(*lost, *duplicated, *stock, *other),
    )


def complete(facts: Facts) -> bool:
    """Whether both services have recorded as much as there is to hear."""
    one, two = facts.heard
    return len(one) >= facts.created and len(two) >= len(facts.answered) + facts.refused


def kind(notification: Notification) -> str:
    """The event's short name."""
    return notification.event.type_url.rpartition(".")[2]


def _lost_orders(facts: Facts) -> Iterable[str]:
    stored = {order.id: order.version for order in facts.orders}
    for order_id, version in facts.answered:
        if stored.get(order_id, 0) < version:
            yield f"order {order_id} was answered at version {version} and is not there"


def _lost_events(facts: Facts) -> Iterable[str]:
    for service, heard in enumerate(facts.heard, 1):
        known = {(n.order_id, n.version) for n in heard}
        for order_id, version in facts.answered:
            hears = version == 1 or service == _HEARS_ALL
            if hears and (order_id, version) not in known:
                yield f"version {version} of order {order_id} was not heard of by notification service {service}"
    rejected = sum(kind(n) == REJECTED for n in facts.heard[1])
    for _ in range(facts.refused - rejected):
        yield "a refused placement was not heard of by notification service 2"


def _heard_twice(facts: Facts) -> Iterable[str]:
    for service, heard in enumerate(facts.heard, 1):
        yield from _doubles(f"event (service {service})", (n.event_id for n in heard))
        yield from _doubles(f"order version (service {service})", (f"{n.order_id} {n.version}" for n in heard))


def _doubles(what: str, names: Iterable[str]) -> Iterable[str]:
    for name, times in Counter(names).items():
        for _ in range(times - 1):
            yield f"{what} {name} is there twice"


def _stock_troubles(facts: Facts) -> Iterable[str]:
    held = _held(facts)
    for product_id, before in facts.stock_before.items():
        after = facts.stock_after.get(product_id, Stock(0, 0))
        if sum(after) != sum(before) + facts.adjusted[product_id]:
            delta = facts.adjusted[product_id]
            yield f"{product_id} had {sum(before)} units, was adjusted by {delta} and has {sum(after)}"
        if after.held - before.held != held[product_id]:
            yield f"{product_id}: orders hold {held[product_id]} more, the stock says {after.held - before.held}"
        if min(after) < 0:
            yield f"{product_id} fell below zero: {after}"


def _held(facts: Facts) -> Counter[str]:
    """What the last versions hold of each product."""
    last = {order.id: order for _, order in sorted(facts.answered.items(), key=lambda entry: entry[0][1])}
    held: Counter[str] = Counter()
    for order in last.values():
        if order.state != OrderState.ORDER_STATE_CANCELLED:
            held.update({item.product_id: item.quantity for item in order.items})
    return held


def _foreign(facts: Facts) -> Iterable[str]:
    asked = {order_id for order_id, _ in facts.answered}
    for order in facts.orders:
        if order.id not in asked:
            yield f"order {order.id} is there and was not asked for; {_SOMEBODY_ELSE}"


def _unfounded(facts: Facts) -> Iterable[str]:
    """Events of what was never answered."""
    heard = [notification for one in facts.heard for notification in one]
    for notification in heard:
        if kind(notification) != REJECTED and (notification.order_id, notification.version) not in facts.answered:
            yield f"the event {notification.event_id} tells of a change nobody was answered; {_SOMEBODY_ELSE}"
    rejections = sorted({n.event_id for n in heard if kind(n) == REJECTED})
    if len(rejections) > facts.refused:
        yield f"{facts.refused} placements were refused, and these events tell of one: {', '.join(rejections)}"


def _unequal(facts: Facts) -> Iterable[str]:
    for order in facts.orders:
        if facts.answered.get((order.id, order.version), order) != order:
            yield f"order {order.id} is stored otherwise than the API answered"
    for heard in facts.heard:
        for notification in heard:
            answered = facts.answered.get((notification.order_id, notification.version))
            if answered is not None and _order_in(notification) != answered:
                yield f"the event {notification.event_id} tells of another order than the API answered"


def _misdirected(facts: Facts) -> Iterable[str]:
    for notification in facts.heard[0]:
        if kind(notification) != CREATED:
            yield f"notification service 1 heard of {kind(notification)} {notification.event_id}"


def _order_in(notification: Notification) -> Order:
    for event in (OrderCreated(), OrderUpdated()):
        if notification.event.Unpack(event):
            return event.order
    return Order()

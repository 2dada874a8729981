"""Reconciliation: requests, stored orders and recorded notifications come out even, or not."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message
from google.type.money_pb2 import Money
from hypothesis import given
from hypothesis import strategies as st

from ordersys.api.notification.v1.notification_log_pb2 import Notification
from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderRejected, OrderUpdated
from ordersys.api.order.v1.order_pb2 import Order, OrderItem, OrderState
from ordersys.grpc_client.demo.reconciliation import (
    SILENT,
    Facts,
    Findings,
    Stock,
    complete,
    customer,
    likely_causes,
    reconcile,
)

PLACED, PAID, CANCELLED = (
    OrderState.ORDER_STATE_PLACED,
    OrderState.ORDER_STATE_PAID,
    OrderState.ORDER_STATE_CANCELLED,
)
PRICE = Money(currency_code="EUR", units=1)


def order(order_id: str, version: int, state: Any = PLACED, **units: int) -> Order:
    """An order at one version, of so many units of each product."""
    items = [OrderItem(product_id=product, quantity=quantity, unit_price=PRICE) for product, quantity in units.items()]
    return Order(id=order_id, version=version, state=state, items=items, total=Money(units=sum(units.values())))


def record(event: Message, order_id: str, version: int) -> Notification:
    """The record that a notification service has of an event."""
    name = f"{event.DESCRIPTOR.name} {order_id} {version}"
    notification = Notification(event_id=name, order_id=order_id, version=version)
    notification.event.Pack(event)
    return notification


def created(order: Order) -> Notification:
    """The record of a creation."""
    return record(OrderCreated(order=order), order.id, order.version)


def updated(order: Order) -> Notification:
    """The record of a change."""
    return record(OrderUpdated(order=order), order.id, order.version)


A1, A2 = order("a", 1, lamp=2), order("a", 2, PAID, lamp=2)
B1, B2 = order("b", 1, lamp=3, chair=1), order("b", 2, CANCELLED, lamp=3, chair=1)
C1 = order("c", 1, chair=2)
REJECTED = record(OrderRejected(order_id="d"), "d", 0)


def even() -> Facts:
    """Three orders, one paid and one cancelled; a placement refused; five lamps added."""
    return Facts(
        answered={(snapshot.id, snapshot.version): snapshot for snapshot in (A1, A2, B1, B2, C1)},
        refused=1,
        adjusted=Counter(lamp=5),
        stock_before={"lamp": Stock(10, 0), "chair": Stock(4, 1), "desk": Stock(1, 1)},
        stock_after={"lamp": Stock(13, 2), "chair": Stock(2, 3), "desk": Stock(1, 1)},
        orders=[A2, B2, C1],
        heard=(
            [created(A1), created(B1), created(C1)],
            [created(A1), created(B1), updated(A2), REJECTED, created(C1), updated(B2)],
        ),
    )


def test_an_even_set_of_facts_is_ok() -> None:
    """Nothing lost, nothing twice, no unit appeared or vanished; everything is counted."""
    findings = reconcile(even())
    assert findings == Findings(3, 2, 1, 3, 6, lost=0, duplicated=0, stock_conserved=True, troubles=())
    assert findings.ok


def test_no_facts_are_even() -> None:
    """Nothing asked, and nothing there."""
    assert reconcile(Facts()).ok
    assert complete(Facts())


@given(st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_count(dice: Any) -> None:
    """Of what the services heard, of what is stored."""
    facts = even()
    for heard in facts.heard:
        dice.shuffle(heard)
    facts.orders = dice.sample(facts.orders, 3)
    assert reconcile(facts).ok


def stored(*orders: Order) -> Callable[[Facts], None]:
    """Other orders are there."""

    def plant(facts: Facts) -> None:
        facts.orders = orders

    return plant


def stock(product: str, available: int, held: int) -> Callable[[Facts], None]:
    """Another stock is there."""

    def plant(facts: Facts) -> None:
        facts.stock_after = {**facts.stock_after, product: Stock(available, held)}

    return plant


def missed(service: int, notification: Notification) -> Callable[[Facts], None]:
    """A service did not record something."""
    return lambda facts: facts.heard[service - 1].remove(notification)


def heard(service: int, notification: Notification) -> Callable[[Facts], None]:
    """A service recorded something more."""
    return lambda facts: facts.heard[service - 1].append(notification)


def told_otherwise(facts: Facts) -> None:
    """An event does not tell of what the API answered."""
    facts.heard[1][2].CopyFrom(updated(order("a", 2, PAID, lamp=9)))


AGAIN = Notification(event_id="another id", order_id="b", version=1, event=created(B1).event)
LOST = {
    "a lost order": (stored(A2, B2), "order c was answered at version 1 and is not there"),
    "a lost change": (stored(A1, B2, C1), "order a was answered at version 2 and is not there"),
    "an unheard creation": (missed(1, created(B1)), "version 1 of order b was not heard of by notification service 1"),
    "one for service 2": (missed(2, created(B1)), "version 1 of order b was not heard of by notification service 2"),
    "an unheard change": (missed(2, updated(A2)), "version 2 of order a was not heard of by notification service 2"),
    "an unheard rejection": (missed(2, REJECTED), "a refused placement was not heard of by notification service 2"),
}
DUPLICATED = {
    "an order there twice": (stored(A2, B2, B2, C1), "order b is there twice"),
    "an event recorded twice by 1": (heard(1, created(A1)), "event (service 1) OrderCreated a 1 is there twice"),
    "an event recorded twice by 2": (heard(2, updated(A2)), "event (service 2) OrderUpdated a 2 is there twice"),
    "a version under two ids": (heard(2, AGAIN), "order version (service 2) b 1 is there twice"),
    "a rejection recorded twice": (heard(2, REJECTED), "event (service 2) OrderRejected d 0 is there twice"),
}
STOCK = {
    "units that vanished": (stock("lamp", 12, 2), "lamp had 10 units, was adjusted by 5 and has 14"),
    "units that appeared": (stock("chair", 3, 3), "chair had 5 units, was adjusted by 0 and has 6"),
    "units held by nobody": (stock("lamp", 11, 4), "lamp: orders hold 2 more, the stock says 4"),
    "units not held": (stock("chair", 4, 1), "chair: orders hold 2 more, the stock says 0"),
    "less than nothing": (stock("desk", -1, 3), "desk fell below zero"),
    "a product that is gone": (lambda f: f.stock_after.pop("desk"), "desk had 2 units, was adjusted by 0 and has 0"),
}
OTHER = {
    "another order in an event": (told_otherwise, "the event OrderUpdated a 2 tells of another order"),
    "an order stored otherwise": (stored(order("a", 2, PAID, lamp=9), B2, C1), "order a"),
    "an order nobody asked for": (stored(A2, B2, C1, order("x", 1)), "order x is there and was not asked for"),
    "an event nobody caused": (heard(2, updated(order("c", 2, PAID, chair=2))), "OrderUpdated c 2"),
    "a rejection nobody got": (heard(2, record(OrderRejected(order_id="e"), "e", 0)), "OrderRejected e 0"),
    "a change at service 1": (heard(1, updated(A2)), "notification service 1 heard of OrderUpdated OrderUpdated a 2"),
    "a rejection at service 1": (heard(1, REJECTED), "notification service 1 heard of OrderRejected"),
    "a broken promise": (lambda facts: facts.broken.append("a refusal took stock"), "a refusal took stock"),
}
TROUBLES = {**LOST, **DUPLICATED, **STOCK, **OTHER}


@pytest.mark.parametrize("name", TROUBLES)
def test_a_planted_trouble_is_found_and_named(name: str) -> None:
    """By order, version, service, event or product, in a sentence; it counts as what it is, and it is not ok."""
    plant, sentence = TROUBLES[name]
    facts = even()
    plant(facts)
    findings = reconcile(facts)
    assert not findings.ok
    assert [trouble for trouble in findings.troubles if sentence in trouble]
    assert (findings.lost, findings.duplicated > 0, findings.stock_conserved) == (
        name in LOST,
        name in DUPLICATED,
        name not in STOCK,
    )


def test_everything_is_heard_when_both_services_have_as_much_as_there_is() -> None:
    """Creations at service 1; those, changes and rejections at service 2."""
    assert complete(even())
    for plant in (missed(1, created(A1)), missed(2, REJECTED), missed(2, updated(B2))):
        facts = even()
        plant(facts)
        assert not complete(facts)


def unheard(count: int) -> Facts:
    """So many orders of which nobody heard."""
    orders = [order(f"o{number}", 1) for number in range(count)]
    return Facts(answered={(snapshot.id, 1): snapshot for snapshot in orders}, orders=orders)


def test_the_same_trouble_is_told_once_and_counted() -> None:
    """Three hundred events that did not arrive are two sentences, one a service."""
    findings = reconcile(unheard(300))
    assert findings.lost == 600
    assert findings.troubles == (
        "version 1 of order o0 was not heard of by notification service 1 (and 299 more of this kind)",
        "version 1 of order o0 was not heard of by notification service 2 (and 299 more of this kind)",
    )


SERVING = {"Product Service": "SERVING", "Order Service": "SERVING"}


def test_the_likely_cause_is_told() -> None:
    """A broker that takes nothing, a service that hears nothing, something late; and whoever is not well."""
    facts = unheard(3)
    (said,) = likely_causes(facts, SERVING)
    assert "the broker takes nothing" in said
    facts.heard[0].extend(created(snapshot) for snapshot in facts.orders)
    (said,) = likely_causes(facts, SERVING)
    assert said.startswith("No event arrived at Notification Service 2.")
    facts.heard[1].append(created(facts.orders[0]))
    said, *health = likely_causes(facts, {**SERVING, "Order Service": "NOT_SERVING", "Another": SILENT})
    assert "still be on their way" in said
    assert health == ["The Order Service says NOT_SERVING.", "The Another does not answer."]
    assert list(likely_causes(even(), {"Order Service": "NOT_SERVING"})) == []


def others_at_work() -> Facts:
    """An even set of facts, beside which somebody else did something."""
    facts = even()
    facts.foreign = 3
    return facts


def test_what_others_do_meanwhile_is_no_trouble() -> None:
    """It is noted; stock that moved can't be judged, and what does come out even still does."""
    findings = reconcile(others_at_work())
    assert (findings.ok, findings.stock_conserved) == (True, True)
    assert findings.notes == ("3 orders and events of others came meanwhile; they are left out of it",)
    facts = others_at_work()
    stock("lamp", 12, 2)(facts)
    facts.short = 1
    findings = reconcile(facts)
    assert (findings.ok, findings.stock_conserved) == (True, None)
    assert "can't be told" in findings.notes[1]


@pytest.mark.parametrize("name", [*LOST, *DUPLICATED, *OTHER])
def test_a_trouble_of_ones_own_is_found_beside_others(name: str) -> None:
    """Troubles of others do not hide it."""
    plant, sentence = TROUBLES[name]
    facts = others_at_work()
    plant(facts)
    assert [trouble for trouble in reconcile(facts).troubles if sentence in trouble]


def test_a_refusal_where_there_was_enough_is_a_trouble() -> None:
    """Unless others may have taken it."""
    facts = even()
    facts.short = 2
    assert reconcile(facts).troubles == (
        "2 placements were refused though there was enough; is somebody else working with the system?",
    )


def test_whose_an_event_is_stands_in_it() -> None:
    """In its order, or in its refusal; an event of another kind is nobody's."""
    placed = order("a", 1)
    placed.customer_id = "anna-1"
    assert customer(created(placed)) == customer(updated(placed)) == "anna-1"
    assert customer(record(OrderRejected(customer_id="anna-2"), "a", 0)) == "anna-2"
    assert customer(Notification()) == ""
    assert Facts(suffix="-1").owns("anna-1") and not Facts(suffix="-1").owns("anna-2")

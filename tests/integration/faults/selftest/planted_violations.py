"""Rounds that went well but for one fault planted in each: what every checker is shown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import grpc

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import GetOrderRequest, GetOrderResponse
from ordersys.api.product.v1.product_service_pb2 import PlaceOrderResponse
from ordersys.contract.errors import refuse
from tests.contract.harness.client import Answer
from tests.integration.faults.checkers.observations import CREATED, TOPIC, Facts, Kind, Stock
from tests.integration.faults.selftest.healthy_history import UNAVAILABLE, ok, tale

ONE, TWO = "notification-service-1", "notification-service-2"
NOT_ALLOWED = Answer(grpc.StatusCode.FAILED_PRECONDITION, None, refuse(ErrorReason.STATE_NOT_ALLOWED).status)
BUG = Answer(grpc.StatusCode.INTERNAL, None, refuse(ErrorReason.INTERNAL_ERROR).status)
Plant = Callable[[], Facts]


def without(events: Sequence[Any], event_id: str) -> list[Any]:
    """All but one."""
    return [event for event in events if event.event_id != event_id]


def altered(part: str, key: str, change: Callable[[Any], Any]) -> Facts:
    """The facts with one entry of one part spoilt."""
    facts = tale().facts()
    spoilt: dict[str, Any] = {part: {**getattr(facts, part), key: change(getattr(facts, part)[key])}}
    return replace(facts, **spoilt)


def unpublished(exchange: str, consumer: str, event_id: str) -> Facts:
    """The facts without one event, heard by nobody."""
    heard = altered("heard", exchange, lambda events: without(events, event_id)).heard
    return replace(altered("recorded", consumer, lambda found: without(found, event_id)), heard=heard)


def acknowledged_before_the_commit() -> Facts:
    told = tale()
    order = Order(id="order-fred", customer_id="fred", version=1)
    told.ask(told.operations[2].request, ok(PlaceOrderResponse(order=order)))
    return told.facts()


def an_old_version_came_back() -> Facts:
    facts = tale().facts()
    old = Order()
    old.CopyFrom(facts.by_id["order-anna"])
    old.version, old.items[0].quantity = 1, 3
    return replace(facts, orders=[old, *(order for order in facts.orders if order.id != old.id)])


def nobody_asked() -> Facts:
    told = tale()
    told.place("gina", 1)
    told.operations.pop()
    return told.facts()


def refused_and_there() -> Facts:
    told = tale()
    told.place("hans", 1, "lamp", NOT_ALLOWED)
    return told.facts()


def placed_twice() -> Facts:
    told = tale()
    told.place("anna", 1)
    again = told.orders["order-anna"]
    again.id = "order-anna-again"
    told.operations.pop()
    event = told.events[-1]
    event.message.order.id = again.id
    told.events[-1] = event._replace(order_id=again.id, event_id=f"{again.id}.1")
    first = tale().orders["order-anna"]
    return told.facts(orders=[first, *told.orders.values()])


def changed_twice() -> Facts:
    told = tale()
    told.change(told.orders["order-anna"], 4)
    told.operations.pop()
    return told.facts()


def one_version_for_two() -> Facts:
    told = tale()
    change = told.operations[3]
    told.ask(change.request, change.tries[0].answer)
    return told.facts()


def a_cursor_instead_of_rows() -> Facts:
    return unpublished(TOPIC, TWO, "order-anna.2")


def a_refusal_without_event() -> Facts:
    return unpublished(TOPIC, TWO, "order-carl.0")


def only_one_exchange() -> Facts:
    return unpublished(CREATED, ONE, "order-anna.1")


def published_before_the_commit() -> Facts:
    told = tale()
    ghost = told.place("ida", 1, "lamp", UNAVAILABLE)
    told.operations[-1].deserted = True
    del told.orders[ghost.id]
    return told.facts(stock=tale().stock)


def a_refusal_that_was_none() -> Facts:
    told = tale()
    told.refuse("jan")
    told.operations[-1].tries[0] = told.operations[-1].tries[0]._replace(answer=NOT_ALLOWED)
    return told.facts()


def told_otherwise() -> Facts:
    facts = tale().facts()
    facts.by_id["order-anna"].items[0].quantity += 1
    return replace(facts, stock={**facts.stock, "lamp": Stock(9, 5)})


def forged() -> Facts:
    return altered("heard", CREATED, lambda events: [*events, events[0]._replace(body=b"other")])


def acknowledged_to_the_broker_before_the_commit() -> Facts:
    return altered("recorded", TWO, lambda found: without(found, "order-anna.2"))


def no_inbox() -> Facts:
    return altered("recorded", ONE, lambda found: [*found, found[0]])


def late_and_not_said() -> Facts:
    facts = tale().facts()
    one, two = (next(n for n in facts.recorded[TWO] if n.event_id == f"order-anna.{v}") for v in (1, 2))
    one.sequence, two.sequence = two.sequence, one.sequence
    return facts


def a_product_vanished() -> Facts:
    return tale().facts(stock={})


def a_unit_vanished() -> Facts:
    return altered("stock", "lamp", lambda stock: stock._replace(available=stock.available - 1))


def released_twice() -> Facts:
    return altered("stock", "lamp", lambda stock: Stock(stock.available + 1, stock.held - 1))


def no_sweep() -> Facts:
    return altered("stock", "lamp", lambda stock: Stock(stock.available - 1, stock.held + 1))


def the_last_one_sold_twice() -> Facts:
    told = tale()
    for name in ("karl", "lisa"):
        told.place(name, 6, "scarce-lamp")
    return told.facts(stock={**told.stock, "scarce-lamp": Stock(-2, 12)})


def answered_otherwise() -> Facts:
    told = tale()
    told.place("mona", 1)
    told.repeat(ok(PlaceOrderResponse()))
    return told.facts()


def a_bug() -> Facts:
    told = tale()
    told.operations[2].tries.insert(0, told.operations[2].tries[0]._replace(answer=BUG))
    return told.facts()


def never_answered() -> Facts:
    told = tale()
    told.operations[-1].deserted = False
    return told.facts()


def a_stale_read() -> Facts:
    told = tale()
    first = told.operations[2].response.order
    told.ask(GetOrderRequest(order_id=first.id), ok(GetOrderResponse(order=first)))
    return told.facts()


def a_reservation_left() -> Facts:
    return tale().facts(left={"placements without an outcome": 1})


def an_event_left() -> Facts:
    return tale().facts(left={"changes not published": 1})


PLANTED: Mapping[Plant, tuple[str, Kind]] = {
    acknowledged_before_the_commit: ("acknowledged_and_missing", Kind.LOST),
    an_old_version_came_back: ("acknowledged_and_missing", Kind.LOST),
    nobody_asked: ("present_and_never_asked", Kind.DUPLICATED),
    refused_and_there: ("present_and_never_asked", Kind.DUPLICATED),
    placed_twice: ("placed_twice", Kind.DUPLICATED),
    changed_twice: ("made_twice_or_never_asked", Kind.DUPLICATED),
    one_version_for_two: ("one_version_for_two", Kind.LOST),
    a_cursor_instead_of_rows: ("change_without_event", Kind.LOST),
    a_refusal_without_event: ("change_without_event", Kind.LOST),
    only_one_exchange: ("change_without_event", Kind.LOST),
    published_before_the_commit: ("event_without_change", Kind.DUPLICATED),
    a_refusal_that_was_none: ("event_without_change", Kind.DUPLICATED),
    told_otherwise: ("told_otherwise", Kind.LOST),
    forged: ("forged", Kind.DUPLICATED),
    acknowledged_to_the_broker_before_the_commit: ("recorded_as_told", Kind.LOST),
    no_inbox: ("recorded_once", Kind.DUPLICATED),
    late_and_not_said: ("late_and_not_said", Kind.LOST),
    a_product_vanished: ("created_and_missing", Kind.LOST),
    a_unit_vanished: ("conserved", Kind.OVERSOLD),
    released_twice: ("held_by_orders", Kind.OVERSOLD),
    no_sweep: ("held_by_orders", Kind.ORPHAN),
    the_last_one_sold_twice: ("linear", Kind.OVERSOLD),
    answered_otherwise: ("answered_otherwise", Kind.DUPLICATED),
    a_bug: ("answered_by_a_bug", Kind.UNRECOVERED),
    never_answered: ("never_answered", Kind.UNRECOVERED),
    a_stale_read: ("read_stale", Kind.LOST),
    a_reservation_left: ("left_undone", Kind.ORPHAN),
    an_event_left: ("left_undone", Kind.UNRECOVERED),
}

"""Rounds that went well but for one violation planted in each, for the self-test of every checker."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import grpc

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_events_pb2 import OrderUpdated
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import GetOrderRequest, GetOrderResponse
from ordersys.api.product.v1.product_service_pb2 import PlaceOrderResponse
from ordersys.contract.errors import status_error
from ordersys.contract.events import Event
from ordersys.contract.times import timestamp
from tests.contract.harness.client import Answer
from tests.integration.faults.checkers.observations import CREATED, TOPIC, Kind, Lease, Observations, Stock
from tests.integration.faults.selftest.healthy_history import LEASES, UNAVAILABLE, healthy_history, ok

ONE, TWO = "notification-service-1", "notification-service-2"
NOT_ALLOWED = Answer(grpc.StatusCode.FAILED_PRECONDITION, None, status_error(ErrorReason.STATE_NOT_ALLOWED).status)
BUG = Answer(grpc.StatusCode.INTERNAL, None, status_error(ErrorReason.INTERNAL_ERROR).status)
Plant = Callable[[], Observations]


def swapped(events: Sequence[Any], first: str, second: str) -> list[Any]:
    """Two of them in each other's place."""
    places = {first: second, second: first}
    by_id = {event.event_id: event for event in events}
    return [by_id[places.get(event.event_id, event.event_id)] for event in events]


def without(events: Sequence[Any], event_id: str) -> list[Any]:
    """All but one."""
    return [event for event in events if event.event_id != event_id]


def altered(part: str, key: str, change: Callable[[Any], Any]) -> Observations:
    """The observations with one entry of one part spoilt."""
    observations = healthy_history().observations()
    spoilt: dict[str, Any] = {part: {**getattr(observations, part), key: change(getattr(observations, part)[key])}}
    return replace(observations, **spoilt)


def unpublished(exchange: str, consumer: str, event_id: str) -> Observations:
    """The observations without one event, received by nobody."""
    received = altered("received", exchange, lambda events: without(events, event_id)).received
    return replace(altered("recorded", consumer, lambda records: without(records, event_id)), received=received)


def acknowledged_before_the_commit() -> Observations:
    history = healthy_history()
    order = Order(id="order-fred", customer_id="fred", version=1)
    history.ask(history.operations[2].request, ok(PlaceOrderResponse(order=order)))
    return history.observations()


def an_old_version_came_back() -> Observations:
    observations = healthy_history().observations()
    old = Order()
    old.CopyFrom(observations.by_id["order-anna"])
    old.version, old.items[0].quantity = 1, 3
    return replace(observations, orders=[old, *(order for order in observations.orders if order.id != old.id)])


def nobody_asked() -> Observations:
    history = healthy_history()
    history.place("gina", 1)
    history.operations.pop()
    return history.observations()


def refused_and_there() -> Observations:
    history = healthy_history()
    history.place("hans", 1, "lamp", NOT_ALLOWED)
    return history.observations()


def placed_twice() -> Observations:
    history = healthy_history()
    history.place("anna", 1)
    again = history.orders["order-anna"]
    again.id = "order-anna-again"
    history.operations.pop()
    event = history.events[-1]
    event.message.order.id = again.id
    history.events[-1] = event._replace(order_id=again.id, event_id=f"{again.id}.1")
    first = healthy_history().orders["order-anna"]
    return history.observations(orders=[first, *history.orders.values()])


def changed_twice() -> Observations:
    history = healthy_history()
    history.change(history.orders["order-anna"], 4)
    history.operations.pop()
    return history.observations()


def one_version_for_two() -> Observations:
    history = healthy_history()
    change = history.operations[3]
    history.ask(change.request, change.tries[0].answer)
    return history.observations()


def a_cursor_instead_of_rows() -> Observations:
    return unpublished(TOPIC, TWO, "order-anna.2")


def a_refusal_without_event() -> Observations:
    return unpublished(TOPIC, TWO, "order-carl.0")


def only_one_exchange() -> Observations:
    return unpublished(CREATED, ONE, "order-anna.1")


def published_before_the_commit() -> Observations:
    history = healthy_history()
    ghost = history.place("ida", 1, "lamp", UNAVAILABLE)
    history.operations[-1].abandoned = True
    del history.orders[ghost.id]
    return history.observations(stock=healthy_history().stock)


def a_refusal_that_was_none() -> Observations:
    history = healthy_history()
    history.refuse("jan")
    history.operations[-1].tries[0] = history.operations[-1].tries[0]._replace(answer=NOT_ALLOWED)
    return history.observations()


def told_otherwise() -> Observations:
    observations = healthy_history().observations()
    observations.by_id["order-anna"].items[0].quantity += 1
    return replace(observations, stock={**observations.stock, "lamp": Stock(9, 5)})


def forged() -> Observations:
    return altered("received", CREATED, lambda events: [*events, events[0]._replace(body=b"other")])


def published_by_two_in_their_own_order() -> Observations:
    return altered("received", TOPIC, lambda events: swapped(events, "order-anna.1", "order-anna.2"))


def changed_by_a_process_whose_clock_is_behind() -> Observations:
    def earlier(event: Event) -> Event:
        message = OrderUpdated()
        message.CopyFrom(event.message)
        message.order.update_time.CopyFrom(timestamp(0))
        return event._replace(message=message)

    return altered("received", TOPIC, lambda es: [earlier(e) if e.event_id == "order-anna.2" else e for e in es])


def acknowledged_to_the_broker_before_the_commit() -> Observations:
    return altered("recorded", TWO, lambda records: without(records, "order-anna.2"))


def no_inbox() -> Observations:
    return altered("recorded", ONE, lambda records: [*records, records[0]])


def late_and_not_said() -> Observations:
    observations = healthy_history().observations()
    first, second = (next(n for n in observations.recorded[TWO] if n.event_id == f"order-anna.{v}") for v in (1, 2))
    first.sequence, second.sequence = second.sequence, first.sequence
    return observations


def a_product_vanished() -> Observations:
    return healthy_history().observations(stock={})


def a_unit_vanished() -> Observations:
    return altered("stock", "lamp", lambda stock: stock._replace(available=stock.available - 1))


def released_twice() -> Observations:
    return altered("stock", "lamp", lambda stock: Stock(stock.available + 1, stock.held - 1))


def no_sweep() -> Observations:
    return altered("stock", "lamp", lambda stock: Stock(stock.available - 1, stock.held + 1))


def the_last_one_sold_twice() -> Observations:
    history = healthy_history()
    for name in ("karl", "lisa"):
        history.place(name, 6, "scarce-lamp")
    return history.observations(stock={**history.stock, "scarce-lamp": Stock(-2, 12)})


def answered_otherwise() -> Observations:
    history = healthy_history()
    history.place("mona", 1)
    history.repeat(ok(PlaceOrderResponse()))
    return history.observations()


def a_bug() -> Observations:
    history = healthy_history()
    history.operations[2].tries.insert(0, history.operations[2].tries[0]._replace(answer=BUG))
    return history.observations()


def never_answered() -> Observations:
    history = healthy_history()
    history.operations[-1].abandoned = False
    return history.observations()


def a_stale_read() -> Observations:
    history = healthy_history()
    first = history.operations[2].response.order
    history.ask(GetOrderRequest(order_id=first.id), ok(GetOrderResponse(order=first)))
    return history.observations()


def a_reservation_left() -> Observations:
    return healthy_history().observations(left={"sagas without an outcome": 1})


def an_event_left() -> Observations:
    return healthy_history().observations(left={"changes not published": 1})


def a_lease_taken_early() -> Observations:
    return healthy_history().observations(leases=[*LEASES, Lease("order_service", "c", 25.0, 35.0)])


def a_deadlock() -> Observations:
    return healthy_history().observations(deadlocks=["40P01 deadlock detected"])


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
    published_by_two_in_their_own_order: ("told_in_disorder", Kind.LOST),
    changed_by_a_process_whose_clock_is_behind: ("told_back_in_time", Kind.LOST),
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
    a_lease_taken_early: ("led_by_two", Kind.DUPLICATED),
    a_deadlock: ("deadlocked", Kind.UNRECOVERED),
}

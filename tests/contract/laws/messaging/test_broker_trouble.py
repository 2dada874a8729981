"""Laws of trouble between a service and the broker: whatever is lost on the way, nothing is lost."""

from collections.abc import Callable, Mapping

import pytest

from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import BatchCreateOrdersRequest, GetOrderRequest, UpdateOrderRequest
from ordersys.contract.events import Event
from ordersys.contract.times import microseconds
from ordersys.contract.topology import subscriptions
from tests.contract.harness import examples
from tests.contract.harness.amqp_proxy import AmqpProxy, Verdict
from tests.contract.harness.broker_faults import BrokerFault, LostAcks, LostConfirms, Watch
from tests.contract.harness.client import LISTENERS, ORDER, PRODUCT
from tests.contract.harness.event_tap import EventTap, Received
from tests.contract.harness.injector import Injector
from tests.contract.harness.order_events import assert_in_order, assert_properties, by_order, event_ids
from tests.contract.harness.order_requests import changing, updated
from tests.contract.harness.sample_orders import sample_order
from tests.contract.harness.subscriber_deliveries import created
from tests.contract.harness.system_under_test import SystemUnderTest, creating, new_id, placing

pytestmark = pytest.mark.judges("broker", "proxy")
FANOUT, TOPIC = "orders.created", "orders.events"
QUEUES = {subscription.consumer: subscription.queue for subscription in subscriptions()}
TROUBLES = [Verdict.LOSE, Verdict.RETURN, Verdict.NACK]
# What is lost goes with its connection. What is refused is refused again, and without a call that would wake anybody.
REFUSALS, REFUSALS_AT_MOST = 3, 6
VERSIONS = 12  # of two digits: they sort otherwise as text
BACKLOG = 150
SAID = ["on a connection that breaks", "that no queue took", "that the broker refused"]


@pytest.fixture
def between(proxy: AmqpProxy | None) -> AmqpProxy:
    """The proxy between the services and the broker."""
    assert proxy is not None
    return proxy


def pay(order: Order) -> UpdateOrderRequest:
    """A request that has an event."""
    return UpdateOrderRequest(request_id=new_id(), order_id=order.id, state=OrderState.ORDER_STATE_PAID)


def trouble_of(fits: Callable[[Event], bool], verdict: Verdict) -> BrokerFault:
    """Of the events that fit one is lost, or each of several in a row is refused."""
    refusals = max(REFUSALS, min(examples.share(6), REFUSALS_AT_MOST))  # pauses grow: six take seconds
    return BrokerFault(fits, verdict, 1 if verdict is Verdict.LOSE else refusals)


def wait_over(trouble: BrokerFault, patience: float) -> None:
    """Returns when it was published as often as it was to be lost or refused."""
    assert trouble.met.wait(patience), "it was never published"
    assert trouble.over.wait(patience), "it was refused, and not published again"


def assert_as_at_first(received: list[Received], order_id: str, time: int) -> None:
    """Published late, or again, they are as they would have been at once, with all properties."""
    for message in received:
        assert_properties(message, order_id, time)


@pytest.mark.cites(
    "implement.md",
    "A nack, a returned message (no queue is bound), or a connection that breaks before the confirm: publish it again",
)
@pytest.mark.cites("implement.md", "one publish of OrderCreated reaches both")
@pytest.mark.judges(ORDER)
@pytest.mark.parametrize("verdict", TROUBLES, ids=SAID)
def test_a_creation_the_broker_did_not_keep_is_published_again(
    system: SystemUnderTest, event_tap: EventTap, between: AmqpProxy, verdict: Verdict
) -> None:
    """Lost with its connection, returned or refused several times: it is heard on both exchanges, as at first."""
    request = creating()
    trouble = trouble_of(lambda event: event.order_id == request.order_id, verdict)
    with between.ruled(trouble):
        order = system.ok(request).order
        wait_over(trouble, system.patience)
    for exchange in (FANOUT, TOPIC):
        event_tap.wait(
            lambda exchange=exchange: event_tap.received(request.order_id, exchange),  # type: ignore[misc]
            system.patience,
            f"OrderCreated of order {request.order_id} on {exchange}, published again",
        )
    assert_as_at_first(event_tap.received(order.id), order.id, microseconds(order.update_time))


@pytest.mark.cites(
    "implement.md",
    "A nack, a returned message (no queue is bound), or a connection that breaks before the confirm: publish it again",
)
@pytest.mark.cites("order_events.proto", "An event is delivered at least once")
@pytest.mark.judges(ORDER)
@pytest.mark.parametrize("verdict", TROUBLES, ids=SAID)
def test_a_change_the_broker_did_not_keep_is_published_again(
    system: SystemUnderTest, event_tap: EventTap, between: AmqpProxy, verdict: Verdict
) -> None:
    """As a creation is, on the topic exchange."""
    order = system.create()
    event_tap.wait(lambda: event_tap.received(order.id, TOPIC), system.patience)
    trouble = trouble_of(lambda event: event.order_id == order.id and event.version > 1, verdict)
    with between.ruled(trouble):
        paid = updated(system, pay(order))
        wait_over(trouble, system.patience)
    received = event_tap.wait(
        lambda: [h for h in event_tap.received(order.id) if h.event and h.event.version > 1],
        system.patience,
        f"OrderUpdated of order {order.id}, published again",
    )
    assert {h.exchange for h in received} == {TOPIC}
    assert_as_at_first(received, order.id, microseconds(paid.update_time))


@pytest.mark.cites("implement.md", "An event may be published twice; it may not be lost.")
@pytest.mark.cites("implement.md", "For a placement it is also published, as OrderRejected.")
@pytest.mark.judges(PRODUCT)
@pytest.mark.parametrize("verdict", TROUBLES, ids=SAID)
def test_a_refusal_the_broker_did_not_keep_is_published_again(
    system: SystemUnderTest, event_tap: EventTap, between: AmqpProxy, verdict: Verdict
) -> None:
    """OrderRejected is no less an event than the others."""
    request = placing({system.new_product(1): 5}, customer_id=f"c-{new_id()}")

    def fits(event: Event) -> bool:
        return getattr(event.message, "customer_id", "") == request.customer_id

    trouble = trouble_of(fits, verdict)
    with between.ruled(trouble):
        assert system.call(request).reason == "OUT_OF_STOCK"
        wait_over(trouble, system.patience)
    received = event_tap.wait(
        lambda: [h for h in event_tap.everything() if h.event and fits(h.event)],
        system.patience,
        f"OrderRejected of customer {request.customer_id}, published again",
    )
    assert {h.exchange for h in received} == {TOPIC}
    for event in (h.event.message for h in received if h.event):
        assert_as_at_first(received, event.order_id, microseconds(event.reject_time))


@pytest.mark.cites("implement.md", "The same id each time the event is published")
@pytest.mark.cites("order_events.proto", "under one id there is one content")
@pytest.mark.judges(ORDER)
def test_an_event_whose_confirm_is_lost_comes_again_under_its_id(
    system: SystemUnderTest, event_tap: EventTap, between: AmqpProxy
) -> None:
    """At least once on the wire, and the same event each time: nobody takes it for two."""
    request = creating()
    lost = LostConfirms(request.order_id)
    with between.ruled(lost):
        system.ok(request)
        assert lost.met.wait(system.patience), "it was never published"
        event_tap.wait(lambda: event_tap.received(request.order_id, FANOUT), system.patience)
        assert lost.lost.wait(system.patience), "it was never confirmed"
    received = event_tap.wait(
        lambda: _twice(event_tap.received(request.order_id, FANOUT)),
        system.patience,
        f"OrderCreated of order {request.order_id} on {FANOUT}, for the second time",
    )
    first, *again = received
    for message in again:
        assert vars(message.properties) == vars(first.properties)
        assert message.body == first.body


def _twice(received: list[Received]) -> list[Received] | None:
    return received if len(received) > 1 else None


@pytest.mark.cites(
    "implement.md", "A second delivery of the same id and the same body is acknowledged and has no effect."
)
@pytest.mark.parametrize("role", LISTENERS)
def test_what_comes_again_is_recorded_once(
    system: SystemUnderTest, injector: Injector, between: AmqpProxy, role: str
) -> None:
    """A subscriber whose acknowledgement is lost gets the event again and records nothing more."""
    order = sample_order()
    lost = LostAcks(QUEUES[role], order.id)
    with between.ruled(lost):
        injector.deliver(role, created(order))
        assert lost.met.wait(system.patience), "it was never acknowledged"
    again = Watch(order.id, lambda event: True, QUEUES[role])
    with between.ruled(again):
        system.eventually(lambda: again.seen)
    assert len(system.notifications(role, order.id)) == 1


@pytest.mark.cites("implement.md", "publish an event if, and only if, its change is committed")
@pytest.mark.judges(ORDER)
def test_nothing_is_published_before_it_can_be_read(system: SystemUnderTest, between: AmqpProxy) -> None:
    """While the event of a new order is on its way to the broker, whoever asks finds the order."""
    request = creating()
    watch = Watch(request.order_id, lambda event: _can_be_read(system, event))
    with between.ruled(watch):
        system.ok(request)
        system.eventually(lambda: watch.seen)
    assert watch.seen == [True] * len(watch.seen)


def _can_be_read(system: SystemUnderTest, event: Event) -> bool:
    answer = system.call(GetOrderRequest(order_id=event.order_id))
    return bool(answer.response and answer.response.order == event.message.order)


@pytest.mark.cites("implement.md", "record the event under its message_id, commit, then acknowledge")
@pytest.mark.parametrize("role", LISTENERS)
def test_nothing_is_acknowledged_before_it_is_recorded(
    system: SystemUnderTest, injector: Injector, between: AmqpProxy, role: str
) -> None:
    """While the acknowledgement of an event is on its way to the broker, whoever asks finds the record."""
    order = sample_order()
    watch = Watch(order.id, lambda event: bool(system.notifications(role, event.order_id)), QUEUES[role])
    with between.ruled(watch):
        injector.deliver(role, created(order))
        system.eventually(lambda: watch.seen)
    assert watch.seen == [True] * len(watch.seen)


@pytest.mark.cites(
    "implement.md",
    "Calls are answered while the broker is away. Waiting events are published within 20 s after it is back.",
)
@pytest.mark.judges(ORDER)
def test_orders_are_taken_while_the_broker_is_away(
    system: SystemUnderTest, event_tap: EventTap, between: AmqpProxy
) -> None:
    """Created and changed; the backlog waits, is as large as it is, and drains by itself, as it would have been."""
    with between.away():
        orders = [system.create() for _ in range(5)]
        paid = updated(system, pay(orders[0]))
        batch = system.ok(BatchCreateOrdersRequest(requests=[creating() for _ in range(BACKLOG)]))
        orders += [result.order for result in batch.results]
        system.eventually(lambda: system.create().create_time.seconds > paid.update_time.seconds)
    waited = {order.id: order for order in (*orders, paid)}

    def drained() -> Mapping[str, list[Received]] | None:
        heard = by_order(event_tap)
        return heard if all(_complete(heard[order.id], order) for order in waited.values()) else None

    heard = event_tap.wait(drained, system.patience, f"the events of {len(waited)} orders")
    for order in orders:
        first = [message for message in heard[order.id] if message.event and message.event.version == 1]
        assert_as_at_first(first, order.id, microseconds(order.update_time))


def _complete(received: list[Received], order: Order) -> bool:
    return len(event_ids(received)) >= order.version


@pytest.mark.cites(
    "implement.md",
    "Calls are answered while the broker is away. Waiting events are published within 20 s after it is back.",
)
@pytest.mark.judges(PRODUCT)
def test_placements_are_answered_while_the_broker_is_away(
    system: SystemUnderTest, event_tap: EventTap, between: AmqpProxy
) -> None:
    """Made or refused for want of stock; each refusal is heard of when the broker is back."""
    product, customers = system.new_product(5), {f"c-{new_id()}" for _ in range(3)}
    with between.away():
        assert system.place({product: 2}).items[0].quantity == 2
        for customer in customers:
            assert system.call(placing({product: 9}, customer)).reason == "OUT_OF_STOCK"
    event_tap.wait(lambda: customers <= {_customer(heard.event) for heard in event_tap.everything()}, system.patience)


def _customer(event: Event | None) -> str:
    return str(getattr(event.message, "customer_id", "")) if event else ""


@pytest.mark.cites("implement.md", "The events of one order are published in the order of its versions")
@pytest.mark.judges(ORDER)
def test_the_versions_that_wait_for_the_broker_come_in_order(
    system: SystemUnderTest, event_tap: EventTap, between: AmqpProxy
) -> None:
    """Of one order many wait, among those of others: each is heard behind the one before it."""
    orders = [system.create() for _ in range(3)]
    with between.away():
        for quantity in range(3, 9):
            orders = [updated(system, changing(order, {"lamp": quantity})) for order in orders]
        for quantity in range(9, 9 + VERSIONS - orders[0].version):
            orders[0] = updated(system, changing(orders[0], {"lamp": quantity}))
    for order in orders:
        assert_in_order(system, event_tap, order)


@pytest.mark.cites("implement.md", "The events of one order are published in the order of its versions")
@pytest.mark.judges(ORDER)
def test_the_versions_that_a_connection_takes_with_it_come_in_order(
    system: SystemUnderTest, event_tap: EventTap, between: AmqpProxy
) -> None:
    """The first was under way when it broke, and the others came meanwhile: each is heard behind the one before it."""
    request = creating()
    lost = BrokerFault(lambda event: event.order_id == request.order_id, Verdict.LOSE)
    with between.ruled(lost):
        order = system.ok(request).order
        assert lost.met.wait(system.patience), "it was never published"
        for quantity in range(3, 5):
            order = updated(system, changing(order, {"lamp": quantity}))
    assert_in_order(system, event_tap, order)

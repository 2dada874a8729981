"""Laws of trouble between a service and the broker: whatever is lost on the way, nothing is lost."""

import pytest

from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import GetOrderRequest, UpdateOrderRequest
from ordersys.contract.events import Event
from ordersys.contract.topology import subscriptions
from tests.contract.harness.amqp_proxy import Proxy, Verdict
from tests.contract.harness.broker_faults import LostAcks, LostConfirms, Trouble, Watch
from tests.contract.harness.client import LISTENERS, ORDER, PRODUCT
from tests.contract.harness.event_tap import Ear, Heard
from tests.contract.harness.system_under_test import World, creating, new_id, placing

pytestmark = pytest.mark.judges("broker", "proxy")
FANOUT, TOPIC = "orders.created", "orders.events"
QUEUES = {taken.consumer: taken.queue for taken in subscriptions()}
TROUBLES = [Verdict.LOSE, Verdict.RETURN, Verdict.NACK]
SAID = ["on a connection that breaks", "that no queue took", "that the broker refused"]


@pytest.fixture
def between(proxy: Proxy | None) -> Proxy:
    """What stands between the services and the broker."""
    assert proxy is not None
    return proxy


def pay(order: Order) -> UpdateOrderRequest:
    """A request that has an event."""
    return UpdateOrderRequest(request_id=new_id(), order_id=order.id, state=OrderState.ORDER_STATE_PAID)


def ids(heard: list[Heard]) -> set[str]:
    """The event ids heard."""
    return {one.properties.message_id for one in heard}


@pytest.mark.judges(ORDER)
@pytest.mark.parametrize("verdict", TROUBLES, ids=SAID)
def test_a_creation_the_broker_did_not_keep_is_published_again(
    world: World, ear: Ear, between: Proxy, verdict: Verdict
) -> None:
    """Lost with its connection, returned or refused: it is heard on both exchanges, under one id."""
    request = creating()
    trouble = Trouble(lambda event: event.order_id == request.order_id, verdict)
    with between.ruled(trouble):
        world.ok(request)
        assert trouble.met.wait(world.patience), "it was never published"
    for exchange in (FANOUT, TOPIC):
        ear.wait(lambda exchange=exchange: ear.heard(request.order_id, exchange), world.patience)  # type: ignore[misc]
    assert len(ids(ear.heard(request.order_id))) == 1


@pytest.mark.judges(ORDER)
@pytest.mark.parametrize("verdict", TROUBLES, ids=SAID)
def test_a_change_the_broker_did_not_keep_is_published_again(
    world: World, ear: Ear, between: Proxy, verdict: Verdict
) -> None:
    """As a creation is, on the topic exchange."""
    order = world.create()
    ear.wait(lambda: ear.heard(order.id, TOPIC), world.patience)
    trouble = Trouble(lambda event: event.order_id == order.id and event.version > 1, verdict)
    with between.ruled(trouble):
        world.ok(pay(order), ORDER)
        assert trouble.met.wait(world.patience), "it was never published"
    heard = ear.wait(lambda: [h for h in ear.heard(order.id) if h.event and h.event.version > 1], world.patience)
    assert {h.exchange for h in heard} == {TOPIC}


@pytest.mark.judges(PRODUCT)
@pytest.mark.parametrize("verdict", TROUBLES, ids=SAID)
def test_a_refusal_the_broker_did_not_keep_is_published_again(
    world: World, ear: Ear, between: Proxy, verdict: Verdict
) -> None:
    """OrderRejected is no less an event than the others."""
    request = placing({world.new_product(1): 5}, customer_id=f"c-{new_id()}")

    def fits(event: Event) -> bool:
        return getattr(event.message, "customer_id", "") == request.customer_id

    trouble = Trouble(fits, verdict)
    with between.ruled(trouble):
        assert world.call(request).reason == "OUT_OF_STOCK"
        assert trouble.met.wait(world.patience), "it was never published"
    heard = ear.wait(lambda: [h for h in ear.everything() if h.event and fits(h.event)], world.patience)
    assert {h.exchange for h in heard} == {TOPIC}


@pytest.mark.judges(ORDER)
def test_an_event_whose_confirm_is_lost_comes_again_under_its_id(world: World, ear: Ear, between: Proxy) -> None:
    """At least once on the wire, and the same event each time: nobody takes it for two."""
    request = creating()
    lost = LostConfirms(request.order_id)
    with between.ruled(lost):
        world.ok(request)
        assert lost.met.wait(world.patience), "it was never published"
        ear.wait(lambda: ear.heard(request.order_id, FANOUT), world.patience)
    heard = ear.wait(lambda: _twice(ear.heard(request.order_id, FANOUT)), world.patience)
    assert len(ids(heard)) == 1
    assert len({one.body for one in heard}) == 1


def _twice(heard: list[Heard]) -> list[Heard] | None:
    return heard if len(heard) > 1 else None


@pytest.mark.judges(ORDER)
@pytest.mark.parametrize("role", LISTENERS)
def test_what_comes_again_is_recorded_once(world: World, between: Proxy, role: str) -> None:
    """A subscriber whose acknowledgement is lost gets the event again and records nothing more."""
    request = creating()
    lost = LostAcks(QUEUES[role], request.order_id)
    with between.ruled(lost):
        world.ok(request)
        assert lost.met.wait(world.patience), "it was never acknowledged"
    again = Watch(request.order_id, lambda event: True, QUEUES[role])
    with between.ruled(again):
        world.eventually(lambda: again.seen)
    assert len(world.notifications(role, request.order_id)) == 1


@pytest.mark.judges(ORDER)
def test_nothing_is_published_before_it_can_be_read(world: World, between: Proxy) -> None:
    """While the event of a new order is on its way to the broker, whoever asks finds the order."""
    request = creating()
    watch = Watch(request.order_id, lambda event: _can_be_read(world, event))
    with between.ruled(watch):
        world.ok(request)
        world.eventually(lambda: watch.seen)
    assert watch.seen == [True] * len(watch.seen)


def _can_be_read(world: World, event: Event) -> bool:
    answer = world.call(GetOrderRequest(order_id=event.order_id))
    return bool(answer.response and answer.response.order == event.message.order)


@pytest.mark.judges(ORDER)
@pytest.mark.parametrize("role", LISTENERS)
def test_nothing_is_acknowledged_before_it_is_recorded(world: World, between: Proxy, role: str) -> None:
    """While the acknowledgement of an event is on its way to the broker, whoever asks finds the record."""
    request = creating()
    watch = Watch(request.order_id, lambda event: bool(world.notifications(role, event.order_id)), QUEUES[role])
    with between.ruled(watch):
        world.ok(request)
        world.eventually(lambda: watch.seen)
    assert watch.seen == [True] * len(watch.seen)


@pytest.mark.judges(PRODUCT, ORDER)
def test_orders_are_taken_while_the_broker_is_away(world: World, ear: Ear, between: Proxy) -> None:
    """The backlog waits, and drains by itself."""
    product = world.new_product(100)
    with between.away():
        orders = [world.place({product: 1}) for _ in range(5)]
        paid = world.ok(pay(orders[0]), ORDER).order
    for order in (*orders[1:], paid):
        ear.wait(lambda order=order: _up_to(ear, order), world.patience)  # type: ignore[misc]


def _up_to(ear: Ear, order: Order) -> bool:
    return len(ids(ear.heard(order.id, TOPIC))) >= order.version

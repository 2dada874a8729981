"""Laws of the broker the services use: what is declared there is what the contract states."""

import pytest

from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderUpdated
from ordersys.api.order.v1.order_pb2 import OrderState
from ordersys.contract.topology import Exchange, Queue, topology
from tests.contract.orders import imagined
from tests.contract.post import Post
from tests.contract.wire import LISTENERS
from tests.contract.world import World

pytestmark = pytest.mark.judges("broker")
ONE, TWO, *_ = LISTENERS


@pytest.mark.parametrize("exchange", topology().exchanges, ids=lambda exchange: exchange.name)
def test_every_exchange_is_there_as_the_contract_states_it(post: Post, exchange: Exchange) -> None:
    """Declared already, durable, of its type (AMQP 0-9-1 §3.1.3.2: the broker compares)."""
    assert post.try_to(lambda channel: channel.exchange_declare(exchange.name, passive=True)) == ""
    assert post.try_to(lambda channel: channel.exchange_declare(exchange.name, exchange.type, durable=True)) == ""


@pytest.mark.parametrize("queue", topology().queues, ids=lambda queue: queue.name)
def test_every_queue_is_there_as_the_contract_states_it(post: Post, queue: Queue) -> None:
    """Declared already, durable, with exactly its arguments."""
    arguments = dict(queue.arguments)
    assert post.try_to(lambda channel: channel.queue_declare(queue.name, passive=True)) == ""
    assert post.try_to(lambda channel: channel.queue_declare(queue.name, durable=True, arguments=arguments)) == ""


@pytest.mark.judges(*LISTENERS)
def test_a_creation_published_once_reaches_both_subscribers(world: World, post: Post) -> None:
    """The fanout exchange feeds the topic exchange in the broker."""
    event = OrderCreated(order=imagined())
    event_id = post.publish(event)
    for role in LISTENERS:
        (found,) = world.eventually(lambda role=role: world.notifications(role, event.order.id))  # type: ignore[misc]
        assert found.event_id == event_id


@pytest.mark.judges(*LISTENERS)
def test_what_is_published_to_the_topic_exchange_alone_does_not_reach_the_fanouts_subscriber(
    world: World, post: Post
) -> None:
    """The feed goes one way."""
    event = OrderUpdated(
        order=imagined(version=2), previous_state=OrderState.ORDER_STATE_PLACED, changed_fields=["items"]
    )
    post.publish(event)
    world.eventually(lambda: world.notifications(TWO, event.order.id))
    _fence(world, post, ONE)
    assert world.notifications(ONE, event.order.id) == []


@pytest.mark.judges(TWO)
@pytest.mark.parametrize("routing_key", ["order.vanished", "order", "order.created.again", "customer.created", ""])
def test_a_routing_key_nobody_is_bound_by_reaches_nobody(world: World, post: Post, routing_key: str) -> None:
    """The bindings are those of the events a subscriber takes, and no wider."""
    event = OrderCreated(order=imagined())
    post.route("orders.events", routing_key, event)
    _fence(world, post, TWO)
    assert world.notifications(TWO, event.order.id) == []


def _fence(world: World, post: Post, role: str) -> None:
    """Returns when everything that reached the subscriber's queue before has been dealt with."""
    last = imagined()
    post.deliver(role, OrderCreated(order=last))
    world.eventually(lambda: world.notifications(role, last.id))

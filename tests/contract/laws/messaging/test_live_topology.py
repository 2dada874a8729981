"""Laws of the broker the services use: what is declared there is what the contract states."""

from contextlib import suppress

import pytest
from pika.exceptions import UnroutableError

from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderUpdated
from ordersys.api.order.v1.order_pb2 import OrderState
from ordersys.contract.topology import Exchange, Queue, topology
from tests.contract.harness.amqp_proxy import AmqpProxy
from tests.contract.harness.client import LISTENERS
from tests.contract.harness.event_tap import EventTap
from tests.contract.harness.injector import SUBSCRIPTIONS, Injector
from tests.contract.harness.order_events import FANOUT, TOPIC, fence_exchanges
from tests.contract.harness.sample_orders import sample_order
from tests.contract.harness.subscriber_deliveries import fence
from tests.contract.harness.system_under_test import SystemUnderTest

pytestmark = pytest.mark.judges("broker")
ONE, TWO, *_ = LISTENERS


@pytest.mark.cites("implement.md", "Exchanges and queues are durable.")
@pytest.mark.cites("implement.md", "Every service declares all of it when it connects")
@pytest.mark.parametrize("exchange", topology().exchanges, ids=lambda exchange: exchange.name)
def test_every_exchange_is_there_as_the_contract_states_it(
    system: SystemUnderTest, event_tap: EventTap, injector: Injector, exchange: Exchange
) -> None:
    """Declared by the services, durable, of its type (AMQP 0-9-1 §3.1.3.2: the broker compares)."""
    # The tap, which binds its own queues to those of events, has waited for them.
    assert exchange.name not in event_tap.undeclared
    # A service that has only just connected may still be declaring.
    system.eventually(
        lambda: not injector.try_to(lambda channel: channel.exchange_declare(exchange.name, passive=True))
    )
    assert injector.try_to(lambda channel: channel.exchange_declare(exchange.name, exchange.type, durable=True)) == ""


@pytest.mark.cites("implement.md", "A queue has x-queue-type, x-delivery-limit, x-dead-letter-exchange")
@pytest.mark.cites("topology.proto", "A durable queue. Its arguments can't be changed once it is declared")
@pytest.mark.cites("implement.md", "a publisher whose subscriber has never run must not lose that subscriber's events")
@pytest.mark.parametrize("queue", topology().queues, ids=lambda queue: queue.name)
def test_every_queue_is_there_as_the_contract_states_it(
    system: SystemUnderTest, injector: Injector, queue: Queue
) -> None:
    """Declared by the services, durable, with exactly its arguments."""
    arguments = dict(queue.arguments)
    # A service that has only just connected may still be declaring.
    system.eventually(lambda: injector.is_there(queue.name))
    assert injector.try_to(lambda channel: channel.queue_declare(queue.name, durable=True, arguments=arguments)) == ""


@pytest.mark.cites("implement.md", "Every service declares all of it when it connects")
@pytest.mark.judges("proxy", "declarers")
def test_a_queue_that_was_deleted_while_the_broker_was_away_is_declared_again(
    system: SystemUnderTest, injector: Injector, proxy: AmqpProxy | None
) -> None:
    """Each time a service connects, and not the first time only."""
    assert proxy is not None
    queues = [SUBSCRIPTIONS[role].dead_letter_queue for role in LISTENERS]
    with proxy.away():
        for queue in queues:
            injector.delete(queue)
    for queue in queues:
        system.eventually(lambda queue=queue: injector.is_there(queue))  # type: ignore[misc]


@pytest.mark.cites("implement.md", "`feeds` is an exchange-to-exchange binding with routing key `#`")
def test_the_fanout_exchange_feeds_the_topic_exchange(
    system: SystemUnderTest, event_tap: EventTap, injector: Injector
) -> None:
    """Bound by every service: what is published to the one is heard on the other, whatever its routing key."""
    events = [OrderCreated(order=sample_order()) for _ in range(2)]

    def heard() -> list[bool]:
        for event, routing_key in zip(events, ("order.created", "anything"), strict=True):
            injector.route(FANOUT, routing_key, event)
        fence_exchanges(system, event_tap, injector)
        return [bool(event_tap.received(event.order.id, TOPIC)) for event in events]

    # A service that has only just connected may still be declaring.
    system.eventually(lambda: all(heard()))


@pytest.mark.cites("topology.proto", "so that one publish reaches both atomically in the broker")
@pytest.mark.judges(*LISTENERS)
def test_a_creation_published_once_reaches_both_subscribers(system: SystemUnderTest, injector: Injector) -> None:
    """The fanout exchange feeds the topic exchange in the broker."""
    event = OrderCreated(order=sample_order())
    event_id = injector.publish(event)
    for role in LISTENERS:
        (record,) = system.eventually(lambda role=role: system.notifications(role, event.order.id))  # type: ignore[misc]
        assert record.event_id == event_id


@pytest.mark.cites("topology.proto", "bound to that queue and to nothing else")
@pytest.mark.cites("implement.md", "`replay_exchange` of a subscription is a fanout exchange bound to the subscriber's")
@pytest.mark.parametrize("role", LISTENERS)
def test_a_replay_exchange_leads_to_its_subscriber_alone(
    system: SystemUnderTest, injector: Injector, role: str
) -> None:
    """Bound by every service; the queue of the other subscriber gets nothing of what is published there."""
    event = OrderCreated(order=sample_order())
    exchange = SUBSCRIPTIONS[role].replay_exchange
    (other,) = {*LISTENERS} - {role}
    waiting = 0 if other in system.addresses else injector.waiting(other)

    def recorded() -> bool:
        # A service that has only just connected may have declared it, and be about to bind it.
        with suppress(UnroutableError):
            injector.route(exchange, SUBSCRIPTIONS[role].queue, event)
        return bool(system.notifications(role, event.order.id))

    system.eventually(lambda: not injector.try_to(lambda c: c.exchange_declare(exchange, passive=True)))
    system.eventually(recorded)
    if other in system.addresses:
        fence(system, injector, other)
        assert system.notifications(other, event.order.id) == []
    else:  # it does not run: what came into its queue is there still
        assert injector.waiting(other) == waiting


@pytest.mark.cites("implement.md", "The feed goes one way.")
@pytest.mark.cites("subscriptions.proto", "Hears of order creations, from the fanout exchange.")
@pytest.mark.judges(*LISTENERS)
def test_what_is_published_to_the_topic_exchange_alone_does_not_reach_the_fanouts_subscriber(
    system: SystemUnderTest, injector: Injector
) -> None:
    """The feed goes one way."""
    event = OrderUpdated(
        order=sample_order(version=2), previous_state=OrderState.ORDER_STATE_PLACED, changed_fields=["items"]
    )
    injector.publish(event)
    system.eventually(lambda: system.notifications(TWO, event.order.id))
    fence(system, injector, ONE)
    assert system.notifications(ONE, event.order.id) == []


@pytest.mark.cites("implement.md", "A binding has the routing key of the event that a subscription's method takes.")
@pytest.mark.judges(TWO)
@pytest.mark.parametrize("routing_key", ["order.vanished", "order", "order.created.again", "customer.created", ""])
def test_a_routing_key_nobody_is_bound_by_reaches_nobody(
    system: SystemUnderTest, injector: Injector, routing_key: str
) -> None:
    """The bindings are those of the events a subscriber takes, and no wider."""
    event = OrderCreated(order=sample_order())
    injector.route("orders.events", routing_key, event)
    fence(system, injector, TWO)
    assert system.notifications(TWO, event.order.id) == []

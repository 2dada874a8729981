"""Tests of the topology the contract states: what is published arrives, and nothing is lost on the way."""

import re

import pytest
from google.protobuf.descriptor import Descriptor

from ordersys.contract import descriptors
from ordersys.contract.topology import (
    Binding,
    Exchange,
    Queue,
    Subscription,
    event_exchanges,
    events,
    publication,
    subscription,
    subscriptions,
    topology,
)

EXCHANGES = {exchange.name: exchange for exchange in topology().exchanges}
QUEUES = {queue.name: queue for queue in topology().queues}
EVENTS = tuple(events().values())
SERVICES = {service.full_name: service for service in descriptors.services()}


def name(value: object) -> str:
    """The name of a case."""
    return str(getattr(value, "consumer", None) or getattr(value, "name", value))


def matches(pattern: str, routing_key: str) -> bool:
    """True if a topic binding's pattern fits (AMQP 0-9-1 §3.1.3.3)."""
    words = {"*": r"[^.]+", "#": r".*"}
    return bool(re.fullmatch(r"\.".join(words.get(word, re.escape(word)) for word in pattern.split(".")), routing_key))


def passes(binding: Binding, routing_key: str) -> bool:
    """True if a binding lets a message through."""
    return EXCHANGES[binding.source].type == "fanout" or matches(binding.routing_key, routing_key)


def reached(exchange: str, routing_key: str) -> list[str]:
    """The queues a message gets to, once for each way it takes."""
    queues = []
    for binding in topology().bindings:
        if binding.source == exchange and passes(binding, routing_key):
            further = binding.to_exchange
            queues += reached(binding.destination, routing_key) if further else [binding.destination]
    return queues


def test_the_contract_has_a_fanout_and_a_topic_exchange() -> None:
    """The first feeds the second, so that a creation is published once and seen on both."""
    assert {exchange.type for exchange in topology().exchanges} == {"fanout", "topic"}
    assert Binding("orders.created", "orders.events", True, "#") in topology().bindings


def test_the_table_of_events_is_what_the_design_says() -> None:
    """Exchange, routing key and publisher of each event."""
    assert {
        event.name: (publication(event).exchange, publication(event).routing_key, publication(event).publisher)
        for event in EVENTS
    } == {
        "OrderCreated": ("orders.created", "order.created", "ordersys.api.order.v1.OrderService"),
        "OrderUpdated": ("orders.events", "order.updated", "ordersys.api.order.v1.OrderService"),
        "OrderRejected": ("orders.events", "order.rejected", "ordersys.api.product.v1.ProductService"),
    }


@pytest.mark.parametrize("event", EVENTS, ids=name)
def test_every_event_goes_to_an_exchange_of_the_contract_from_a_service_of_it(event: Descriptor) -> None:
    """No name leads nowhere."""
    stated = publication(event)
    assert stated.exchange in EXCHANGES
    assert stated.publisher in SERVICES
    assert re.fullmatch(r"[a-z]+(\.[a-z]+)+", stated.routing_key)


@pytest.mark.parametrize("event", EVENTS, ids=name)
def test_every_event_reaches_exactly_the_queues_whose_subscribers_take_it(event: Descriptor) -> None:
    """Each once: no subscriber hears of what it does not take, none misses what it does."""
    stated = publication(event)
    takers = [s.queue for s in subscriptions() if event.full_name in s.handlers]
    assert takers, "nobody takes it: mandatory publishing would return it for ever"
    assert sorted(reached(stated.exchange, stated.routing_key)) == sorted(takers)


@pytest.mark.parametrize("subscription", subscriptions(), ids=name)
def test_every_subscription_takes_events_of_the_contract(subscription: Subscription) -> None:
    """By handlers named after them."""
    assert subscription.handlers
    for event, handler in subscription.handlers.items():
        assert handler == f"On{events()[event].name}"


def test_no_two_subscribers_share_a_queue_or_a_name() -> None:
    """Each hears everything it takes."""
    for names in (
        [s.consumer for s in subscriptions()],
        [s.queue for s in subscriptions()],
        [s.dead_letter_queue for s in subscriptions()],
        [s.replay_exchange for s in subscriptions()],
        list(QUEUES),
        list(EXCHANGES),
    ):
        assert len(set(names)) == len(names)
    assert len(QUEUES) == len(topology().queues)


@pytest.mark.parametrize("queue", topology().queues, ids=name)
def test_every_queue_keeps_what_it_holds(queue: Queue) -> None:
    """Quorum, with an explicit delivery limit, with nothing that expires or overflows silently, under a version."""
    assert queue.arguments["x-queue-type"] == "quorum"
    assert int(queue.arguments["x-delivery-limit"]) > 0
    assert not {"x-message-ttl", "x-expires", "x-max-length", "x-max-length-bytes"} & queue.arguments.keys()
    assert re.search(r"\.v[1-9]\d*$", queue.name)


@pytest.mark.parametrize("subscription", subscriptions(), ids=name)
def test_every_queue_has_a_dead_letter_queue_of_its_own(subscription: Subscription) -> None:
    """Reached through the default exchange, at least once, before it is declared itself."""
    arguments = QUEUES[subscription.queue].arguments
    assert arguments["x-dead-letter-exchange"] == ""
    assert arguments["x-dead-letter-routing-key"] == subscription.dead_letter_queue
    assert (arguments["x-dead-letter-strategy"], arguments["x-overflow"]) == ("at-least-once", "reject-publish")
    assert list(QUEUES).index(subscription.dead_letter_queue) < list(QUEUES).index(subscription.queue)
    assert "x-dead-letter-exchange" not in QUEUES[subscription.dead_letter_queue].arguments


@pytest.mark.parametrize("subscription", subscriptions(), ids=name)
def test_every_queue_has_a_replay_exchange_that_leads_nowhere_else(subscription: Subscription) -> None:
    """Nothing is published to it but replays, and nothing feeds it."""
    replay = subscription.replay_exchange
    assert EXCHANGES[replay].type == "fanout"
    assert replay not in {exchange.name for exchange in event_exchanges()}
    assert [b.destination for b in topology().bindings if b.source == replay] == [subscription.queue]
    assert replay not in {b.destination for b in topology().bindings}
    assert re.search(r"\.v[1-9]\d*$", replay)


@pytest.mark.parametrize("entity", [*topology().exchanges, *topology().queues], ids=name)
def test_every_name_fits_amqp(entity: Exchange | Queue) -> None:
    """A short string that is not reserved (AMQP 0-9-1 §3.1.3.1)."""
    assert 0 < len(entity.name.encode()) <= 255
    assert not entity.name.startswith("amq.")


def test_what_is_no_event_and_no_subscription_is_told_apart() -> None:
    """Asking for the topology of something that has none is an error, not an empty answer."""
    with pytest.raises(ValueError, match="no event"):
        publication(SERVICES["ordersys.api.order.v1.OrderService"].methods_by_name["GetOrder"].input_type)
    with pytest.raises(ValueError, match="takes no events"):
        subscription(SERVICES["ordersys.api.order.v1.OrderService"])

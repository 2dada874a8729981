"""Exchanges, queues, bindings, publications and subscriptions, derived from the options in proto/.

The only module that reads the options of ordersys/api/amqp/v1/topology.proto. Every process declares the topology
returned here, documents show it, and tests expect it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor

from ordersys.api.amqp.v1 import topology_pb2 as amqp
from ordersys.contract import descriptors
from ordersys.contract.descriptors import Files

_FANOUT = "fanout"


@dataclass(frozen=True)
class Exchange:
    """A durable exchange; `type` as AMQP spells it."""

    name: str
    type: str


@dataclass(frozen=True)
class Queue:
    """A durable queue with the arguments it is declared with."""

    name: str
    arguments: Mapping[str, str | int]


@dataclass(frozen=True)
class Binding:
    """From an exchange to a queue, or to another exchange."""

    source: str
    destination: str
    to_exchange: bool
    routing_key: str


@dataclass(frozen=True)
class Topology:
    """All declarations, in an order in which they can be made: a binding after both of its ends."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]


@dataclass(frozen=True)
class Publication:
    """The exchange and routing key of an event, and the service that publishes it."""

    exchange: str
    routing_key: str
    publisher: str


@dataclass(frozen=True)
class Subscription:
    """The queues of a subscriber, and the name of its handler for each event type, by full name.

    Dead letters are replayed to `replay_exchange` with the name of the queue as routing key. It is empty, the default
    exchange, where the contract names none.
    """

    consumer: str
    exchange: str
    queue: str
    dead_letter_queue: str
    replay_exchange: str
    handlers: Mapping[str, str]


@cache
def topology(of: Files | None = None) -> Topology:
    """The topology of the whole contract: of this one, or of the files named."""
    subscriptions = [(service, _subscription(service)) for service in subscribers(of)]
    return Topology(
        exchanges=(
            *event_exchanges(of),
            *(Exchange(option.replay_exchange, _FANOUT) for _, option in subscriptions if option.replay_exchange),
        ),
        queues=tuple(queue for _, option in subscriptions for queue in _queues(option.queue)),
        bindings=(
            # "#" matches every routing key; a fanout exchange ignores it.
            *(Binding(e.name, fed, True, "#") for e in _exchanges(of) for fed in e.feeds),
            *(
                Binding(option.exchange, option.queue.name, False, publication(event).routing_key)
                for service, option in subscriptions
                for event in _events(service)
            ),
            *(
                Binding(option.replay_exchange, option.queue.name, False, "#")
                for _, option in subscriptions
                if option.replay_exchange
            ),
        ),
    )


def event_exchanges(of: Files | None = None) -> tuple[Exchange, ...]:
    """The exchanges that events are published to. Those for replays are none of them."""
    return tuple(Exchange(e.name, _amqp_name(amqp.ExchangeType, e.type)) for e in _exchanges(of))


@cache
def publication(event: Descriptor) -> Publication:
    """The publication of `event`. Raises ValueError when the message is no event."""
    option = event.GetOptions().Extensions[amqp.publication]
    if not option.exchange:
        raise ValueError(f"{event.full_name} has no publication option: it is no event")
    return Publication(option.exchange, option.routing_key, option.publisher)


@cache
def events(of: Files | None = None) -> Mapping[str, Descriptor]:
    """Every event of the contract, by full message name: of this one, or of the files named."""
    return {m.full_name: m for m in descriptors.messages(of) if m.GetOptions().HasExtension(amqp.publication)}


def grpc_services(of: Files | None = None) -> tuple[ServiceDescriptor, ...]:
    """Every service that is served over gRPC: all but the subscriptions."""
    return tuple(s for s in descriptors.services(of) if not s.GetOptions().HasExtension(amqp.subscription))


def wire_messages(of: Files | None = None) -> Iterator[Descriptor]:
    """Every request, response and event, which travel by themselves; of this contract, or of the files named."""
    for method in (method for service in grpc_services(of) for method in service.methods):
        yield from (method.input_type, method.output_type)
    yield from events(of).values()


def subscribers(of: Files | None = None) -> Iterator[ServiceDescriptor]:
    """Every service that is a subscription: of this contract, or of the files named."""
    services = descriptors.services(of)
    return (s for s in services if s.GetOptions().HasExtension(amqp.subscription))


def subscription(service: ServiceDescriptor) -> Subscription:
    """The subscription of a service of the contract. Raises ValueError when the service has none."""
    option = _subscription(service)
    if not option.queue.name:
        raise ValueError(f"{service.full_name} has no subscription option: it takes no events")
    return Subscription(
        option.consumer,
        option.exchange,
        option.queue.name,
        option.queue.dead_letter_queue.name,
        option.replay_exchange,
        {method.input_type.full_name: method.name for method in _methods(service)},
    )


def subscriptions(of: Files | None = None) -> tuple[Subscription, ...]:
    """Every subscription of the contract: of this one, or of the files named."""
    return tuple(subscription(service) for service in subscribers(of))


def _exchanges(of: Files | None) -> Iterator[amqp.Exchange]:
    for file in of or descriptors.files():
        yield from file.GetOptions().Extensions[amqp.exchange]


def _subscription(service: ServiceDescriptor) -> amqp.Subscription:
    return service.GetOptions().Extensions[amqp.subscription]


def _methods(service: ServiceDescriptor) -> tuple[MethodDescriptor, ...]:
    return tuple(service.methods)


def _events(service: ServiceDescriptor) -> Iterator[Descriptor]:
    return (method.input_type for method in _methods(service))


def _queues(queue: amqp.Queue) -> Iterator[Queue]:
    kind = _amqp_name(amqp.QueueType, queue.type)
    dead = queue.dead_letter_queue
    # First, so that the queue never dead-letters into one that is not there.
    yield Queue(dead.name, {"x-queue-type": kind, "x-delivery-limit": dead.delivery_limit})
    yield Queue(
        queue.name,
        {
            "x-queue-type": kind,
            "x-delivery-limit": queue.delivery_limit,
            # The default exchange, which routes by the name of a queue: nobody else can bind to it and get copies.
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": dead.name,
            # By default a dead letter is dropped when its queue is not available. At-least-once keeps it until it is
            # stored, and requires reject-publish (rabbitmq.com/docs/quorum-queues, "at-least-once dead lettering").
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        },
    )


def _amqp_name(enum: Any, value: int) -> str:
    """EXCHANGE_TYPE_FANOUT -> fanout: the last word is what AMQP calls it."""
    return str(enum.Name(value)).rpartition("_")[2].lower()

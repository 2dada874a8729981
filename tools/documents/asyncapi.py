"""The events as an AsyncAPI 3.0 document: publications by exchange, receivers by queue.

Facts come from the topology, texts from the comments in proto/. A channel is a routing key at an exchange, or a queue
(AMQP bindings 0.3.0). Each event is two messages, of which `required` says different things: as it is published, with
all that a publisher sends, and as it is taken, with what a subscriber needs. AsyncAPI has no place for AMQP properties;
they are a schema under `x-properties`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, ServiceDescriptor

from ordersys.api.amqp.v1.topology_pb2 import DeadLetterQueue
from ordersys.contract import topology
from ordersys.contract.access import service_name
from ordersys.contract.events import CONTENT_TYPE, MAXIMUM_BYTES, EventMessage, headers

Node = dict[str, Any]
_PERSISTENT = 2
_DEAD_LETTER = "DeadLetter"
_BINDING_VERSION = {"bindingVersion": "0.3.0"}
NEEDED = ("message_id", "type", "content_type")
"""The AMQP properties without which a delivery is no event; no other is looked at, and no header."""


def document(comments: Mapping[str, str]) -> Node:
    """The document, with the comment of everything by full name."""
    events, subscribers = topology.events().values(), tuple(topology.subscribers())
    sent = {event.name: _exchange_channel(event) for event in events}
    received = {
        channel["address"]: channel for service in subscribers for channel in _queue_channels(service, comments)
    }
    sends = {f"publish{event.name}": _send(event, comments) for event in events}
    receives = {name: operation for service in subscribers for name, operation in _receives(service, comments)}
    return {
        "asyncapi": "3.0.0",
        "info": _info(events, comments),
        "defaultContentType": CONTENT_TYPE,
        "channels": sent | received,
        "operations": sends | receives,
        "components": {
            "messages": {
                **dict(message for event in events for message in _components(event, comments)),
                _DEAD_LETTER: _dead_letter(),
            }
        },
    }


def _info(events: Iterable[Descriptor], comments: Mapping[str, str]) -> Node:
    files = {event.file.name: event.file.package for event in events}
    return {
        "title": "The events of ordersys",
        "version": "/".join(sorted({package.rpartition(".")[2] for package in files.values()})),
        "description": "\n\n".join(comments[file] for file in files),
        "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
    }


def _exchange_channel(event: Descriptor) -> Node:
    publication, declared = topology.publication(event), topology.topology()
    kind = next(exchange.type for exchange in declared.exchanges if exchange.name == publication.exchange)
    exchange = {"name": publication.exchange, "type": kind, "durable": True, "autoDelete": False}
    return {
        "address": publication.routing_key,
        "messages": {event.name: _reference(event.name)},
        "bindings": {"amqp": {"is": "routingKey", "exchange": exchange} | _BINDING_VERSION},
        "x-feeds": [b.destination for b in declared.bindings if b.to_exchange and b.source == publication.exchange],
    }


def _queue_channels(service: ServiceDescriptor, comments: Mapping[str, str]) -> Iterator[Node]:
    """The queue of a subscription, and that of its dead letters."""
    subscription = topology.subscription(service)
    events = [topology.events()[name] for name in subscription.handlers]
    deliveries = {event.name: _reference(_taken(event)) for event in events}
    yield _queue_channel(subscription.queue, deliveries, comments[service.full_name])
    put_aside = {_DEAD_LETTER: _reference(_DEAD_LETTER)}
    yield _queue_channel(subscription.dead_letter_queue, put_aside, comments[DeadLetterQueue.DESCRIPTOR.full_name])


def _queue_channel(name: str, messages: Node, description: str) -> Node:
    declared = topology.topology()
    queue = {"name": name, "durable": True, "exclusive": False, "autoDelete": False}
    bound = [{"exchange": b.source, "routingKey": b.routing_key} for b in declared.bindings if b.destination == name]
    return {
        "address": name,
        "description": description,
        "messages": messages,
        "bindings": {"amqp": {"is": "queue", "queue": queue} | _BINDING_VERSION},
        "x-arguments": next(dict(queue.arguments) for queue in declared.queues if queue.name == name),
        "x-bindings": bound,
    }


def _send(event: Descriptor, comments: Mapping[str, str]) -> Node:
    return {
        "action": "send",
        "title": topology.publication(event).publisher,
        "summary": comments[event.full_name],
        **_over(event.name, event),
        "bindings": {"amqp": {"deliveryMode": _PERSISTENT, "mandatory": True, "timestamp": True} | _BINDING_VERSION},
    }


def _receives(service: ServiceDescriptor, comments: Mapping[str, str]) -> Iterator[tuple[str, Node]]:
    subscription = topology.subscription(service)
    for name, handler in subscription.handlers.items():
        yield (
            f"{service.name}.{handler}",
            {
                "action": "receive",
                "title": subscription.consumer,
                "summary": comments[f"{service.full_name}.{handler}"],
                **_over(subscription.queue, topology.events()[name]),
                "bindings": {"amqp": {"ack": True} | _BINDING_VERSION},
            },
        )


def _over(channel: str, event: Descriptor) -> Node:
    """References of an operation: to its channel, and to its message there."""
    reference = f"#/channels/{channel}"
    return {"channel": {"$ref": reference}, "messages": [{"$ref": f"{reference}/messages/{event.name}"}]}


def _reference(message: str) -> Node:
    return {"$ref": f"#/components/messages/{message}"}


def _taken(event: Descriptor) -> str:
    """The name of an event as a subscriber takes it."""
    return f"{event.name}Taken"


def _components(event: Descriptor, comments: Mapping[str, str]) -> Iterator[tuple[str, Node]]:
    """An event as it is published, and as it is taken."""
    texts = {name: {"type": "string", "examples": [value]} for name, value in headers(_example(event)).items()}
    properties, message = _properties(event), _message(event, comments)
    yield (
        event.name,
        message
        | {
            "title": event.name,
            "headers": _object("Each publisher sends all of them.", list(texts), texts),
            "x-properties": _object("AMQP properties. Each publisher sends all of them.", list(properties), properties),
        },
    )
    yield (
        _taken(event),
        message
        | {
            "title": f"{event.name}, as a subscriber takes it",
            "headers": _object("A subscriber refuses no event for a header.", [], texts),
            "x-properties": _object(
                "AMQP properties. A delivery without those that are required is no event: a dead letter.",
                list(NEEDED),
                {name: properties[name] for name in (*NEEDED, "user_id")},
            ),
        },
    )


def _dead_letter() -> Node:
    return {
        "title": "A message that a subscriber could not take",
        "summary": "Any message whatever, with any properties.",
        "payload": {"type": "string", "format": "binary"},
    }


def _object(description: str, required: list[str], properties: Node) -> Node:
    demanded = {"required": required} if required else {}
    return {"type": "object", "description": description, **demanded, "properties": properties}


def _properties(event: Descriptor) -> Node:
    """The AMQP properties of an event, each with its schema."""
    return {
        "message_id": {"type": "string", "examples": [_example(event).event_id]},
        "type": {"type": "string", "const": event.full_name},
        "content_type": {"type": "string", "const": CONTENT_TYPE},
        "delivery_mode": {"type": "integer", "const": _PERSISTENT},
        "timestamp": {"type": "integer", "description": "Seconds since 1970.", "examples": [1_790_000_000]},
        "user_id": {
            "type": "string",
            "description": "The user by whose connection it is published: where the system has identities this name.",
            "examples": [service_name(topology.publication(event).publisher)],
        },
    }


def _message(event: Descriptor, comments: Mapping[str, str]) -> Node:
    return {
        "name": event.full_name,
        "summary": comments[event.full_name],
        "contentType": CONTENT_TYPE,
        "payload": {
            "type": "string",
            "format": "binary",
            "maxLength": MAXIMUM_BYTES,
            "description": f"The message {event.full_name}, encoded in protobuf.",
            "x-protobuf": {"file": f"proto/{event.file.name}", "message": event.full_name},
        },
        "bindings": {"amqp": {"messageType": event.full_name} | _BINDING_VERSION},
    }


def _example(event: Descriptor) -> EventMessage:
    return EventMessage(
        event_id="01999e0d-46f2-7b11-8c5e-1d4a7f9b3e02.1",
        type=event.full_name,
        source=topology.publication(event).publisher,
        subject="01999e0d-46f2-7b11-8c5e-1d4a7f9b3e02",
        time=1_790_000_000_123_456,
        traceparent="00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
        body=b"",
    )

"""The events as an AsyncAPI 3.0 document: publications by exchange, receivers by queue.

Facts come from the topology, texts from the comments in proto/. A channel is a routing key at an exchange, or a queue
(AMQP bindings 0.3.0).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, ServiceDescriptor

from ordersys.api.amqp.v1.topology_pb2 import DeadLetterQueue
from ordersys.contract import topology
from ordersys.contract.events import CONTENT_TYPE, EventMessage, headers

Node = dict[str, Any]
_BINDING_VERSION = {"bindingVersion": "0.3.0"}


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
        "components": {"messages": {event.name: _message(event, comments) for event in events}},
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
        "messages": _messages([event]),
        "bindings": {"amqp": {"is": "routingKey", "exchange": exchange} | _BINDING_VERSION},
        "x-feeds": [b.destination for b in declared.bindings if b.to_exchange and b.source == publication.exchange],
    }


def _queue_channels(service: ServiceDescriptor, comments: Mapping[str, str]) -> Iterator[Node]:
    """The queue of a subscription, and that of its dead letters."""
    subscription = topology.subscription(service)
    events = [topology.events()[name] for name in subscription.handlers]
    yield _queue_channel(subscription.queue, events, comments[service.full_name])
    yield _queue_channel(subscription.dead_letter_queue, events, comments[DeadLetterQueue.DESCRIPTOR.full_name])


def _queue_channel(name: str, events: Iterable[Descriptor], description: str) -> Node:
    declared = topology.topology()
    queue = {"name": name, "durable": True, "exclusive": False, "autoDelete": False}
    bound = [{"exchange": b.source, "routingKey": b.routing_key} for b in declared.bindings if b.destination == name]
    return {
        "address": name,
        "description": description,
        "messages": _messages(events),
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
        "bindings": {"amqp": {"deliveryMode": 2, "mandatory": True, "timestamp": True} | _BINDING_VERSION},
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


def _messages(events: Iterable[Descriptor]) -> Node:
    return {event.name: {"$ref": f"#/components/messages/{event.name}"} for event in events}


def _message(event: Descriptor, comments: Mapping[str, str]) -> Node:
    properties = {name: {"type": "string", "examples": [value]} for name, value in headers(_example(event)).items()}
    return {
        "name": event.full_name,
        "title": event.name,
        "summary": comments[event.full_name],
        "contentType": CONTENT_TYPE,
        "headers": {"type": "object", "required": list(properties), "properties": properties},
        "payload": {
            "type": "string",
            "format": "binary",
            "description": f"The message {event.full_name}, encoded in protobuf.",
            "x-protobuf": {"file": f"proto/{event.file.name}", "message": event.full_name},
        },
        "bindings": {"amqp": {"messageType": event.full_name} | _BINDING_VERSION},
    }


def _example(event: Descriptor) -> EventMessage:
    return EventMessage(
        event_id="01999e0d-46f4-7c3e-9a41-2f5d8e1b7c60",
        type=event.full_name,
        source=topology.publication(event).publisher,
        subject="01999e0d-46f2-7b11-8c5e-1d4a7f9b3e02",
        time=1_790_000_000_123_456,
        traceparent="00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
        body=b"",
    )

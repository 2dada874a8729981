"""The topology as RabbitMQ's definitions, which `rabbitmqctl import_definitions` declares."""

from collections.abc import Mapping
from typing import Any

from ordersys.contract.topology import Binding, Topology

_VHOST = "/"


def definitions(topology: Topology) -> dict[str, Any]:
    """Exchanges, queues and bindings, durable, in the default virtual host; no users, no permissions."""
    return {
        "exchanges": [_declared(e.name, {}) | {"type": e.type, "internal": False} for e in topology.exchanges],
        "queues": [_declared(queue.name, queue.arguments) for queue in topology.queues],
        "bindings": [_bound(binding) for binding in topology.bindings],
    }


def _declared(name: str, arguments: Mapping[str, str | int]) -> dict[str, Any]:
    return {"name": name, "vhost": _VHOST, "durable": True, "auto_delete": False, "arguments": dict(arguments)}


def _bound(binding: Binding) -> dict[str, Any]:
    return {
        "source": binding.source,
        "vhost": _VHOST,
        "destination": binding.destination,
        "destination_type": "exchange" if binding.to_exchange else "queue",
        "routing_key": binding.routing_key,
        "arguments": {},
    }

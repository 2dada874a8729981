"""The topology as RabbitMQ's definitions, which `rabbitmqctl import_definitions` declares."""

from typing import Any

from ordersys.contract.topology import Binding, Queue, Topology
from ordersys.topology.definitions import VHOST, exchange_definition


def definitions(topology: Topology) -> dict[str, Any]:
    """Exchanges, queues and bindings, durable, in the default virtual host; no users, no permissions."""
    return {
        "exchanges": [exchange_definition(exchange) for exchange in topology.exchanges],
        "queues": [_declared(queue) for queue in topology.queues],
        "bindings": [_bound(binding) for binding in topology.bindings],
    }


def _declared(queue: Queue) -> dict[str, Any]:
    return {
        "name": queue.name,
        "vhost": VHOST,
        "durable": True,
        "auto_delete": False,
        "arguments": dict(queue.arguments),
    }


def _bound(binding: Binding) -> dict[str, Any]:
    return {
        "source": binding.source,
        "vhost": VHOST,
        "destination": binding.destination,
        "destination_type": "exchange" if binding.to_exchange else "queue",
        "routing_key": binding.routing_key,
        "arguments": {},
    }

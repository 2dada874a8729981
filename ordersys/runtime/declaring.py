"""Declares exchanges, queues and bindings, one after the other; what is there already is left as it is."""

from collections.abc import Awaitable, Callable
from typing import Any

from ordersys.contract.topology import Binding, Topology

Call = Callable[..., Awaitable[Any]]
"""Calls an AMQP method, by its name, and waits for the answer."""


async def declare(call: Call, topology: Topology) -> None:
    """Declares all of `topology`."""
    for exchange in topology.exchanges:
        await call("exchange_declare", exchange=exchange.name, exchange_type=exchange.type, durable=True)
    for queue in topology.queues:
        await call("queue_declare", queue=queue.name, durable=True, arguments=dict(queue.arguments))
    for binding in topology.bindings:
        await _bind(call, binding)


async def _bind(call: Call, binding: Binding) -> None:
    common = {"routing_key": binding.routing_key}
    if binding.to_exchange:
        await call("exchange_bind", destination=binding.destination, source=binding.source, **common)
    else:
        await call("queue_bind", queue=binding.destination, exchange=binding.source, **common)

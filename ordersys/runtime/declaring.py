"""Declares exchanges, queues and bindings, one after the other; what is there already is left as it is.

Whoever may not declare (RabbitMQ: the configure permission) may still look whether everything is there, and use it:
passive declarations need no permission. Bindings can't be looked at: that they are there is up to those who may bind.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, NamedTuple

from ordersys.contract.topology import Binding, Exchange, Queue, Topology
from ordersys.runtime.broker import BrokerRefused, BrokerUnavailable, Call
from ordersys.runtime.refusals import ACCESS_REFUSED, NOT_FOUND

_log = logging.getLogger(__name__)
Channel = Callable[[], AbstractAsyncContextManager[Call]]
"""An AMQP channel of one's own: it is closed when a call on it is refused."""


class _Step(NamedTuple):
    """A declaration, and how to look whether it was made already: not at all, if need be."""

    declare: Callable[[Call], Awaitable[Any]]
    look: Callable[[Call], Awaitable[Any]] | None


class Declarer:
    """Declares `topology`, again and again; remembers what it may not declare, and only looks at that then."""

    def __init__(self, topology: Topology) -> None:
        self._steps = list(_steps(topology))
        self._forbidden: set[int] = set()

    async def declare(self, channel: Channel) -> None:
        """Declares what may be, and looks at the rest. Raises BrokerUnavailable; BrokerRefused for what lasts."""
        left = list(range(len(self._steps)))
        refused: list[BrokerRefused] = []
        while left:
            async with channel() as call:
                await self._until_refused(call, left, refused)
        if refused:
            text = "%d of %d declarations are not permitted; what is there is used as it is found. The first: %s"
            _log.warning(text, len(refused), len(self._steps), refused[0])

    async def _until_refused(self, call: Call, left: list[int], refused: list[BrokerRefused]) -> None:
        """Takes from `left` what is done; with the first that is not permitted the channel is closed."""
        while left:
            number = left[0]
            step = self._steps[number]
            if number not in self._forbidden:
                try:
                    await step.declare(call)
                except BrokerRefused as error:
                    if error.code != ACCESS_REFUSED:
                        raise
                    self._forbidden.add(number)
                    refused.append(error)
                    return
            elif step.look:
                await step.look(call)
            del left[0]


def _steps(topology: Topology) -> Iterator[_Step]:
    for exchange in topology.exchanges:
        yield _Step(partial(_exchange, exchange), partial(_there, exchange=exchange.name))
    for queue in topology.queues:
        yield _Step(partial(_queue, queue), partial(_there, queue=queue.name))
    for binding in topology.bindings:
        yield _Step(partial(_bind, binding), None)


async def _exchange(exchange: Exchange, call: Call) -> None:
    await call("exchange_declare", exchange=exchange.name, exchange_type=exchange.type, durable=True)


async def _queue(queue: Queue, call: Call) -> None:
    await call("queue_declare", queue=queue.name, durable=True, arguments=dict(queue.arguments))


async def _bind(binding: Binding, call: Call) -> None:
    common = {"routing_key": binding.routing_key}
    if binding.to_exchange:
        await call("exchange_bind", destination=binding.destination, source=binding.source, **common)
    else:
        await call("queue_bind", queue=binding.destination, exchange=binding.source, **common)


async def _there(call: Call, **named: str) -> None:
    """Raises BrokerRefused when the exchange, or the queue, of that name is not."""
    ((kind, name),) = named.items()
    try:
        await call(f"{kind}_declare", passive=True, **named)
    except BrokerUnavailable as error:
        if error.code != NOT_FOUND:
            raise
        text = f"{kind} {name!r} is not there, and the user lacks the configure permission to declare it"
        raise BrokerRefused(f"{text} ({error})", error.code) from error

"""Declares exchanges, queues and bindings, one after the other; what is there already is left as it is.

Whoever may not declare (RabbitMQ: the configure permission) may still look whether everything is there, and use it.
Passive declarations need no permission, or, since RabbitMQ 4.2.7 and 4.3.1, any one on what is looked at. Bindings
can't be looked at. That what can't be looked at is there is up to those who may declare it.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from typing import NamedTuple

from ordersys.contract.topology import Binding, Exchange, Queue, Topology
from ordersys.runtime.rabbitmq.channel import RpcChannel
from ordersys.runtime.rabbitmq.errors import BrokerRefused, BrokerUnavailable
from ordersys.runtime.rabbitmq.refusals import ACCESS_REFUSED, NOT_FOUND

_log = logging.getLogger(__name__)
OpenChannel = Callable[[], AbstractAsyncContextManager[RpcChannel]]
"""An AMQP channel of one's own: it is closed when a call on it is refused."""


class _Step(NamedTuple):
    """A declaration, and how to look whether it was made already: not at all, if need be."""

    declare: Callable[[RpcChannel], Awaitable[None]]
    look: Callable[[RpcChannel], Awaitable[None]] | None
    needed: bool
    """True when its refusal is one of the whole topology; else it is only logged."""


class Declarer:
    """Declares a topology, again and again; remembers what it may not declare, and only looks at that then.

    One refusal keeps nothing else from being declared.
    """

    def __init__(self, topology: Topology, queue: str = "", of_service: bool = False) -> None:
        """All of it is needed, or only what belongs to `queue`. The user of one service is not meant to declare."""
        self._of_service = of_service
        self._steps = list(_steps(topology, _belonging(topology, queue) if queue else topology))
        self._exchanges = range(len(topology.exchanges))
        """The numbers of their steps, which are the first."""
        self._forbidden: set[int] = set()
        self._hidden: dict[int, BrokerRefused] = {}
        """The refusals to look, by the number of the step. Not tried again: the broker logs each as an error."""
        self._said: set[str] = set()

    async def declare(self, open_channel: OpenChannel) -> Sequence[BrokerRefused]:
        """Declares what may be, and looks at the rest; what was found out this time not to be permitted.

        Raises BrokerUnavailable; BrokerRefused for what lasts.
        """
        left = list(range(len(self._steps)))
        forbidden: list[BrokerRefused] = []
        refused: dict[int, BrokerRefused] = {}
        while left:
            async with open_channel() as channel:
                await self._until_refused(channel, left, forbidden, refused)
        if self._exchanges and self._hidden.keys() >= set(self._exchanges):
            raise self._unusable()
        if forbidden and self._of_service:
            text = "%d of %d declarations are left to whoever is to declare: the user of a service is not"
            self._say(logging.INFO, text, len(forbidden), len(self._steps))
        elif forbidden:
            text = "%d of %d declarations are not permitted; what is there is used as it is found. The first: %s"
            self._say(logging.WARNING, text, len(forbidden), len(self._steps), forbidden[0])
        for number, error in refused.items():
            if not self._steps[number].needed:
                self._say(logging.WARNING, "what others need is not declared: %s", error)
        if needed := [error for number, error in refused.items() if self._steps[number].needed]:
            raise needed[0]
        return forbidden

    async def _until_refused(
        self, channel: RpcChannel, left: list[int], forbidden: list[BrokerRefused], refused: dict[int, BrokerRefused]
    ) -> None:
        """Takes from `left` what is done, or refused for good; with the first refusal the channel is closed."""
        while left:
            number = left[0]
            step = self._steps[number]
            try:
                if number not in self._forbidden:
                    await step.declare(channel)
                elif step.look and number not in self._hidden:
                    await step.look(channel)
            except BrokerRefused as error:
                if error.code == ACCESS_REFUSED and number not in self._forbidden:
                    self._forbidden.add(number)
                    # Not refused for good yet: it may be there, and looking needs no permission (docs/reliability.md,
                    # "a user without the `configure` permission").
                    forbidden.append(error)
                    return
                if error.code == ACCESS_REFUSED and step.look:
                    self._hidden[number] = error
                    return
                refused[number] = error
                self._forbidden.discard(number)  # what is not there may be permitted the next time
                del left[0]
                return
            except BrokerUnavailable as error:
                if not (refused and error.code == NOT_FOUND):
                    raise
                del left[0]  # a binding of what was refused
                return
            del left[0]

    def _unusable(self) -> BrokerRefused:
        """The refusal for a user that sees no exchange, and so can use none. All of it is tried anew the next time."""
        error = self._hidden[0]
        self._hidden.clear()
        self._forbidden.clear()
        return error

    def _say(self, level: int, text: str, *values: object) -> None:
        """Once: it is the same every few seconds."""
        if (said := text % values) not in self._said:
            self._said.add(said)
            _log.log(level, "%s", said)


async def missing(topology: Topology, open_channel: OpenChannel) -> Sequence[str]:
    """The exchanges and queues of a topology that are not there, in words. Declares nothing. Raises BrokerUnavailable.

    Bindings can't be looked at.
    """
    absent = []
    exchanges = [("exchange", exchange.name, partial(_look_at_exchange, exchange)) for exchange in topology.exchanges]
    queues = [("queue", queue.name, partial(_look_at_queue, queue)) for queue in topology.queues]
    for kind, name, look in (*exchanges, *queues):
        async with open_channel() as channel:
            try:
                await look(channel)
            except BrokerUnavailable as error:
                if not _is_absent(kind, error):
                    raise
                absent.append(f"{kind} {name!r}")
    return absent


def _belonging(topology: Topology, queue: str) -> Topology:
    """The part of the topology that `queue` needs to get its messages and to keep its dead letters."""
    named = {queue} | {str(q.arguments.get("x-dead-letter-routing-key")) for q in topology.queues if q.name == queue}
    bindings = tuple(b for b in topology.bindings if b.to_exchange or b.destination in named)
    bound = {name for binding in bindings for name in (binding.source, binding.destination)}
    return Topology(
        tuple(e for e in topology.exchanges if e.name in bound),
        tuple(q for q in topology.queues if q.name in named),
        bindings,
    )


def _steps(topology: Topology, needed: Topology) -> Iterator[_Step]:
    for exchange in topology.exchanges:
        yield _Step(partial(_exchange, exchange), partial(_exchange_is_there, exchange), exchange in needed.exchanges)
    for queue in topology.queues:
        yield _Step(partial(_queue, queue), partial(_queue_is_there, queue), queue in needed.queues)
    for binding in topology.bindings:
        yield _Step(partial(_bind, binding), None, binding in needed.bindings)


async def _exchange(exchange: Exchange, channel: RpcChannel) -> None:
    await channel.declare_exchange(exchange.name, exchange.type)


async def _queue(queue: Queue, channel: RpcChannel) -> None:
    await channel.declare_queue(queue.name, queue.arguments)


async def _bind(binding: Binding, channel: RpcChannel) -> None:
    if binding.to_exchange:
        await channel.bind_exchange(binding.destination, binding.source, binding.routing_key)
    else:
        await channel.bind_queue(binding.destination, binding.source, binding.routing_key)


async def _look_at_exchange(exchange: Exchange, channel: RpcChannel) -> None:
    await channel.find_exchange(exchange.name)


async def _look_at_queue(queue: Queue, channel: RpcChannel) -> None:
    await channel.find_queue(queue.name)


async def _exchange_is_there(exchange: Exchange, channel: RpcChannel) -> None:
    with _missing("exchange", exchange.name):
        await _look_at_exchange(exchange, channel)


async def _queue_is_there(queue: Queue, channel: RpcChannel) -> None:
    with _missing("queue", queue.name):
        await _look_at_queue(queue, channel)


def _is_absent(kind: str, error: BrokerUnavailable) -> bool:
    """True when there is none of that name. One that is out of reach for now has the same reply code."""
    return error.code == NOT_FOUND and f"no {kind}" in str(error)


@contextmanager
def _missing(kind: str, name: str) -> Iterator[None]:
    """Makes a BrokerRefused of the broker's word that there is none: somebody with the permission has to declare it."""
    try:
        yield
    except BrokerUnavailable as error:
        if not _is_absent(kind, error):
            raise
        text = f"{kind} {name!r} is not there, and the user lacks the configure permission to declare it"
        raise BrokerRefused(f"{text} ({error})", error.code) from error

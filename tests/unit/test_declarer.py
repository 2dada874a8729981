"""Declaring, refused in part: what else is declared, what is looked at, whose trouble it is."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ordersys.contract.topology import subscriptions, topology
from ordersys.runtime.rabbitmq.channel import QueueCounts, RpcChannel
from ordersys.runtime.rabbitmq.errors import BrokerRefused, BrokerUnavailable
from ordersys.runtime.rabbitmq.topology import Declarer, missing

FIRST, SECOND = subscriptions()
ALL = {exchange.name for exchange in topology().exchanges} | {queue.name for queue in topology().queues}


class Broker:
    """Keeps what is declared; refuses some of it, and all else on a channel that is closed."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.bound: set[str] = set()
        self.otherwise: set[str] = set()
        self.forbidden: set[str] = set()
        self.hidden: set[str] = set()
        self.out_of_reach: set[str] = set()
        self.asked: list[str] = []

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[RpcChannel]:
        yield Channel(self)

    def do(self, method: str, name: str, passive: bool = False) -> None:
        kind = method.partition("_")[0]
        self.asked.append(f"{method} {name}{' passively' if passive else ''}")
        if name in self.out_of_reach and passive:
            raise BrokerUnavailable(f"404 NOT_FOUND - home node of {kind} '{name}' is down or inaccessible", 404)
        if name in self.hidden and passive:
            raise BrokerRefused("403 ACCESS_REFUSED", 403)
        if method.endswith("bind"):
            if name not in self.there:
                raise BrokerUnavailable(f"404 NOT_FOUND - no {kind} '{name}'", 404)
            self.bound.add(name)
        elif passive:
            if name not in self.there:
                raise BrokerUnavailable(f"404 NOT_FOUND - no {kind} '{name}'", 404)
        elif name in self.forbidden:
            raise BrokerRefused("403 ACCESS_REFUSED", 403)
        elif name in self.otherwise:
            raise BrokerRefused(f"406 PRECONDITION_FAILED - inequivalent arg for {kind} '{name}'", 406)
        else:
            self.there.add(name)


class Channel(RpcChannel):
    """As much of a channel as declares; a refusal closes it."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._open = True

    async def declare_exchange(self, name: str, kind: str) -> None:
        self._do("exchange_declare", name)

    async def find_exchange(self, name: str) -> None:
        self._do("exchange_declare", name, passive=True)

    async def declare_queue(self, name: str, arguments: Mapping[str, Any]) -> None:
        self._do("queue_declare", name)

    async def find_queue(self, name: str) -> QueueCounts:
        self._do("queue_declare", name, passive=True)
        return QueueCounts(0, 0)

    async def bind_queue(self, queue: str, exchange: str, routing_key: str) -> None:
        self._do("queue_bind", queue)

    async def bind_exchange(self, destination: str, source: str, routing_key: str) -> None:
        self._do("exchange_bind", destination)

    def _do(self, method: str, name: str, passive: bool = False) -> None:
        assert self._open, "the channel is closed"
        self._open = False
        self._broker.do(method, name, passive)
        self._open = True


@pytest.mark.parametrize("refused", sorted(queue.name for queue in topology().queues))
async def test_one_refusal_keeps_nothing_else_from_being_declared(refused: str) -> None:
    """All others have their queues and bindings; whoever needs all of it is told."""
    broker = Broker()
    broker.otherwise = {refused}
    with pytest.raises(BrokerRefused, match=refused):
        await Declarer(topology()).declare(broker.channel)
    assert broker.there == ALL - {refused}
    assert broker.bound == {binding.destination for binding in topology().bindings} - {refused}


@pytest.mark.parametrize("own", [FIRST.queue, FIRST.dead_letter_queue, FIRST.replay_exchange, FIRST.exchange])
async def test_a_consumer_minds_what_is_its_own(own: str) -> None:
    """Its queue, that of its dead letters, and the exchanges that lead to them."""
    broker = Broker()
    broker.otherwise = {own}
    with pytest.raises(BrokerRefused, match=own):
        await Declarer(topology(), FIRST.queue).declare(broker.channel)


async def test_a_consumer_does_not_mind_what_is_anothers(caplog: pytest.LogCaptureFixture) -> None:
    """The log is told, once."""
    broker = Broker()
    broker.otherwise = {SECOND.queue, SECOND.dead_letter_queue, SECOND.replay_exchange}
    declarer = Declarer(topology(), FIRST.queue)
    for _ in range(3):
        await declarer.declare(broker.channel)
    assert caplog.text.count(f"'{SECOND.queue}'") == 1


async def test_what_may_not_be_declared_is_looked_at_and_used(caplog: pytest.LogCaptureFixture) -> None:
    """Tried once, and only looked at from then on."""
    broker = Broker()
    broker.there, broker.forbidden = set(ALL), set(ALL)
    declarer = Declarer(topology())
    await declarer.declare(broker.channel)
    broker.asked.clear()
    await declarer.declare(broker.channel)
    assert all(asked.endswith("passively") for asked in broker.asked if "bind" not in asked)
    assert caplog.text.count("not permitted") == 1


@pytest.mark.parametrize("of_service", [True, False])
async def test_the_user_of_a_service_is_not_meant_to_declare(
    of_service: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """That is no warning, and nobody is told to grant what the contract does not have it do."""
    caplog.set_level(logging.INFO)
    broker = Broker()
    broker.there, broker.forbidden = set(ALL), set(ALL)
    await Declarer(topology(), of_service=of_service).declare(broker.channel)
    (record,) = caplog.records
    assert record.levelno == (logging.INFO if of_service else logging.WARNING)
    assert ("not permitted" in record.getMessage()) != of_service


async def test_what_is_not_there_and_may_not_be_declared_is_declared_when_it_may() -> None:
    """By the same declarer: nobody has to connect anew for a permission that was granted."""
    broker = Broker()
    broker.there, broker.forbidden = ALL - {FIRST.queue}, {FIRST.queue}
    declarer = Declarer(topology())
    for _ in range(2):
        with pytest.raises(BrokerRefused, match="lacks the configure permission"):
            await declarer.declare(broker.channel)
    broker.forbidden.clear()
    await declarer.declare(broker.channel)
    assert FIRST.queue in broker.there & broker.bound


async def test_what_may_not_even_be_looked_at_is_used_as_it_is() -> None:
    """Looked at once: the broker logs each refusal. RabbitMQ 4.3 shows nobody what he may do nothing with."""
    broker = Broker()
    queues = {queue.name for queue in topology().queues}
    broker.there, broker.forbidden, broker.hidden = set(ALL), set(ALL), queues
    declarer = Declarer(topology())
    await declarer.declare(broker.channel)
    broker.asked.clear()
    await declarer.declare(broker.channel)
    assert [asked for asked in broker.asked if asked.startswith("queue_declare")] == []


async def test_a_user_that_sees_no_exchange_is_refused_until_it_sees_one() -> None:
    """It may do nothing at all there: somebody has to grant it something."""
    broker = Broker()
    broker.there, broker.forbidden, broker.hidden = set(ALL), set(ALL), set(ALL)
    declarer = Declarer(topology())
    for _ in range(2):
        with pytest.raises(BrokerRefused):
            await declarer.declare(broker.channel)
    broker.hidden = {queue.name for queue in topology().queues}
    await declarer.declare(broker.channel)


async def test_a_queue_that_is_out_of_reach_is_not_one_that_is_refused() -> None:
    """Its node is down: that passes, and nobody has to do anything."""
    broker = Broker()
    broker.there, broker.forbidden, broker.out_of_reach = set(ALL), {FIRST.queue}, {FIRST.queue}
    with pytest.raises(BrokerUnavailable) as raised:
        await Declarer(topology()).declare(broker.channel)
    assert not isinstance(raised.value, BrokerRefused)


async def test_what_may_not_be_declared_is_told_the_first_time() -> None:
    """To whoever declares once, and has to know whether all of it was declared."""
    broker = Broker()
    broker.there, broker.forbidden = set(ALL), {FIRST.queue}
    declarer = Declarer(topology())
    assert [error.code for error in await declarer.declare(broker.channel)] == [403]
    assert await declarer.declare(broker.channel) == []


async def test_what_is_missing_is_named_and_not_declared() -> None:
    """Exchanges and queues, each asked for on a channel of its own."""
    broker = Broker()
    absent = topology().exchanges[0].name
    broker.there = ALL - {absent, SECOND.queue}
    assert await missing(topology(), broker.channel) == [f"exchange '{absent}'", f"queue '{SECOND.queue}'"]
    assert all(asked.endswith("passively") for asked in broker.asked)


async def test_a_queue_that_is_out_of_reach_is_not_one_that_is_missing() -> None:
    """Nobody can say."""
    broker = Broker()
    broker.there, broker.out_of_reach = set(ALL), {FIRST.queue}
    with pytest.raises(BrokerUnavailable, match="down or inaccessible"):
        await missing(topology(), broker.channel)

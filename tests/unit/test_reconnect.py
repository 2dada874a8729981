"""One session after the other: which broker is tried when, and what is not waited for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ordersys.runtime import reconnect
from ordersys.runtime.broker import BrokerUnavailable, Call
from ordersys.runtime.urls import BrokerUrl, parse

AWAY, HANGS, REFUSES = "away", "hangs", "refuses"
SECONDS = 5.0


class Broker:
    """What there is at each URL: nobody, somebody who declares nothing, or one that works until it is cut."""

    def __init__(self, **states: str) -> None:
        self.states = states
        self.tried: list[str] = []
        self.closed = 0

    async def open(self, url: BrokerUrl, name: str) -> "Session":
        host = url.parameters.host
        self.tried.append(host)
        if self.states.get(host) == AWAY:
            raise BrokerUnavailable(host)
        return Session(self, self.states.get(host, ""))


class Session:
    """As much of a session as is used here."""

    def __init__(self, broker: Broker, state: str) -> None:
        self._broker = broker
        self._state = state
        self.closed: asyncio.Future[BrokerUnavailable] = asyncio.get_running_loop().create_future()

    @asynccontextmanager
    async def methods(self) -> AsyncIterator[Call]:
        async def call(method: str, **arguments: Any) -> None:
            if self._state == HANGS:
                await asyncio.get_running_loop().create_future()
            if self._state == REFUSES:
                raise BrokerUnavailable("refused")

        yield call

    def check(self) -> None:
        if self.closed.done():
            raise self.closed.result()

    def fail(self, error: BaseException) -> None:
        if not self.closed.done():
            self.closed.set_result(BrokerUnavailable(str(error)))

    async def close(self) -> None:
        self._broker.closed += 1


async def used(broker: Broker, urls: str, count: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URLs that are tried until that many sessions were used, each of which breaks at once."""
    monkeypatch.setattr(reconnect, "Session", broker)
    monkeypatch.setattr(reconnect, "_KNOWN_SECONDS", 0.1)
    monkeypatch.setattr(reconnect, "_NEW_SECONDS", 0.2)
    left = asyncio.Semaphore(0)

    async def use(session: Any) -> None:
        session.fail(BrokerUnavailable("cut"))
        left.release()

    task = asyncio.create_task(
        reconnect.keep_open(parse(",".join(f"amqp://{one}" for one in urls.split(","))), "test", use)
    )
    try:
        for _ in range(count):
            await asyncio.wait_for(left.acquire(), SECONDS)
        return list(broker.tried)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_each_has_its_turn_after_the_one_that_broke(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the first again, which may be the one that is ill."""
    assert await used(Broker(), "a,b,c", 4, monkeypatch) == ["a", "b", "c", "a"]


async def test_whoever_is_away_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """And tried again when its turn comes."""
    assert await used(Broker(a=AWAY), "a,b", 2, monkeypatch) == ["a", "b", "a", "b"]


@pytest.mark.parametrize("state", [HANGS, REFUSES])
async def test_a_broker_that_does_not_declare_is_passed_over_at_first(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody has declared yet may not be there: what is published would be lost."""
    assert await used(Broker(a=state), "a,b", 1, monkeypatch) == ["a", "b"]


@pytest.mark.parametrize("state", [HANGS, REFUSES])
async def test_what_was_declared_before_is_not_insisted_on(state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a node hangs the others may declare nothing, but publish they can."""
    assert await used(Broker(b=state), "a,b", 2, monkeypatch) == ["a", "b"]


async def test_every_session_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that was of no use."""
    broker = Broker(a=HANGS, b=AWAY)
    await used(broker, "a,b,c", 1, monkeypatch)
    assert broker.closed == 2

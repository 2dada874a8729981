"""One session after the other: which broker is tried when, and what is not waited for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ordersys.contract.topology import topology
from ordersys.runtime.rabbitmq import reconnecting
from ordersys.runtime.rabbitmq.channel import RpcChannel
from ordersys.runtime.rabbitmq.errors import BrokerRefused, BrokerUnavailable
from ordersys.runtime.rabbitmq.topology import Declarer
from ordersys.runtime.rabbitmq.urls import BrokerUrl, BrokerUrls, parse

AWAY, HANGS, REFUSES, LASTS, UNFORESEEN = "away", "hangs", "refuses", "refuses for good", "unforeseen"
SECONDS = 5.0


class Broker:
    """A broker at each URL: nobody, somebody who declares nothing, or one that works until it is cut."""

    def __init__(self, **states: str) -> None:
        self.states = states
        self.tried: list[str] = []
        self.closed = 0

    async def open(self, url: BrokerUrl, name: str) -> "Session":
        host = url.parameters.host
        self.tried.append(host)
        if self.states.get(host) == AWAY:
            raise BrokerUnavailable(host)
        if self.states.get(host) == UNFORESEEN:
            raise ValueError("nobody foresaw this URL")
        return Session(self, self.states.get(host, ""))


class Session:
    """As much of a session as is used here."""

    user = "guest"

    def __init__(self, broker: Broker, state: str) -> None:
        self._broker = broker
        self.state = state
        self.closed: asyncio.Future[BrokerUnavailable] = asyncio.get_running_loop().create_future()

    @asynccontextmanager
    async def rpc_channel(self) -> AsyncIterator[RpcChannel]:
        yield Channel(self.state)

    def check(self) -> None:
        if self.closed.done():
            raise self.closed.result()

    def abort(self, error: BaseException) -> None:
        if not self.closed.done():
            self.closed.set_result(error if isinstance(error, BrokerUnavailable) else BrokerUnavailable(str(error)))

    async def close(self) -> None:
        self._broker.closed += 1


class Channel(RpcChannel):
    """A channel on which every method has the fate of its broker."""

    def __init__(self, state: str) -> None:
        self._state = state

    async def _call(self, method: str, send: object) -> None:
        if self._state == HANGS:
            await asyncio.get_running_loop().create_future()
        if self._state == REFUSES:
            raise BrokerUnavailable("refused")
        if self._state == LASTS:
            raise BrokerRefused("refused for good", 406)


def brokers(hosts: str) -> BrokerUrls:
    """The brokers at these hosts, with commas between them."""
    return parse(",".join(f"amqp://{host}" for host in hosts.split(",")))


async def used(broker: Broker, urls: str, count: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URLs that are tried until that many sessions were used, each of which breaks at once."""
    monkeypatch.setattr(reconnecting, "Session", broker)
    monkeypatch.setattr(reconnecting, "_KNOWN_SECONDS", 0.1)
    monkeypatch.setattr(reconnecting, "_NEW_SECONDS", 0.2)
    left = asyncio.Semaphore(0)

    async def use(session: Any) -> None:
        session.abort(BrokerUnavailable("cut"))
        left.release()

    task = asyncio.create_task(reconnecting.keep_open(brokers(urls), "test", use))
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
    """A queue nobody has declared yet may not be there: an event published would be lost."""
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


async def test_a_url_nobody_foresaw_hides_none_behind_it_and_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Settings refuse what can't be used; should one slip through, the others are used, and the log has why."""
    assert await used(Broker(a=UNFORESEEN), "a,b", 3, monkeypatch) == ["a", "b"] * 3
    said = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 1 and said[0].exc_info
    assert "nobody foresaw this URL" in caplog.text


async def test_urls_none_of_which_can_be_used_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task fails, and with it the process (see test_tasks): nobody waits for a broker that can't be."""
    monkeypatch.setattr(reconnecting, "Session", Broker(a=UNFORESEEN, b=UNFORESEEN))

    async def use(session: Any) -> None:
        raise AssertionError("there is none")

    with pytest.raises(Exception, match="nobody foresaw this URL"):
        await asyncio.wait_for(reconnecting.keep_open(brokers("a,b"), "test", use), SECONDS)


async def test_a_session_now_is_had_from_the_url_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """For dead letters, say: what nobody foresaw at one URL hides none behind it; alone it is raised."""
    monkeypatch.setattr(reconnecting, "Session", Broker(a=UNFORESEEN, b=AWAY))
    async with reconnecting.opened(brokers("a,b,c"), "test"):
        pass
    with pytest.raises(BrokerUnavailable):
        await reconnecting.opened(brokers("a,b"), "test").__aenter__()
    with pytest.raises(ValueError, match="nobody foresaw this URL"):
        await reconnecting.opened(brokers("a"), "test").__aenter__()


@pytest.mark.parametrize("where", ["declare", "probe"])
async def test_what_nobody_foresaw_beside_a_session_is_raised(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Declaring and probing never end in silence: the session ends, and the task that keeps it fails."""
    broker = Broker()
    monkeypatch.setattr(reconnecting, "Session", broker)
    monkeypatch.setattr(reconnecting, "_PROBED_EVERY_SECONDS", 0.01)

    async def fail(*_: object) -> None:
        raise KeyError("nobody foresaw this")

    if where == "declare":
        monkeypatch.setattr(Declarer, "declare", fail)
    else:
        monkeypatch.setattr(reconnecting, "_probe_again_and_again", fail)

    async def use(session: Any) -> None:
        await asyncio.wait([session.closed])

    with pytest.raises(KeyError):
        await asyncio.wait_for(reconnecting.keep_open(brokers("a"), "test", use), SECONDS)
    assert broker.closed == 1


@pytest.mark.parametrize("cut", [True, False])
async def test_it_ends_when_cancelled_whatever_it_is_at(cut: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the moment in which its session breaks: a service that is told to stop waits for it."""
    monkeypatch.setattr(reconnecting, "Session", Broker())
    using = asyncio.Event()

    async def use(session: Any) -> None:
        using.set()
        await asyncio.wait([session.closed])
        session.check()

    sessions: list[Any] = []

    async def note(session: Any) -> None:
        sessions.append(session)
        await use(session)

    task = asyncio.create_task(reconnecting.keep_open(brokers("a"), "test", note))
    await asyncio.wait_for(using.wait(), SECONDS)
    if cut:
        sessions[0].abort(BrokerUnavailable("cut"))
        for _ in range(3):
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait_for(asyncio.wait([task]), SECONDS)
    assert task.cancelled()


async def test_a_refusal_is_told_until_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lasting refusal is handed to the health of the service; a broker that is away is no refusal."""
    refusals: list[BrokerRefused | None] = []
    answers = iter([BrokerRefused("no", 403), BrokerUnavailable("away"), BrokerRefused("no", 403)])

    class Refusing(Broker):
        async def open(self, url: BrokerUrl, name: str) -> "Session":
            if error := next(answers, None):
                raise error
            return await super().open(url, name)

    monkeypatch.setattr(reconnecting, "Session", Refusing())
    used_ = asyncio.Event()

    async def use(session: Any) -> None:
        used_.set()
        await asyncio.wait([session.closed])

    task = asyncio.create_task(reconnecting.keep_open(brokers("a"), "test", use, refusals.append))
    await asyncio.wait_for(used_.wait(), SECONDS)
    task.cancel()
    await asyncio.wait([task])
    assert [refusal and str(refusal) for refusal in refusals] == ["no", None, "no", None]


class Kept:
    """A session of which is seen what becomes of it, and what is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, consumed: str) -> None:
        self.broker = Broker()
        monkeypatch.setattr(reconnecting, "Session", self.broker)
        monkeypatch.setattr(reconnecting, "_DECLARED_EVERY_SECONDS", 0.01)
        self.sessions: asyncio.Queue[Any] = asyncio.Queue()
        self.refusals: asyncio.Queue[BrokerRefused | None] = asyncio.Queue()
        kept = reconnecting.keep_open(brokers("a"), "test", self._use, self.refusals.put_nowait, consumed)
        self._task = asyncio.create_task(kept)

    async def _use(self, session: Any) -> None:
        self.sessions.put_nowait(session)
        await asyncio.wait([session.closed])

    async def used(self) -> Any:
        """The next session that is given out."""
        return await asyncio.wait_for(self.sessions.get(), SECONDS)

    async def is_told(self, refused: bool) -> None:
        """Returns when that was told."""
        while (await asyncio.wait_for(self.refusals.get(), SECONDS) is not None) != refused:
            pass

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


async def test_whoever_publishes_has_no_session_while_the_topology_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The topology declared before is insisted on again: refused for good, an event published would be lost."""
    monkeypatch.setattr(reconnecting, "_KNOWN_SECONDS", 0.01)
    kept = Kept(monkeypatch, "")
    session = await kept.used()
    kept.broker.states["a"] = session.state = LASTS
    await asyncio.wait_for(asyncio.wait([session.closed]), SECONDS)
    tried = len(kept.broker.tried)
    while len(kept.broker.tried) < tried + 3:
        await kept.is_told(refused=True)
    kept.broker.states["a"] = HANGS  # nor is one given out that declares nothing for now
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(kept.sessions.get(), 0.5)
    await kept.close()


async def test_a_broker_that_declares_nothing_for_now_keeps_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that gives up a node takes events meanwhile; and what it refuses for good stays told."""
    kept = Kept(monkeypatch, "some-queue")
    session = await kept.used()
    await kept.is_told(refused=False)
    session.state = LASTS
    await kept.is_told(refused=True)
    session.state = REFUSES
    while not kept.refusals.empty():
        kept.refusals.get_nowait()
    for _ in range(20):
        await asyncio.sleep(0.01)
    assert kept.refusals.empty()
    assert not session.closed.done()
    session.state = ""
    await kept.is_told(refused=False)
    await kept.close()


async def test_whoever_consumes_goes_on_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it begins: its queue may deliver though that of its dead letters is another."""
    kept = Kept(monkeypatch, topology().queues[0].name)
    kept.broker.states["a"] = LASTS
    session = await kept.used()
    await kept.is_told(refused=True)
    session.state = ""
    await kept.is_told(refused=False)
    assert not session.closed.done()
    await kept.close()


@pytest.mark.parametrize(("urls", "refused"), [("a,b", False), ("a,c", True), ("c,b", True)])
async def test_where_no_broker_declares_a_refusal_is_told_from_silence(
    urls: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is somebody's task, the other may pass; the reasons of all are named."""
    monkeypatch.setattr(reconnecting, "Session", Broker(a=AWAY, b=REFUSES, c=LASTS))
    with pytest.raises(BrokerUnavailable, match="; ") as raised:
        await reconnecting.declare(brokers(urls))
    assert isinstance(raised.value, BrokerRefused) == refused

"""Messages go to a real broker and come back as they were, read and written in bulk or by pika alone."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from ordersys.local.system import System
from ordersys.runtime.rabbitmq import frames
from ordersys.runtime.rabbitmq.connection import Session
from ordersys.runtime.rabbitmq.errors import BrokerUnavailable
from ordersys.runtime.rabbitmq.messages import AmqpDelivery, Message, RawProperties
from ordersys.runtime.rabbitmq.urls import BrokerUrl, parse
from tests.contract.harness.amqp_properties import HOSTILE_HEADERS, counted, encoded, entry, short

SECONDS = 20
PREFETCH = 50
COUNT = 450


@pytest.fixture(params=[True, False], ids=["in bulk", "by pika"])
def in_bulk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """True when pika has the hooks."""
    assert frames.IN_BULK, "this release of pika has other hooks: everything works, at half of the rate"
    monkeypatch.setattr(frames, "IN_BULK", request.param)
    return bool(request.param)


@pytest.fixture
def queue(amqp: BlockingChannel) -> Iterator[str]:
    """A queue of the test's own."""
    name = str(amqp.queue_declare("").method.queue)
    yield name
    amqp.queue_delete(name)


def _messages(queue: str) -> list[Message]:
    """Small ones, empty ones, some of several frames, some with headers that no decoder takes."""
    hostile = list(HOSTILE_HEADERS.values())
    return [
        Message(
            "",
            queue,
            bytes([number % 251]) * (300_000 if number % 97 == 0 else number % 5),
            RawProperties.of(
                encoded(
                    {
                        "message_id": short(f"{number}".encode()),
                        "headers": counted(entry(b"odd", hostile[number % len(hostile)])),
                    }
                )
            ),
        )
        for number in range(COUNT)
    ]


@pytest.mark.usefixtures("in_bulk")
async def test_messages_come_back_as_they_were(system: System, queue: str) -> None:
    """Confirmed, in order, to the byte; pika sees none of them where it need not."""
    sent, heard = _messages(queue), list[AmqpDelivery]()
    session = await Session.open(_url(system), "frames")
    try:
        async with asyncio.timeout(SECONDS):
            assert all(await session.publish(sent))
            intake, complete = await session.intake(), asyncio.Event()

            def take(tag: int, delivery: AmqpDelivery) -> None:
                heard.append(delivery)
                intake.ack(tag, multiple=False)  # at once: the first come with the answer to consume
                if len(heard) == COUNT:
                    complete.set()

            await intake.begin(queue, PREFETCH, take)
            await complete.wait()
            await intake.cancel()
            await intake.close()
    finally:
        await session.close()
    assert [message.body for message in heard] == [message.body for message in sent]
    assert [message.properties for message in heard] == [b"".join(message.properties.encode()) for message in sent]
    assert [message.message_id for message in heard] == [str(number) for number in range(COUNT)]


@pytest.mark.usefixtures("in_bulk")
async def test_one_that_no_queue_takes_costs_the_others_nothing(system: System, queue: str) -> None:
    """It comes back, with its content in frames of its own between the confirms."""
    kept, lost = _messages(queue)[:20], _messages(f"no {queue}")[20:40]
    mixed = [message for pair in zip(kept, lost, strict=True) for message in pair]
    session = await Session.open(_url(system), "frames")
    try:
        async with asyncio.timeout(SECONDS):
            assert await session.publish(mixed) == [True, False] * 20
    finally:
        await session.close()


@pytest.mark.usefixtures("in_bulk")
async def test_nothing_is_taken_once_the_session_is_given_up(system: System, queue: str) -> None:
    """Deliveries that have come, or are on their way, come again on the next one: a session given up works on none."""
    tags = list[int]()
    session = await Session.open(_url(system), "frames")

    def take(tag: int, _: AmqpDelivery) -> None:
        tags.append(tag)
        session.abort(BrokerUnavailable("enough"))

    try:
        async with asyncio.timeout(SECONDS):
            assert all(await session.publish([Message("", queue, b"", RawProperties.of(b"\0\0"))] * COUNT))
            with suppress(BrokerUnavailable):  # it may be given up before anybody knows that it delivers
                await (await session.intake()).begin(queue, COUNT, take)
            await session.closed
    finally:
        await session.close()
    assert tags == [1]


async def test_what_is_published_is_read_past_pika(system: System, queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bulk means so: of each message pika makes neither frame nor properties."""
    made: list[object] = []
    monkeypatch.setattr(frames.Connection, "_send_message", lambda *arguments: made.append(arguments), raising=True)
    session = await Session.open(_url(system), "frames")
    try:
        async with asyncio.timeout(SECONDS):
            assert all(await session.publish(_messages(queue)))
    finally:
        await session.close()
    assert not made


def _url(system: System) -> BrokerUrl:
    (url,) = parse(system.amqp_url)
    return url

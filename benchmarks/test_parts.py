"""Parts of the runtime by themselves, in this process: so many events or items a round, counted afterwards."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from sqlalchemy import Connection

from benchmarks import samples
from benchmarks.baselines.bare_pika import Answers
from benchmarks.plan import PREFETCH, WINDOW
from ordersys.contract.events import EventMessage
from ordersys.contract.topology import subscriptions
from ordersys.local.system import System
from ordersys.notification_service.inbox import Inbox, schema
from ordersys.notification_service.recorder import Recorder
from ordersys.notification_service.text import created
from ordersys.runtime.outbox import Outbox
from ordersys.runtime.rabbitmq.connection import Session
from ordersys.runtime.rabbitmq.consumer import Consumer, Disposition
from ordersys.runtime.rabbitmq.messages import AmqpDelivery, of_event
from ordersys.runtime.rabbitmq.publisher import Publisher
from ordersys.runtime.rabbitmq.urls import parse
from ordersys.runtime.relay import Relay
from ordersys.runtime.storage.database import Database
from ordersys.runtime.storage.schema import Schema

EVENTS = 1000  # a round; as many as a publish window
ITEMS = 64  # callers that write at once, as with 64 calls in flight
ROUNDS = 5  # as in a full run
QUEUE = subscriptions()[0].queue
SCHEMA = Schema("benchmarks")
OUTBOX = Outbox(SCHEMA.metadata)


@pytest.fixture
def pika(broker: System) -> Iterator[Answers]:
    """A client that fills and empties queues, which are empty at first."""
    with closing(Answers(broker.amqp_url)) as answers:
        for subscription in subscriptions():
            answers.purge(subscription.queue)
        yield answers


def append(connection: Connection, batches: list[Sequence[EventMessage]]) -> list[None]:
    """An operation of the database."""
    for events in batches:
        OUTBOX.append(connection, events)
    return [None] * len(batches)


def test_group_commit(benchmark: BenchmarkFixture, runner: asyncio.Runner, tmp_path: Path) -> None:
    """64 callers write at once: two durable commits, of one item and of 63."""
    database = runner.run(Database.open(tmp_path / "t.db", SCHEMA))
    items = [[event] for event in samples.events(ITEMS)]

    async def write() -> None:
        await asyncio.gather(*(database.write(append, item) for item in items))

    benchmark.pedantic(lambda: runner.run(write()), rounds=20 * ROUNDS)
    runner.run(database.close())


def test_publish_with_confirms(
    benchmark: BenchmarkFixture, runner: asyncio.Runner, broker: System, pika: Answers
) -> None:
    """Publishes a thousand events, pipelined."""

    async def open_session() -> Session:
        return await Session.open(parse(broker.amqp_url)[0], "benchmark")

    session = runner.run(open_session())
    messages = [of_event(event, samples.TO) for event in samples.events(EVENTS)]
    assert all(benchmark.pedantic(lambda: runner.run(session.publish(messages)), rounds=ROUNDS))
    runner.run(session.close())


def test_consume_with_acks(benchmark: BenchmarkFixture, runner: asyncio.Runner, broker: System, pika: Answers) -> None:
    """Consumes a thousand deliveries with an ack for every hundred, and ignores them."""

    async def consume() -> int:
        session, tags = await Session.open(parse(broker.amqp_url)[0], "benchmark"), asyncio.Queue[int]()
        intake = await session.intake()
        await intake.begin(QUEUE, PREFETCH, lambda tag, _: tags.put_nowait(tag))
        for count in range(1, EVENTS + 1):
            tag = await tags.get()
            if count % 100 == 0:
                intake.ack(tag, multiple=True)
        await session.close()
        return count

    assert _rounds(benchmark, runner, pika, consume) == EVENTS


def test_relay(
    benchmark: BenchmarkFixture, runner: asyncio.Runner, broker: System, pika: Answers, tmp_path: Path
) -> None:
    """Relays a thousand rows: published, confirmed, deleted."""
    database = runner.run(Database.open(tmp_path / "t.db", SCHEMA))

    async def relay() -> int:
        # An outbox tells nobody that it is empty.
        async with asyncio.TaskGroup() as tasks:
            publisher = Publisher(tasks, parse(broker.amqp_url), "benchmark")
            relay = Relay(tasks, database, OUTBOX, publisher, WINDOW)
            while await database.read(OUTBOX.waiting):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            await relay.close()
            await publisher.close()
        return await database.read(OUTBOX.waiting)

    def fill() -> None:
        async def write() -> None:
            await database.write(append, samples.events(EVENTS))

        runner.run(write())

    assert benchmark.pedantic(lambda: runner.run(relay()), setup=fill, rounds=ROUNDS) == 0
    runner.run(database.close())


def test_consumer(
    benchmark: BenchmarkFixture, runner: asyncio.Runner, broker: System, pika: Answers, tmp_path: Path
) -> None:
    """Records a thousand deliveries: decoded, recorded durably once, acknowledged."""

    async def consume() -> int:
        async with AsyncExitStack() as stack:
            database = await Database.open(tmp_path / "n.db", schema("benchmark"))
            stack.push_async_callback(database.close)
            recorder = Recorder(database, Inbox("benchmark"), {_TYPE: created})
            counted = _Counted(recorder)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            consumer = Consumer(tasks, parse(broker.amqp_url), QUEUE, PREFETCH, counted.take)
            stack.push_async_callback(consumer.close)
            await counted.all
            return counted.recorded

    assert _rounds(benchmark, runner, pika, consume) == EVENTS


_TYPE = samples.created("").type


class _Counted:
    """A recorder that counts records."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.recorded = 0
        self.all: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def take(self, deliveries: list[AmqpDelivery]) -> Sequence[Disposition]:
        """Records the deliveries; their dispositions."""
        dispositions = await self._recorder.take(deliveries)
        self.recorded += dispositions.count(Disposition.ACK)
        if self.recorded >= EVENTS and not self.all.done():
            self.all.set_result(None)
        return dispositions


def _rounds(benchmark: BenchmarkFixture, runner: asyncio.Runner, pika: Answers, consume: Any) -> int:
    """Runs rounds, each of which begins with a thousand messages in the queue."""

    def fill() -> None:
        pika.publish(EVENTS, WINDOW, QUEUE)

    return int(benchmark.pedantic(lambda: runner.run(consume()), setup=fill, rounds=ROUNDS))

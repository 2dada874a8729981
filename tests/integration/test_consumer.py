"""Behaviour of a consumer that only shows from inside: its log, and its coming back. The rest is a contract law."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderUpdated
from ordersys.api.order.v1.order_pb2 import OrderState
from ordersys.contract.properties import Properties, entries
from ordersys.contract.topology import topology
from ordersys.local.system import Choices, System
from ordersys.runtime.rabbitmq import consumer as consumer_module
from ordersys.runtime.rabbitmq.channel import Intake
from ordersys.runtime.rabbitmq.consumer import Consumer, Disposition
from ordersys.runtime.rabbitmq.messages import AmqpDelivery
from ordersys.runtime.rabbitmq.reconnecting import declare
from ordersys.runtime.rabbitmq.urls import parse
from ordersys.runtime.storage.errors import StorageUnavailable
from tests.contract.harness.injector import SUBSCRIPTIONS, Injector
from tests.contract.harness.sample_orders import sample_order
from tests.integration.api import Api, eventually
from tests.integration.conftest import quietly

CLOSING_SECONDS = 5
COPIES = 30
# Longer than it took to use up a delivery limit of 5, at a second each time, when deliveries were held.
MANY_TIMEOUTS_SECONDS = 12
ROLE = "notification-service-2"
QUEUE = SUBSCRIPTIONS[ROLE].queue


def test_a_hostile_text_stays_one_parsable_line_of_the_log(system: System, api: Api, injector: Injector) -> None:
    """CR, LF, escapes and bidi marks in an event never break the log or reach a terminal raw."""
    hostile = sample_order(version=2)
    event = OrderUpdated(
        order=hostile,
        previous_state=OrderState.ORDER_STATE_PLACED,
        changed_fields=["items"],
    )
    injector.deliver(ROLE, event, message_id=f'\r\n{{"level": "forged"}}\x1b[31m\u202e\x00{hostile.id}')
    (heard,) = eventually(lambda: api.heard(2, hostile.id))
    log = system.services["notification_service_2"].log
    raw = eventually(lambda: [line for line in log.read_bytes().split(b"\n") if hostile.id.encode() in line])
    assert len(raw) == 1
    assert json.loads(raw[0])["message"] == heard.text
    assert not any(byte < 0x20 or byte > 0x7E for byte in raw[0])


def test_a_deleted_queue_is_declared_again(api: Api, amqp: BlockingChannel) -> None:
    """A consumer whose queue was taken away live comes back by itself and hears on."""
    amqp.queue_delete(QUEUE)
    product = api.new_product(1000)
    eventually(lambda: _heard_of_a_new_order(api, product))


def test_a_deleted_binding_is_declared_again(api: Api, amqp: BlockingChannel) -> None:
    """The broker tells nobody that a binding is gone; yet the queue soon gets what it should again."""
    for binding in topology().bindings:
        if binding.destination == QUEUE:
            amqp.queue_unbind(QUEUE, binding.source, binding.routing_key)
    product = api.new_product(1000)
    eventually(lambda: _heard_of_a_new_order(api, product))


def _heard_of_a_new_order(api: Api, product: str) -> bool:
    """True when service 2 hears of a new order: events published without its queue are gone, later ones come."""
    created = api.place({product: 1})
    eventually(lambda: api.heard(1, created.id))
    return bool(api.heard(2, created.id))


@pytest.fixture
def queue(amqp: BlockingChannel, injector: Injector) -> Iterator[str]:
    """A queue of the test's own with one event in it."""
    name = str(amqp.queue_declare("").method.queue)
    injector.route("", name, OrderCreated(order=sample_order()))
    yield name
    amqp.queue_delete(name)


async def test_a_consumer_closes_while_it_is_about_to_take_more(
    system: System, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the very moment in which it goes over from one delivery at a time to many."""
    cancelling = asyncio.Event()
    cancel = Intake.cancel

    async def note(intake: Intake) -> None:
        cancelling.set()
        await cancel(intake)

    async def record(deliveries: list[AmqpDelivery]) -> Sequence[Disposition]:
        return [Disposition.ACK] * len(deliveries)

    monkeypatch.setattr(Intake, "cancel", note)
    async with asyncio.TaskGroup() as tasks:
        consumer = Consumer(tasks, parse(system.amqp_url), queue, 10, record)
        await asyncio.wait_for(cancelling.wait(), CLOSING_SECONDS)
        await asyncio.wait_for(consumer.close(), CLOSING_SECONDS)


async def test_a_consumer_that_takes_many_from_the_start_gives_nothing_back(
    system: System, queue: str, injector: Injector
) -> None:
    """It needs no second subscription, to which RabbitMQ gives again what it had assigned to the first."""
    for _ in range(COPIES):
        injector.route("", queue, OrderCreated(order=sample_order()))
    heard: list[AmqpDelivery] = []
    all_heard = asyncio.Event()

    async def record(deliveries: list[AmqpDelivery]) -> Sequence[Disposition]:
        heard.extend(deliveries)
        if len(heard) > COPIES:
            all_heard.set()
        return [Disposition.ACK] * len(deliveries)

    async with asyncio.TaskGroup() as tasks:
        consumer = Consumer(tasks, parse(system.amqp_url), queue, 10, record, cautious=False)
        await asyncio.wait_for(all_heard.wait(), CLOSING_SECONDS)
        await asyncio.wait_for(consumer.close(), CLOSING_SECONDS)
    assert [delivery.redelivered for delivery in heard] == [False] * (COPIES + 1)


async def test_a_consumer_closes_while_nothing_can_be_recorded(
    system: System, queue: str, amqp: BlockingChannel
) -> None:
    """A delivery that waits for the database goes back to the queue, and is not lost."""
    tried = asyncio.Event()

    async def record(deliveries: list[AmqpDelivery]) -> Sequence[Disposition]:
        tried.set()
        raise StorageUnavailable("no room")

    async with asyncio.TaskGroup() as tasks:
        consumer = Consumer(tasks, parse(system.amqp_url), queue, 10, record)
        await asyncio.wait_for(tried.wait(), CLOSING_SECONDS)
        await asyncio.wait_for(consumer.close(), CLOSING_SECONDS)
    eventually(lambda: amqp.queue_declare(queue, passive=True).method.message_count == 1)


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[str]:
    """The URL of a broker that closes the AMQP channel of whoever holds a delivery for longer than a second."""
    private = System(tmp_path / "system", quietly, Choices(services=()))
    with private:
        for setting, milliseconds in (("consumer_timeout", 1000), ("channel_tick_interval", 200)):
            private.nodes[0].control("eval", f"application:set_env(rabbit, {setting}, {milliseconds}).")
        asyncio.run(declare(parse(private.amqp_url)))
        yield private.amqp_url


async def test_what_can_not_be_recorded_for_long_never_becomes_a_dead_letter(
    impatient: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given back once, and nothing is taken until it could be recorded: no time runs out, nothing is counted."""
    monkeypatch.setattr(consumer_module, "_HELD_SECONDS", 0.3)
    orders = [sample_order() for _ in range(10)]
    recorded: list[str] = []
    counts: list[int] = []
    loop = asyncio.get_running_loop()
    works_from = loop.time() + MANY_TIMEOUTS_SECONDS

    async def record(deliveries: list[AmqpDelivery]) -> Sequence[Disposition]:
        if loop.time() < works_from:
            raise StorageUnavailable("no room")
        recorded.extend(str(delivery.message_id) for delivery in deliveries)
        counts.extend(delivery_count(delivery) for delivery in deliveries)
        return [Disposition.ACK] * len(deliveries)

    with closing(Injector(impatient)) as injector:
        sent = [injector.deliver(ROLE, OrderCreated(order=order)) for order in orders]
        async with asyncio.TaskGroup() as tasks:
            consumer = Consumer(tasks, parse(impatient), QUEUE, 10, record)
            async with asyncio.timeout(2 * MANY_TIMEOUTS_SECONDS):
                while not set(recorded) >= set(sent):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.1)
            await consumer.close()
        assert injector.left_in(SUBSCRIPTIONS[ROLE].dead_letter_queue) == 0
    assert max(counts) <= 1


async def test_what_was_given_back_is_not_recorded_beside_what_still_is(
    system: System, queue: str, injector: Injector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deliveries that wait when a session is given up come again on the next, once the recording under way ended."""
    monkeypatch.setattr(consumer_module, "_HELD_SECONDS", 2.0)
    batches: list[int] = []
    under_way, may_end = asyncio.Event(), asyncio.Event()
    may_end.set()

    async def record(deliveries: list[AmqpDelivery]) -> Sequence[Disposition]:
        batches.append(len(deliveries))
        under_way.set()
        await may_end.wait()
        return [Disposition.ACK] * len(deliveries)

    def put(count: int) -> None:
        for _ in range(count):
            injector.route("", queue, OrderCreated(order=sample_order()))

    async with asyncio.TaskGroup() as tasks:
        consumer = Consumer(tasks, parse(system.amqp_url), queue, 10, record)
        async with asyncio.timeout(6 * CLOSING_SECONDS):
            while max(batches, default=0) < 2:  # it begins with one at a time
                put(5)
                await asyncio.sleep(0.1)
            under_way.clear()
            may_end.clear()
            put(1)
            await under_way.wait()
            before = len(batches)
            put(5)
            while consumer.live:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.1)
            assert len(batches) == before
            may_end.set()
            while injector.left_in(queue) or not consumer.live:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.1)
        await consumer.close()


def delivery_count(delivery: AmqpDelivery) -> int:
    """The number of earlier deliveries, as the broker counts them."""
    headers = {entry.name: entry.value for entry in entries(Properties(delivery.properties).table())}
    return int.from_bytes(headers.get(b"x-delivery-count", b""))


async def test_two_consumers_of_one_queue_are_said_loudly(
    system: System, queue: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each would record a part of the events, and nobody would know."""
    monkeypatch.setattr(consumer_module, "_IDLE_SECONDS", 0.1)

    async def record(deliveries: list[AmqpDelivery]) -> Sequence[Disposition]:
        return [Disposition.ACK] * len(deliveries)

    def said() -> list[str]:
        return [r.getMessage() for r in caplog.records if r.levelname == "ERROR" and queue in r.getMessage()]

    async with asyncio.TaskGroup() as tasks:
        consumers = [Consumer(tasks, parse(system.amqp_url), queue, 10, record)]
        async with asyncio.timeout(CLOSING_SECONDS):
            while not consumers[0].live:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.1)
        assert said() == []
        consumers.append(Consumer(tasks, parse(system.amqp_url), queue, 10, record))
        async with asyncio.timeout(4 * CLOSING_SECONDS):
            while not any("has 2 consumers" in text for text in said()):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.1)
        for consumer in consumers:
            await consumer.close()

"""Faults of messages: some that are no events, and one that kills whoever takes it. Only they are dead-lettered."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing

import pika
from pika.adapters.blocking_connection import BlockingChannel

from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.contract.topology import subscriptions
from tests.contract.orders import imagined
from tests.contract.post import SUBSCRIPTIONS, Post
from tests.contract.world import new_id
from tests.integration.faults.facts import Finding, Kind
from tests.integration.faults.fault import Fault, Scene
from tests.integration.faults.mortal import DEADLY
from tests.integration.faults.stage import RUN

_POISONS = 20
_DEAD_SECONDS = 15.0
_DEADLY_SECONDS = 300.0
_POLL = 0.1


def poison_faults() -> Iterator[Fault]:
    """Among healthy events."""
    yield Fault("poison", _poison)
    yield Fault("deadly event", _deadly)


def _poison(scene: Scene) -> Sequence[Finding]:
    """Messages that are no events: they, and nothing else, end in the dead-letter queues."""
    connection = pika.BlockingConnection(pika.URLParameters(scene.stage.amqp_url))
    channel = connection.channel()
    for number in range(_POISONS):
        properties = pika.BasicProperties(message_id=f"poison-{number}", type="nonsense", delivery_mode=2)
        channel.basic_publish("orders.created", "order.created", scene.dice.randbytes(20), properties)
        time.sleep(scene.dice.uniform(0.0, 0.05))
    expected = [f"poison-{number}" for number in range(_POISONS)]
    found = [_wrong(channel, taken.dead_letter_queue, expected, _DEAD_SECONDS) for taken in subscriptions()]
    connection.close()
    return [Finding(Kind.LOST, text) for text in found if text]


def _deadly(scene: Scene) -> Sequence[Finding]:
    """An event in a backlog kills its consumer each time it comes, with as many under way as there may be."""
    stage, role, name = scene.stage, "notification-service-2", "notification_service_2"
    order = imagined()
    order.customer_id = DEADLY
    event_id = new_id()
    stage.kill(name)
    scene.last(0.5, 4.0)
    with closing(Post(stage.amqp_url)) as post:
        post.deliver(role, OrderCreated(order=order), message_id=event_id)
    scene.last(0.2, 2.0)
    stage.give(name, **{RUN: "-m tests.integration.faults.mortal"})
    found = _dies_until_dead_lettered(scene, name, event_id)
    stage.give(name)
    stage.kill(name)
    stage.start(name)
    return [Finding(Kind.LOST, found)] if found else ()


def _dies_until_dead_lettered(scene: Scene, name: str, event_id: str) -> str:
    """Starts it again whenever it has died; what is wrong, nothing when this message alone is dead-lettered."""
    connection = pika.BlockingConnection(pika.URLParameters(scene.stage.amqp_url))
    channel, queue = connection.channel(), SUBSCRIPTIONS["notification-service-2"].dead_letter_queue
    until = time.monotonic() + _DEADLY_SECONDS
    while not _count(channel, queue) and time.monotonic() < until:
        scene.stage.start(name)
        time.sleep(_POLL)
    wrong = _wrong(channel, queue, [event_id], _DEAD_SECONDS)
    connection.close()
    return wrong


def _wrong(channel: BlockingChannel, queue: str, expected: Sequence[str], seconds: float) -> str:
    """Takes what there is out of a dead-letter queue; what is wrong about it, nothing when it is what was expected."""
    ids: list[str] = []
    until = time.monotonic() + seconds
    while (waiting := _count(channel, queue)) or (len(ids) < len(expected) and time.monotonic() < until):
        method, properties, _ = channel.basic_get(queue, auto_ack=True) if waiting else (None, None, None)
        if method is None or properties is None:
            time.sleep(_POLL)
        else:
            ids.append(str(properties.message_id))
    return "" if sorted(ids) == sorted(expected) else f"{queue} has {ids}"


def _count(channel: BlockingChannel, queue: str) -> int:
    return int(channel.queue_declare(queue, passive=True).method.message_count)

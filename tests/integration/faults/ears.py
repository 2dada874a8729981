"""Ears at both exchanges: durable queues of the harness' own, which no fault of a listener can touch."""

import uuid
from collections.abc import Iterator
from contextlib import suppress

import pika
from pika.adapters.blocking_connection import BlockingChannel

from ordersys.contract.events import Delivery, Event, Undecodable, decode
from ordersys.contract.topology import topology

_QUEUES = {exchange.name: f"faults.{exchange.name}" for exchange in topology().exchanges}
_ARGUMENTS = {"x-queue-type": "quorum"}
_PATIENCE_SECONDS = 30.0


def prick_up(url: str) -> None:
    """Lets the broker keep what comes from each exchange from now on; an ear that is there already goes on."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for exchange, queue in _QUEUES.items():
        channel.queue_declare(queue, durable=True, arguments=_ARGUMENTS)
        channel.queue_bind(queue, exchange, "#")
    connection.close()


def listen(url: str) -> dict[str, list[Event]]:
    """Takes what came from each exchange since the last time, up to now."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=1000)
    heard = {exchange: list(_take(channel, queue)) for exchange, queue in _QUEUES.items()}
    connection.close()
    return heard


def _take(channel: BlockingChannel, queue: str) -> Iterator[Event]:
    """Up to a message of its own: silence would prove nothing, a busy broker is silent too."""
    end = str(uuid.uuid4())
    channel.basic_publish("", queue, b"", pika.BasicProperties(message_id=end, delivery_mode=2))
    for method, found, body in channel.consume(queue, inactivity_timeout=_PATIENCE_SECONDS):
        if method is None or found is None or body is None:
            raise TimeoutError(f"the broker did not deliver all of {queue} within {_PATIENCE_SECONDS:.0f} s")
        channel.basic_ack(method.delivery_tag or 0)
        if found.message_id == end:
            break
        with suppress(Undecodable):  # poison of our own
            yield decode(Delivery(found.message_id, found.type, found.content_type, found.headers or {}, body))
    channel.cancel()

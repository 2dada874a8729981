"""Ears at both exchanges: durable queues of the harness' own, which no fault of a listener can touch."""

import time
from collections.abc import Iterator

import pika
from pika.adapters.blocking_connection import BlockingChannel

from ordersys.contract.events import Delivery, Event, Undecodable, decode
from ordersys.contract.topology import topology

_QUEUES = {exchange.name: f"faults.{exchange.name}" for exchange in topology().exchanges}
_ARGUMENTS = {"x-queue-type": "quorum"}
_SILENCE_SECONDS, _PATIENCE_SECONDS = 0.5, 30.0


def prick_up(url: str) -> None:
    """Lets the broker keep what comes from each exchange from now on; an ear that is there already goes on."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for exchange, queue in _QUEUES.items():
        channel.queue_declare(queue, durable=True, arguments=_ARGUMENTS)
        channel.queue_bind(queue, exchange, "#")
    connection.close()


def listen(url: str) -> dict[str, list[Event]]:
    """Takes what came from each exchange since the last time."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=1000)
    heard = {exchange: list(_take(channel, queue)) for exchange, queue in _QUEUES.items()}
    connection.close()
    return heard


def _take(channel: BlockingChannel, queue: str) -> Iterator[Event]:
    until = time.monotonic() + _PATIENCE_SECONDS
    for method, found, body in channel.consume(queue, inactivity_timeout=_SILENCE_SECONDS):
        if method is None or found is None or body is None:
            if time.monotonic() > until or not channel.queue_declare(queue, passive=True).method.message_count:
                break
            continue  # it is there, and on its way
        delivery = Delivery(found.message_id, found.type, found.content_type, found.headers or {}, body)
        try:
            yield decode(delivery)
        except Undecodable:
            continue  # poison of our own
        finally:
            channel.basic_ack(method.delivery_tag or 0)
    channel.cancel()

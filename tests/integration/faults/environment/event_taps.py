"""Event taps at both exchanges: durable queues of the harness' own, which no fault of a subscriber can touch."""

import time
import uuid
from collections.abc import Iterator

import pika
import pika.exceptions
from pika.adapters.blocking_connection import BlockingChannel

from ordersys.contract.events import Delivery, Event, Undecodable, decode
from ordersys.contract.topology import event_exchanges, subscriptions

_QUEUES = {exchange.name: f"faults.{exchange.name}" for exchange in event_exchanges()}
_ARGUMENTS = {"x-queue-type": "quorum"}
_LONGEST_SECONDS = 30.0
_POLL = 0.5


def declare(broker: pika.connection.Parameters) -> None:
    """Lets the broker keep what comes from each exchange from now on; a tap that is there already goes on."""
    connection = pika.BlockingConnection(broker)
    channel = connection.channel()
    for exchange, queue in _QUEUES.items():
        channel.queue_declare(queue, durable=True, arguments=_ARGUMENTS)
        channel.queue_bind(queue, exchange, "#")
    connection.close()


def read(broker: pika.connection.Parameters) -> dict[str, list[Event]]:
    """Takes what came from each exchange since the last time: all that was confirmed to anybody by now."""
    connection = pika.BlockingConnection(broker)
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=1000)
    received = {exchange: list(_take(channel, queue)) for exchange, queue in _QUEUES.items()}
    connection.close()
    return received


def crowded(broker: pika.connection.Parameters) -> dict[str, int]:
    """The consumers of each subscriber's queue beyond the one that may take from it."""
    connection = pika.BlockingConnection(broker)
    channel = connection.channel()
    counts = {s.queue: channel.queue_declare(s.queue, passive=True).method.consumer_count for s in subscriptions()}
    connection.close()
    return {f"consumers of {queue} too many": max(0, count - 1) for queue, count in counts.items()}


def _put(channel: BlockingChannel, queue: str, mark: str) -> None:
    """Publishes a mark; a queue whose broker has just been started again may refuse for a while."""
    until = time.monotonic() + _LONGEST_SECONDS
    properties = pika.BasicProperties(message_id=mark, delivery_mode=2)
    while True:
        try:
            channel.basic_publish("", queue, b"", properties, mandatory=True)
        except pika.exceptions.NackError:
            if time.monotonic() > until:
                raise
            time.sleep(_POLL)
        else:
            return


def _take(channel: BlockingChannel, queue: str) -> Iterator[Event]:
    """Up to a mark that is put at the end. Raises TimeoutError when that does not come."""
    mark = str(uuid.uuid4())
    _put(channel, queue, mark)
    for method, properties, body in channel.consume(queue, inactivity_timeout=_LONGEST_SECONDS):
        if method is None or properties is None or body is None:
            raise TimeoutError(f"{queue} brings no more, and not its end")
        channel.basic_ack(method.delivery_tag or 0)
        if properties.message_id == mark:
            break
        try:
            yield decode(Delivery(properties.message_id, properties.type, properties.content_type, body))
        except Undecodable:
            continue  # poison of our own, or a mark nobody has come for
    channel.cancel()

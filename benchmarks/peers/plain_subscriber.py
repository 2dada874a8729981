"""A notification service as many would write it: `python -m benchmarks.peers.plain_subscriber SERVICE MANNER`.

BlockingConnection, one delivery at a time. `guaranteed` records durably once and then acknowledges; `careless` is
sent deliveries that count as acknowledged at once, and commits without waiting for the disk.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pika

from benchmarks.peers.plain_parts import Database, start
from benchmarks.plan import PREFETCH
from ordersys.contract.events import Delivery, decode
from ordersys.contract.topology import subscriptions
from ordersys.runtime.base.ids import now

_RECORD = (
    "INSERT OR IGNORE INTO notifications (consumer, event_id, type, order_id, version, late, text, record_time, body)"
    " VALUES (?, ?, ?, ?, ?, 0, 'placed', ?, ?)"
)


class Subscriber:
    """Consumes one queue."""

    def __init__(self, consumer: str, guaranteed: bool) -> None:
        self._consumer = consumer
        self._guaranteed = guaranteed
        self._database = Database(consumer, guaranteed)

    def run(self) -> None:
        """Consumes until the connection ends."""
        (queue,) = [known.queue for known in subscriptions() if known.consumer == self._consumer]
        connection = pika.BlockingConnection(pika.URLParameters(os.environ["ORDERSYS_AMQP_URL"]))
        channel = connection.channel()
        channel.basic_qos(prefetch_count=PREFETCH)
        channel.basic_consume(queue, self._on_message, auto_ack=not self._guaranteed)
        channel.start_consuming()

    def _on_message(self, channel: Any, method: Any, found: Any, body: bytes) -> None:
        event = decode(Delivery(found.message_id, found.type, found.content_type, body))
        row = (self._consumer, event.event_id, event.type, event.order_id, event.version, now(), body)
        with self._database.transaction() as connection:
            connection.execute(_RECORD, row)
        if self._guaranteed:
            channel.basic_ack(method.delivery_tag)


def main(service: str, manner: str) -> None:
    """Serves health, and consumes."""
    server = grpc.server(ThreadPoolExecutor(2))  # kept: it ends with its last reference
    start(server, service)
    Subscriber(service.replace("_", "-"), manner == "guaranteed").run()


if __name__ == "__main__":
    main(*sys.argv[1:])

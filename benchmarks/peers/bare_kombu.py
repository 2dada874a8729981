"""RabbitMQ through kombu and nothing else: `python -m benchmarks.peers.bare_kombu URL`; requests are lines of JSON.

The same messages, queues, confirms and acks as bare pika has; kombu confirms one message before the next.
"""

import sys
from typing import Any

from kombu import Connection, Consumer, Producer, Queue

from benchmarks.baselines.messages import Route, created_route, messages
from benchmarks.children import answer_all
from benchmarks.processor import Spent, Stopwatch

_ACKED_AT_A_TIME = 100  # messages, with one ack (multiple): the cheapest way that bare clients have


class Answers:
    """Serves the requests of the benchmark about one broker."""

    def __init__(self, url: str) -> None:
        self._url = url

    def answer(self, do: str, **arguments: Any) -> Spent:
        """Calls the method named `do`; its result."""
        with Connection(self._url, transport_options={"confirm_publish": True}) as connection:
            spent: Spent = getattr(self, do)(connection, **arguments)
            return spent

    def publish(self, connection: Any, count: int, window: int, queue: str = "") -> Spent:
        """Publishes `count` messages; kombu has no window. The time it took."""
        route = Route("", queue) if queue else created_route()
        producer, sent = Producer(connection.channel(), auto_declare=False), list(messages(count))
        watch = Stopwatch()
        for body, properties in sent:
            producer.publish(
                body,
                route.routing_key,
                exchange=route.exchange,
                delivery_mode=2,
                content_type=properties.content_type,
                content_encoding="binary",
                headers=properties.headers,
                message_id=properties.message_id,
                type=properties.type,
            )
        return watch.read()

    def consume(self, connection: Any, queue: str, count: int, prefetch: int) -> Spent:
        """Consumes `count` messages, with an ack for every hundred; the time it took."""
        left, watch = count, Stopwatch()

        def take(message: Any) -> None:
            nonlocal left, watch
            watch, left = (Stopwatch() if left == count else watch), left - 1
            if left % _ACKED_AT_A_TIME == 0:
                message.ack(multiple=True)

        consumer = Consumer(connection.channel(), [Queue(queue, no_declare=True)], auto_declare=False)
        consumer.on_message = take
        consumer.qos(prefetch_count=prefetch)
        with consumer:
            while left:
                connection.drain_events(timeout=30)
        return watch.read()


if __name__ == "__main__":
    answer_all(Answers(sys.argv[1]).answer)

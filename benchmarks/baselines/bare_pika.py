"""RabbitMQ through pika and nothing else: `python -m benchmarks.baselines.bare_pika URL`; requests are lines of JSON.

A user behind the URL is the one that its certificate names, and that each message names as its publisher.

Persistent messages into the product's own durable quorum queues, with confirms; consumed with acks. No outbox and
no inbox: what is lost or doubled here stays so.
"""

import sys
import time
from functools import partial
from typing import Any

import pika
from pika.adapters.select_connection import SelectConnection
from pika.channel import Channel
from pika.credentials import ExternalCredentials

from benchmarks.baselines.messages import Message, Route, created_route, messages
from benchmarks.children import answer_all
from benchmarks.processor import Spent, Stopwatch

_ACKED_AT_A_TIME = 100  # messages, with one ack (multiple): the cheapest way that bare clients have


class Pipelined:
    """Publishes with confirms, never more than `window` unconfirmed; `spent` is the time until the last confirm."""

    def __init__(self, url: str, route: Route, sent: list[Message], window: int) -> None:
        self._route = route
        self._sent = sent
        self._window = window
        self._next = self._confirmed = 0
        self.spent: Spent = (0.0, 0.0)
        self._connection = _connected(url, self._on_channel)
        self._connection.ioloop.start()
        self._connection.ioloop.close()

    def _on_channel(self, channel: Channel) -> None:
        self._channel = channel
        channel.confirm_delivery(self._on_confirm, callback=self._start)

    def _start(self, _: object) -> None:
        self._watch = Stopwatch()
        self._fill()

    def _fill(self) -> None:
        last = min(self._confirmed + self._window, len(self._sent))
        for body, properties in self._sent[self._next : last]:
            self._channel.basic_publish(*self._route, body, properties, mandatory=True)
        self._next = last

    def _on_confirm(self, frame: Any) -> None:
        if frame.method.NAME != "Basic.Ack":
            raise RuntimeError("the broker refused a message")
        tag = frame.method.delivery_tag
        # Without `multiple` confirms may come out of order: counting them is enough to keep the window.
        self._confirmed = max(self._confirmed, tag) if frame.method.multiple else self._confirmed + 1
        if self._confirmed >= len(self._sent):
            self.spent = self._watch.read()
            self._connection.close()
        elif self._confirmed >= self._next - self._window // 2:
            self._fill()


class Consumed:
    """Consumes `count` messages, acks by the hundred; `spent` is the time from the first delivery to the last ack."""

    def __init__(self, url: str, queue: str, count: int, prefetch: int) -> None:
        self._queue = queue
        self._left = count
        self._prefetch = prefetch
        self._watch: Stopwatch | None = None
        self.spent: Spent = (0.0, 0.0)
        self._connection = _connected(url, self._on_channel)
        self._connection.ioloop.start()
        self._connection.ioloop.close()

    def _on_channel(self, channel: Channel) -> None:
        channel.basic_qos(prefetch_count=self._prefetch, callback=partial(self._consume, channel))

    def _consume(self, channel: Channel, _: object) -> None:
        channel.basic_consume(self._queue, self._on_message)

    def _on_message(self, channel: Channel, method: Any, _: object, __: bytes) -> None:
        self._watch = self._watch or Stopwatch()
        self._left -= 1
        if self._left % _ACKED_AT_A_TIME == 0:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if self._left == 0:
            self.spent = self._watch.read()
            self._connection.close()


def _connected(url: str, on_channel: Any) -> SelectConnection:
    def closed(connection: SelectConnection, error: BaseException) -> None:
        connection.ioloop.stop()

    return SelectConnection(
        _parameters(url),
        on_open_callback=lambda connection: connection.channel(on_open_callback=on_channel),
        on_open_error_callback=closed,
        on_close_callback=closed,
    )


def _parameters(url: str) -> pika.URLParameters:
    parameters = pika.URLParameters(url)
    if parameters.ssl_options is not None:
        parameters.credentials = ExternalCredentials()
    return parameters


class Answers:
    """Serves the requests of the benchmark about one broker."""

    def __init__(self, url: str, user: str | None = None) -> None:
        self._url = url
        self._user = user
        parameters = _parameters(url)
        parameters.heartbeat = 0  # nobody answers heartbeats between two requests
        self._blocking = pika.BlockingConnection(parameters)
        self._channel = self._blocking.channel()
        self._confirming = self._blocking.channel()
        self._confirming.confirm_delivery()

    def answer(self, do: str, **arguments: Any) -> Any:
        """Calls the method named `do`; its result."""
        self._blocking.process_data_events(0)
        return getattr(self, do)(**arguments)

    def close(self) -> None:
        """Closes the connection."""
        self._blocking.close()

    def publish(self, count: int, window: int, queue: str = "") -> Spent:
        """Publishes `count` messages through the product's exchange, or straight into `queue`; the time it took."""
        route = Route("", queue) if queue else created_route()
        return Pipelined(self._url, route, list(messages(count, self._user)), window).spent

    def publish_one_by_one(self, count: int) -> list[float]:
        """Publishes `count` messages one by one, each confirmed before the next; the seconds of each."""
        route, took = created_route(), []
        for body, properties in messages(count, self._user):
            began = time.monotonic()
            self._confirming.basic_publish(*route, body, properties, mandatory=True)
            took.append(time.monotonic() - began)
        return took

    def consume(self, queue: str, count: int, prefetch: int) -> Spent:
        """Consumes `count` messages; the time it took."""
        return Consumed(self._url, queue, count, prefetch).spent

    def ready(self, queue: str) -> int:
        """The number of messages ready in `queue`."""
        return int(self._channel.queue_declare(queue, passive=True).method.message_count)

    def purge(self, queue: str) -> None:
        """Empties `queue`."""
        self._channel.queue_purge(queue)


if __name__ == "__main__":
    answer_all(Answers(*sys.argv[1:]).answer)

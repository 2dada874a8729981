"""RabbitMQ through nameko and nothing else: `python -m benchmarks.peers.bare_nameko URL`; requests are lines of JSON.

The same messages and queues as bare pika has; a green thread for each delivery, acknowledged by itself. nameko
publishes as kombu does, one confirmed message before the next, and is not asked to.
"""

import sys
import warnings
from typing import Any

warnings.simplefilter("ignore")  # eventlet is deprecated, and says so everywhere

import eventlet  # noqa: E402

eventlet.monkey_patch()

from eventlet.event import Event  # noqa: E402
from kombu import Queue  # noqa: E402
from kombu.serialization import register  # noqa: E402
from nameko.containers import ServiceContainer  # noqa: E402
from nameko.messaging import consume  # noqa: E402

from benchmarks.children import answer_all  # noqa: E402
from benchmarks.processor import Spent, Stopwatch  # noqa: E402
from ordersys.contract.events import CONTENT_TYPE  # noqa: E402

_SERIALIZER = "protobuf"
register(_SERIALIZER, bytes, bytes, content_type=CONTENT_TYPE, content_encoding="binary")


class Answers:
    """Serves the requests of the benchmark about one broker."""

    def __init__(self, url: str) -> None:
        self._url = url

    def answer(self, do: str, queue: str, count: int, prefetch: int) -> Spent:
        """Consumes `count` messages; the time from the first delivery to the end of the last handler."""
        watch, left, done = Stopwatch(), count, Event()

        def take(service: object, body: Any) -> None:
            nonlocal watch, left
            watch, left = (Stopwatch() if left == count else watch), left - 1
            if left == 0:
                done.send(watch.read())

        counting = {"name": "counting", "take": consume(queue=Queue(queue, no_declare=True))(take)}
        settings = {"AMQP_URI": self._url, "max_workers": prefetch, "serializer": _SERIALIZER}
        container = ServiceContainer(type("Counting", (), counting), settings)
        container.start()
        spent: Spent = done.wait()
        container.stop()
        return spent


if __name__ == "__main__":
    answer_all(Answers(sys.argv[1]).answer)

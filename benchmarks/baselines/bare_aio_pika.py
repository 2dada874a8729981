"""RabbitMQ through aio-pika and nothing else: `python -m benchmarks.baselines.bare_aio_pika URL LOOP`.

The same messages, queues, confirms and acks as bare pika has, the library's own way of pipelining.
"""

import asyncio
import json
import sys
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from benchmarks import loops
from benchmarks.baselines.messages import Message, Route, created_route, messages
from benchmarks.processor import Spent, Stopwatch

_ACKED_AT_A_TIME = 100  # messages, with one ack (multiple): the cheapest way that bare clients have


class Answers:
    """Serves the requests of the benchmark about one broker."""

    def __init__(self, connection: aio_pika.abc.AbstractConnection) -> None:
        self._connection = connection

    async def publish(self, count: int, window: int, queue: str = "") -> Spent:
        """Publishes `count` messages, `window` of them unconfirmed at a time; the time it took."""
        route = Route("", queue) if queue else created_route()
        async with self._connection.channel(publisher_confirms=True) as channel:
            exchange = await channel.get_exchange(route.exchange, ensure=False) if route.exchange else None
            target = exchange or channel.default_exchange
            sent = [_message(message) for message in messages(count)]
            watch = Stopwatch()
            for first in range(0, count, window):
                portion = sent[first : first + window]
                await asyncio.gather(*(target.publish(message, route.routing_key) for message in portion))
            return watch.read()

    async def consume(self, queue: str, count: int, prefetch: int) -> Spent:
        """Consumes `count` messages, an ack for every hundred; the time from the first delivery to the last ack."""
        async with self._connection.channel() as channel:
            await channel.set_qos(prefetch)
            deliveries = _Taken(count)
            await (await channel.get_queue(queue, ensure=False)).consume(deliveries.take)
            return await deliveries.done


class _Taken:
    """Counts deliveries."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._watch: Stopwatch | None = None
        self.done: asyncio.Future[Spent] = asyncio.get_running_loop().create_future()

    async def take(self, message: AbstractIncomingMessage) -> None:
        self._watch = self._watch or Stopwatch()
        self._left -= 1
        if self._left % _ACKED_AT_A_TIME == 0:
            await message.ack(multiple=True)
        if self._left == 0:
            self.done.set_result(self._watch.read())


def _message(message: Message) -> aio_pika.Message:
    properties: Any = message.properties
    return aio_pika.Message(
        message.body,
        headers=properties.headers,
        content_type=properties.content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=properties.message_id,
        timestamp=properties.timestamp,
        type=properties.type,
    )


async def main(url: str) -> None:
    """Serves requests from standard input until it ends."""
    loop = asyncio.get_running_loop()
    async with await aio_pika.connect(url) as connection:
        answers = Answers(connection)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            question: dict[str, Any] = json.loads(line)
            print(json.dumps(await getattr(answers, question.pop("do"))(**question)), flush=True)


if __name__ == "__main__":
    loops.run(sys.argv[2], main(sys.argv[1]))

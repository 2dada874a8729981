"""RabbitMQ through FastStream and nothing else: `python -m benchmarks.peers.bare_faststream URL LOOP`.

The same messages, queues and confirms as bare pika has; it acknowledges each delivery by itself.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitBroker, RabbitExchange, RabbitMessage, RabbitQueue

from benchmarks import loops
from benchmarks.baselines.messages import Message, Route, created_route, messages
from benchmarks.processor import Spent, Stopwatch


async def publish(url: str, count: int, window: int, queue: str = "") -> Spent:
    """Publishes `count` messages, `window` of them unconfirmed at a time; the time it took."""
    route = Route("", queue) if queue else created_route()
    exchange = RabbitExchange(route.exchange, declare=False) if route.exchange else None
    async with RabbitBroker(url, default_channel=Channel(publisher_confirms=True), logger=None) as broker:
        sent, watch = list(messages(count)), Stopwatch()
        for first in range(0, count, window):
            portion = sent[first : first + window]
            await asyncio.gather(*(_publish(broker, exchange, route.routing_key, message) for message in portion))
        return watch.read()


async def consume(url: str, queue: str, count: int, prefetch: int) -> Spent:
    """Consumes `count` messages; the time from the first delivery to the end of the last handler."""
    done: asyncio.Future[Spent] = asyncio.get_running_loop().create_future()
    left, watch = count, Stopwatch()
    broker = RabbitBroker(url, default_channel=Channel(prefetch_count=prefetch), logger=None)

    async def take(message: RabbitMessage) -> None:
        nonlocal left, watch
        watch, left = (Stopwatch() if left == count else watch), left - 1
        if left == 0:
            done.set_result(watch.read())

    subscriber: Any = broker.subscriber(RabbitQueue(queue, declare=False), ack_policy=AckPolicy.ACK)
    subscriber(take)
    async with broker:
        await broker.start()
        return await done


async def _publish(broker: RabbitBroker, exchange: RabbitExchange | None, key: str, message: Message) -> None:
    properties: Any = message.properties
    await broker.publish(
        message.body,
        exchange=exchange,
        routing_key=key,
        persist=True,
        headers=properties.headers,
        content_type=properties.content_type,
        message_id=properties.message_id,
        message_type=properties.type,
    )


async def main(url: str) -> None:
    """Serves requests from standard input until it ends."""
    loop = asyncio.get_running_loop()
    known: dict[str, Callable[..., Awaitable[Spent]]] = {"publish": publish, "consume": consume}
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        question: dict[str, Any] = json.loads(line)
        print(json.dumps(await known[question.pop("do")](url, **question)), flush=True)


if __name__ == "__main__":
    loops.run(sys.argv[2], main(sys.argv[1]))

"""RabbitMQ through FastStream and nothing else: `python -m benchmarks.peers.bare_faststream URL`.

The same messages, queues and confirms as bare pika has; it acknowledges each delivery by itself.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitBroker, RabbitExchange, RabbitMessage, RabbitQueue

from benchmarks.baselines.messages import Message, Route, created_route, messages


async def publish(url: str, count: int, window: int, queue: str = "") -> float:
    """Seconds for that many, `window` at a time under way."""
    route = Route("", queue) if queue else created_route()
    exchange = RabbitExchange(route.exchange, declare=False) if route.exchange else None
    async with RabbitBroker(url, default_channel=Channel(publisher_confirms=True), logger=None) as broker:
        sent, began = list(messages(count)), time.monotonic()
        for first in range(0, count, window):
            portion = sent[first : first + window]
            await asyncio.gather(*(_publish(broker, exchange, route.routing_key, one) for one in portion))
        return time.monotonic() - began


async def consume(url: str, queue: str, count: int, prefetch: int) -> float:
    """Seconds for as many, from the first delivery to the last one's handling."""
    done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    left, began = count, 0.0
    broker = RabbitBroker(url, default_channel=Channel(prefetch_count=prefetch), logger=None)

    async def take(message: RabbitMessage) -> None:
        nonlocal left, began
        began, left = began or time.monotonic(), left - 1
        if left == 0:
            done.set_result(time.monotonic() - began)

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
    """Answers until there are no more questions."""
    loop = asyncio.get_running_loop()
    known: dict[str, Callable[..., Awaitable[float]]] = {"publish": publish, "consume": consume}
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        question: dict[str, Any] = json.loads(line)
        print(await known[question.pop("do")](url, **question), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

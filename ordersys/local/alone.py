"""Makes sure that a system is alone at a broker of somebody else's: of two, each would get a part of the events."""

import asyncio
import time
from collections.abc import Collection, Sequence

from ordersys.contract.topology import subscriptions
from ordersys.local.choices import CannotStart
from ordersys.runtime.rabbitmq.reconnecting import opened
from ordersys.runtime.rabbitmq.urls import BrokerUrls, shown

_ENDED_SECONDS, _POLL_SECONDS = 5.0, 0.25  # a consumer that has just ended may be known to the broker for a moment


def check_alone(urls: BrokerUrls, modules: Collection[str], ours: int) -> None:
    """Looks at the queues of `modules`, from each of which `ours` consumers are known to take.

    Blocks. Raises CannotStart where others take from one of them, too, and BrokerUnavailable.
    """
    own = [subscription for subscription in subscriptions() if subscription.consumer.replace("-", "_") in modules]
    queues = [queue for subscription in own for queue in (subscription.queue, subscription.dead_letter_queue)]
    until = time.monotonic() + _ENDED_SECONDS
    while busy := asyncio.run(_crowded(urls, queues, ours)):
        if time.monotonic() > until:
            raise CannotStart(
                f"another system runs at {shown(urls)}: {busy} has its consumer, and of two systems each would get a"
                " part of the events; stop that one, or name another virtual host with --amqp-url"
            )
        time.sleep(_POLL_SECONDS)


async def _crowded(urls: BrokerUrls, queues: Sequence[str], most: int) -> str:
    """The first of these queues with more consumers, empty when there is none. Raises BrokerUnavailable."""
    async with opened(urls, "launcher") as session:
        for queue in queues:
            if await session.consumers(queue) > most:
                return queue
    return ""

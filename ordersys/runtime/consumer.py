"""Takes deliveries from a queue: decoded, recorded, then settled, in batches; dead letters one by one.

Nothing is acknowledged before it is recorded. What can't be an event is a dead letter at once; what the
handler fails on comes back until its delivery limit; while the database can't be written, all wait.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from enum import Enum
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

from ordersys.contract.errors import Refused
from ordersys.contract.events import Delivery, Event, Undecodable, decode
from ordersys.runtime.batching import Batcher
from ordersys.runtime.broker import BrokerUnavailable, Session
from ordersys.runtime.crash import crash_point
from ordersys.runtime.pauses import growing
from ordersys.runtime.reconnect import keep_open
from ordersys.runtime.tasks import endless
from ordersys.runtime.urls import BrokerUrls
from ordersys.runtime.waiting import first

_log = logging.getLogger(__name__)
_REST_SECONDS = 0.02  # a lone delivery is recorded at once; of a stream few commits are made


class Disposition(Enum):
    """What becomes of a delivery."""

    ACK = "ack"
    DEAD_LETTER = "dead letter"
    RETURN = "return"


Record = Callable[[list[Event]], Awaitable[Sequence[Disposition]]]


class Tagged(NamedTuple):
    """A delivery with the tag it is settled by."""

    tag: int
    delivery: Delivery


class Consumer:
    """A subscription that is kept alive; `live` while the broker delivers to it."""

    def __init__(self, tasks: asyncio.TaskGroup, urls: BrokerUrls, queue: str, prefetch: int, record: Record) -> None:
        self._queue = queue
        self._prefetch = prefetch
        self._record = record
        self.live = False
        self._closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._in_use = asyncio.Lock()
        self._task = endless(tasks, "consumer", keep_open(urls, f"{queue} consumer", self._use))

    async def close(self) -> None:
        """Takes no more, finishes what was delivered, and closes the connection."""
        self.live = False
        self._closing.set_result(None)
        async with self._in_use:
            self._task.cancel()
        await asyncio.wait([self._task])

    async def _use(self, session: Session) -> None:
        """Begins with one delivery at a time: one that kills the process then drives only itself to its limit."""
        fresh: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        deliveries: Batcher[Tagged, None] = Batcher(partial(self._work, session, fresh), self._prefetch, _REST_SECONDS)

        def take(tag: int, delivery: Delivery) -> None:
            deliveries.put(Tagged(tag, delivery))

        async with self._in_use:
            try:
                await self._take_until(session, 1, take, fresh)
                await self._take_until(session, self._prefetch, take, session.closed)
            finally:
                self.live = False
                await deliveries.drained()

    async def _take_until(
        self, session: Session, prefetch: int, take: Callable[[int, Delivery], None], end: "asyncio.Future[Any]"
    ) -> None:
        """Takes deliveries until `end`, or until it is to close."""
        if self._closing.done():
            return
        await session.consume(self._queue, prefetch, take)
        self.live = not self._closing.done()
        await first(end, session.closed, self._closing)
        await session.cancel()

    async def _work(self, session: Session, fresh: "asyncio.Future[None]", batch: list[Tagged]) -> list[None]:
        """What can't be worked on, for a reason nobody foresaw, comes again on a new session."""
        try:
            await self._settle(session, fresh, batch)
        except Exception as error:  # noqa: BLE001 - logged, and all of it comes again
            _log.exception("the deliveries under way come again")
            session.fail(error)
        return [None] * len(batch)

    async def _settle(self, session: Session, fresh: "asyncio.Future[None]", batch: list[Tagged]) -> None:
        for portion in _portions(batch):
            crash_point("consumer.delivered")
            dispositions = await self._decide(session, portion)
            crash_point("consumer.recorded")
            if session.closed.done():  # they come again on the next session
                break
            _settle(session, portion, dispositions)
            crash_point("consumer.settled")
        if not fresh.done() and not all(tagged.delivery.redelivered for tagged in batch):
            fresh.set_result(None)

    async def _decide(self, session: Session, portion: list[Tagged]) -> list[Disposition]:
        dispositions = [Disposition.DEAD_LETTER] * len(portion)
        events: dict[int, Event] = {}
        for index, tagged in enumerate(portion):
            try:
                events[index] = decode(tagged.delivery)
            except Undecodable as error:
                _log.error("dead letter: %r from %s: %s", tagged.delivery.message_id, self._queue, error)
        if events:
            recorded = await self._recorded(session, list(events.values()))
            for index, disposition in zip(events, recorded, strict=True):
                dispositions[index] = disposition
        return dispositions

    async def _recorded(self, session: Session, events: list[Event]) -> Sequence[Disposition]:
        """Tries until the database takes them, or the session is gone and they come again anyway."""
        for pause in growing():
            try:
                return await self._record(events)
            except Refused as error:
                _log.warning("%d deliveries wait: %s", len(events), error)
            await first(session.closed, self._closing, seconds=pause)
            if self._closing.done():
                session.fail(BrokerUnavailable("stopped with deliveries that could not be recorded; they come again"))
            if session.closed.done():
                break
        return [Disposition.RETURN] * len(events)


def _portions(batch: list[Tagged]) -> Iterator[list[Tagged]]:
    """Fresh deliveries together, in order; redelivered ones each alone."""
    for redelivered, run in groupby(batch, key=lambda tagged: tagged.delivery.redelivered):
        if redelivered:
            yield from ([tagged] for tagged in run)
        else:
            yield list(run)


def _settle(session: Session, portion: list[Tagged], dispositions: list[Disposition]) -> None:
    """One ack for each run of deliveries up to one that must be refused."""
    pairs = zip(portion, dispositions, strict=True)
    try:
        for acked, run in groupby(pairs, key=lambda pair: pair[1] is Disposition.ACK):
            settled = list(run)
            if acked:
                session.ack(settled[-1][0].tag, multiple=True)
            else:
                for tagged, disposition in settled:
                    session.reject(tagged.tag, requeue=disposition is Disposition.RETURN)
    except BrokerUnavailable as error:
        _log.warning("not acknowledged, they come again: %s", error)

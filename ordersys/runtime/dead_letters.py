"""A dead-letter queue, looked through from end to end; what is not taken out of it goes back in the order it had.

(A quorum queue delivers first what was returned, in the order of return: who returned only a part would turn it.)
A message is put back into its own queue before it leaves this one: whatever dies in between, it is in one of them.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from typing import NamedTuple

from ordersys.contract.events import Delivery
from ordersys.contract.topology import Subscription
from ordersys.runtime.broker import BrokerUnavailable, Session
from ordersys.runtime.consumer import Tagged
from ordersys.runtime.crash import crash_point
from ordersys.runtime.messages import again
from ordersys.runtime.reconnect import opened
from ordersys.runtime.urls import BrokerUrls
from ordersys.runtime.waiting import first

_MOST = 65_535  # as many as a prefetch count can name
_HELD_BYTES = 16 * 1024 * 1024
_SECONDS = 8.0
_QUIET_SECONDS = 1.0
_BACK_SECONDS = 1.0
_POLL_SECONDS = 0.01
_Wanted = Callable[[int, Delivery], bool]


class Page(NamedTuple):
    """Some dead letters, and whether others follow."""

    deliveries: Sequence[Delivery]
    more: bool


class DeadLetterQueue:
    """The dead-letter queue of a subscription. One call at a time: each holds what it looks at."""

    def __init__(self, urls: BrokerUrls, taken: Subscription) -> None:
        self._urls = urls
        self._taken = taken

    async def page(self, after: int, size: int) -> Page:
        """Up to `size` dead letters behind the first `after`. Raises BrokerUnavailable."""
        async with self._walk(lambda position, _: after < position <= after + size) as walk:
            return Page([letter.delivery for letter in walk.kept], walk.seen > after + len(walk.kept))

    async def replay(self, ids: Collection[str]) -> set[str]:
        """Puts those with these ids back into the queue they came from; which it did. Raises BrokerUnavailable."""

        async def put_back(walk: "_Walk") -> Sequence[bool]:
            messages = [again(letter.delivery, self._taken.queue) for letter in walk.kept]
            return await walk.session.publish(messages)

        return await self._take_out(ids, put_back)

    async def discard(self, ids: Collection[str]) -> set[str]:
        """Removes those with these ids; which it did. Raises BrokerUnavailable."""

        async def drop(walk: "_Walk") -> Sequence[bool]:
            return [True] * len(walk.kept)

        return await self._take_out(ids, drop)

    async def _take_out(self, ids: Collection[str], deal: Callable[["_Walk"], Awaitable[Sequence[bool]]]) -> set[str]:
        """Those of which every copy was dealt with."""
        async with self._walk(lambda _, delivery: letter_id(delivery) in ids) as walk:
            if not walk.kept:
                return set()
            dealt_with = await deal(walk)
            crash_point("dead_letters.dealt_with")
            settled = list(zip(walk.kept, dealt_with, strict=True))
            walk.remove([letter.tag for letter, done in settled if done])
            left = {letter_id(letter.delivery) for letter, done in settled if not done}
            return {letter_id(letter.delivery) for letter in walk.kept} - left - walk.passed_over

    @asynccontextmanager
    async def _walk(self, wanted: _Wanted) -> AsyncIterator["_Walk"]:
        """Holds all messages, and keeps those that are `wanted`."""
        name = f"{self._taken.consumer} dead letters"
        try:
            async with asyncio.timeout(_SECONDS), opened(self._urls, name) as session:
                walk = _Walk(session, self._taken.dead_letter_queue, wanted)
                await walk.go()
                yield walk
                await walk.give_back()
        except TimeoutError as error:
            raise BrokerUnavailable(f"looking through {self._taken.dead_letter_queue} took too long") from error


class _Walk:
    """The messages of a queue, unsettled until they are removed or given back."""

    def __init__(self, session: Session, queue: str, wanted: _Wanted) -> None:
        self.session = session
        self._queue = queue
        self._wanted = wanted
        self._room = _HELD_BYTES
        self._there = 0
        self._held = 0
        self._all: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.seen = 0
        self.kept: list[Tagged] = []
        self.passed_over: set[str] = set()
        """What was wanted when there was no more room for it."""

    async def go(self) -> None:
        """Has all of them delivered; those somebody else takes meanwhile are not waited for."""
        self._there = min(await self.session.ready(self._queue), _MOST)
        if not self._there:  # a prefetch count of 0 would mean all there ever will be
            return
        await self.session.consume(self._queue, self._there, self._see)
        before = -1
        while not self._all.done() and self.seen > before:
            before = self.seen
            await first(self._all, self.session.closed, seconds=_QUIET_SECONDS)
        await self.session.cancel()
        self.session.check()
        self._held = self.seen

    def remove(self, tags: Sequence[int]) -> None:
        """Takes these out of the queue for good."""
        for tag in tags:
            self.session.ack(tag, multiple=False)
        self._held -= len(tags)

    async def give_back(self) -> None:
        """Returns when the rest can be delivered again, or soon: somebody else may have got it at once."""
        if not self._held:  # a broker asked to release nothing closes the channel
            return
        self.session.release()
        with suppress(TimeoutError):
            async with asyncio.timeout(_BACK_SECONDS):
                while await self.session.ready(self._queue) < self._held:
                    await first(self.session.closed, seconds=_POLL_SECONDS)

    def _see(self, tag: int, delivery: Delivery) -> None:
        self.seen += 1
        if self.seen == self._there:
            self._all.set_result(None)
        if not self._wanted(self.seen, delivery):
            return
        if self._room > 0:
            self.kept.append(Tagged(tag, delivery))
            self._room -= len(delivery.body)
        else:
            self.passed_over.add(letter_id(delivery))


def letter_id(delivery: Delivery) -> str:
    """32 hexadecimal digits that are the same for the same message (DeadLetter.id)."""
    digest = blake2b(digest_size=16)
    for part in (delivery.message_id, delivery.type, delivery.content_type):
        digest.update(repr(part).encode() + b"\0")
    digest.update(delivery.body)
    return digest.hexdigest()

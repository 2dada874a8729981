"""Takes deliveries from a queue: recorded, then settled, in batches; what may have killed somebody, one by one.

Nothing is acknowledged before it is recorded. What the handler fails on comes back until its delivery limit. What can't
be recorded for long is given back, and nothing is taken before it could be: RabbitMQ closes the channel of whoever
holds a delivery for longer than its consumer_timeout, and each time counts toward the delivery limit, as does each time
something is given back.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from enum import Enum
from itertools import groupby
from typing import NamedTuple

from ordersys.runtime.base.backoff import jittered_backoff
from ordersys.runtime.base.errors import Unavailable
from ordersys.runtime.base.failpoints import failpoint
from ordersys.runtime.base.futures import resolve_once, wait_first
from ordersys.runtime.base.leadership import Leadership
from ordersys.runtime.base.tasks import endless
from ordersys.runtime.batching import Batcher
from ordersys.runtime.metrics.instruments import Stopwatch, counter, gauge, histogram
from ordersys.runtime.metrics.table import CONSUMED_MESSAGES, PROCESS_SECONDS, QUEUE_MESSAGES, REDELIVERED
from ordersys.runtime.rabbitmq import traces
from ordersys.runtime.rabbitmq.channel import Intake
from ordersys.runtime.rabbitmq.connection import Session
from ordersys.runtime.rabbitmq.errors import BrokerRefused, BrokerUnavailable
from ordersys.runtime.rabbitmq.messages import AmqpDelivery
from ordersys.runtime.rabbitmq.reconnecting import keep_open
from ordersys.runtime.rabbitmq.urls import BrokerUrls

_log = logging.getLogger(__name__)
_BATCH_PAUSE_SECONDS = 0.02  # a lone delivery is recorded at once; of a stream few commits are made
_HELD_SECONDS = 15.0  # longer than the database waits for a lock, much shorter than a sensible consumer_timeout
# Together less than the 15 s within which health has to say that nothing is delivered.
_IDLE_SECONDS, _COUNT_SECONDS, _ANSWER_SECONDS = 4.0, 2.0, 5.0
_CLOSE_TIMEOUT_SECONDS = 4.0  # what is being recorded when it is to close is waited for, within any grace period
_MAX_PAUSE_SECONDS = 60.0  # between deliveries of what fails for a reason nobody foresaw: each counts
# Of processes that share their records one takes at a time. One that lost its connection without a word is counted
# until the broker misses its heartbeat; whoever follows waits no longer than that.
_LEAD_LOOK_SECONDS, _PREDECESSOR_SECONDS, _PREDECESSOR_POLL_SECONDS = 1.0, 30.0, 0.1
_COUNTS_UNTIL_SAID, _COUNTS_UNTIL_SAID_AGAIN = 3, 12  # a consumer that has just gone is counted for a while yet


class Disposition(Enum):
    """The disposition of a delivery."""

    ACK = "ack"
    DEAD_LETTER = "dead letter"
    RETURN = "return"


Record = Callable[[list[AmqpDelivery]], Awaitable[Sequence[Disposition]]]
"""Records deliveries durably: what becomes of each. Raises Unavailable while nothing can be recorded."""


class Tagged(NamedTuple):
    """A delivery with the tag it is settled by."""

    tag: int
    delivery: AmqpDelivery


class _Measures:
    """The measures of one queue (metrics/table.py)."""

    def __init__(self, queue: str) -> None:
        self.deliveries = counter(CONSUMED_MESSAGES, messaging_destination_name=queue)
        self.redelivered = counter(REDELIVERED, messaging_destination_name=queue)
        self.seconds = histogram(PROCESS_SECONDS, messaging_destination_name=queue)
        self.ready = gauge(QUEUE_MESSAGES, messaging_destination_name=queue, state="ready")


class Consumer:
    """A subscription that is kept alive; `live` while the broker delivers to it.

    The broker does not tell everything. RabbitMQ 3.10 moves the consumer of a queue that is deleted and declared again
    within 20 ms to the new queue, and delivers nothing to it: who has heard nothing for a while subscribes anew. And
    several processes may share a queue, each with a part of what is in it: the consumers are counted.
    """

    def __init__(  # noqa: PLR0913 - a subscription: where, to what, how much at a time, and who records it
        self,
        tasks: asyncio.TaskGroup,
        urls: BrokerUrls,
        queue: str,
        prefetch: int,
        record: Record,
        *,
        cautious: bool = True,
        leadership: Leadership | None = None,
    ) -> None:
        """At most `prefetch` deliveries are in hand at a time; where `cautious`, one until one was settled.

        A delivery that kills the process then drives only itself to its delivery limit. To go over to more costs a
        subscription, and a delivery that the broker had assigned to it comes again. What keeps it alive is in `tasks`.
        It takes nothing without `leadership`: two at once would record an order's events in any order.
        """
        self._first = 1 if cautious else prefetch
        self._tasks = tasks
        self._queue = queue
        self._prefetch = prefetch
        self._record = record
        self._leadership = leadership or Leadership(shared=False)
        self._stands_by = False
        self.live = False
        self._closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._in_use = asyncio.Lock()
        self._recording: asyncio.Task[Sequence[Disposition] | None] | None = None
        self._crowded = 0
        self._pauses = jittered_backoff(most=_MAX_PAUSE_SECONDS)
        self._refusal: BrokerRefused | None = None
        self._measures = _Measures(queue)
        self._session: Session | None = None
        kept = keep_open(urls, f"{queue} consumer", self._use, self._note_refusal, consumed=queue)
        self._task = endless(tasks, f"{queue} consumer", kept)

    @property
    def works(self) -> bool:
        """True while the queue delivers, and neither it nor its dead letters wait for somebody to change something.

        To this process, or to the one that leads: then this one is there to follow it.
        """
        return (self.live or self._stands_by) and self._refusal is None

    async def measure(self) -> None:
        """Has metrics show what waits in the queue, as far as the broker says so at once."""
        if not self._leadership.held:
            self._measures.ready.set(0)
        elif self._session is not None:
            with suppress(BrokerUnavailable, TimeoutError):
                async with asyncio.timeout(_COUNT_SECONDS):
                    self._measures.ready.set((await self._session.counts(self._queue)).messages)

    async def close(self) -> None:
        """Takes no more, finishes what was delivered, and closes the connection."""
        self.live = False
        self._closing.set_result(None)
        async with self._in_use:
            self._task.cancel()
        if self._recording:
            self._recording.cancel()
        await asyncio.wait([self._task])

    def _note_refusal(self, refusal: BrokerRefused | None) -> None:
        self._refusal = refusal

    async def _use(self, session: Session) -> None:
        """Subscribes again and again; with the whole prefetch once a delivery was settled."""
        prefetch = self._first
        async with self._in_use:
            self._session = session
            try:
                while await self._may_take(session):
                    subscription = _Subscription(session, self._recorded, prefetch, self._measures)
                    await self._begin(session, subscription)
                    await self._take(session, subscription)
                    prefetch = self._prefetch if subscription.has_settled_new else prefetch
            finally:
                self.live = self._stands_by = False
                self._session = None

    async def _may_take(self, session: Session) -> bool:
        """Waits for what was given back to be recorded: however long that takes, it costs one delivery of the few."""
        while self._recording and not self._recording.done() and not (session.closed.done() or self._closing.done()):
            self.live = False
            await wait_first(self._recording, session.closed, self._closing)
        if self._leadership.shared:
            await self._wait_to_lead(session)
        return not (session.closed.done() or self._closing.done())

    async def _wait_to_lead(self, session: Session) -> None:
        """Returns when this process leads and no other one takes from the queue, or the session is over."""
        self.live, self._stands_by = False, True
        until = None
        while await self._leadership.wait(session.closed, self._closing):
            until = until or time.monotonic() + _PREDECESSOR_SECONDS
            # The one before finishes what it has, and gives back what it can't: behind that is where to begin.
            if not await self._others(session) or time.monotonic() > until:
                break
            await wait_first(session.closed, self._closing, seconds=_PREDECESSOR_POLL_SECONDS)
            if session.closed.done() or self._closing.done():
                break
        self._stands_by = False

    async def _others(self, session: Session) -> bool:
        """True while another process is known to take from the queue."""
        try:
            async with asyncio.timeout(_COUNT_SECONDS):
                return await session.consumers(self._queue) > 0
        except (BrokerUnavailable, TimeoutError) as error:
            _log.info("the consumers of %s were not counted: %s", self._queue, error)
            return not session.closed.done()

    async def _begin(self, session: Session, subscription: "_Subscription") -> None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await subscription.begin(self._queue)
        except TimeoutError:
            session.abort(BrokerUnavailable(f"it does not say that {self._queue} is consumed"))
        session.check()
        self.live = not self._closing.done()

    async def _take(self, session: Session, subscription: "_Subscription") -> None:
        """Takes deliveries until nothing was delivered for a while, more may be taken at a time, or it is to close."""
        ends = (
            subscription.settled_new if subscription.prefetch < self._prefetch else self._closing,
            session.closed,
            self._closing,
        )
        consumed = True
        try:
            while consumed and subscription.patience() > 0:
                patience = subscription.patience()
                await wait_first(
                    *ends, seconds=min(patience, _LEAD_LOOK_SECONDS) if self._leadership.shared else patience
                )
                if any(end.done() for end in ends) or not self._leadership.held:
                    break
                consumed = await self._is_consumed(session)
        finally:
            await subscription.end()

    async def _is_consumed(self, session: Session) -> bool:
        """Counts the consumers: false when there is none, and a word when there are others."""
        try:
            async with asyncio.timeout(_COUNT_SECONDS):
                count = await session.consumers(self._queue)
        except (BrokerUnavailable, TimeoutError) as error:
            _log.info("the consumers of %s were not counted: %s", self._queue, error)
            return True
        # Each process of several would record a part of the events, healthy by all signs (docs/reliability.md, "two
        # processes of one service").
        self._crowded = self._crowded + 1 if count > 1 else 0
        if self._crowded % _COUNTS_UNTIL_SAID_AGAIN == _COUNTS_UNTIL_SAID:
            _log.error(
                "%s has %d consumers, each of which gets a part of what is in it: stop the other process (or one has"
                " just lost its connection, and the broker has not noticed yet)",
                self._queue,
                count,
            )
        return count > 0

    async def _recorded(self, deliveries: list[AmqpDelivery], session: Session) -> Sequence[Disposition] | None:
        """The dispositions; None where recording takes too long, or longer than the session. It goes on then."""
        self._recording = self._tasks.create_task(self._keep_recording(deliveries))
        await wait_first(self._recording, session.closed, self._closing, seconds=_HELD_SECONDS)
        if self._closing.done():
            await wait_first(self._recording, session.closed, seconds=_CLOSE_TIMEOUT_SECONDS)
        return self._recording.result() if self._recording.done() else None

    async def _keep_recording(self, deliveries: list[AmqpDelivery]) -> Sequence[Disposition] | None:
        """Tries until the database takes them, or it is to close; None also for a reason nobody foresaw."""
        for pause in jittered_backoff():
            try:
                dispositions = await self._record(deliveries)
            except Unavailable as error:
                _log.warning("%d deliveries of %s wait: %s", len(deliveries), self._queue, error)
                await wait_first(self._closing, seconds=pause)
            except Exception:  # noqa: BLE001 - logged, and all of it comes again
                _log.exception("the deliveries under way come again")
                await wait_first(self._closing, seconds=next(self._pauses))
                break
            else:
                self._pauses = jittered_backoff(most=_MAX_PAUSE_SECONDS)
                return dispositions
            if self._closing.done():
                break
        return None


class _Subscription:
    """Deliveries on one AMQP channel, from its opening to its end."""

    def __init__(
        self,
        session: Session,
        record: Callable[[list[AmqpDelivery], Session], Awaitable[Sequence[Disposition] | None]],
        prefetch: int,
        measures: _Measures,
    ) -> None:
        self._measures = measures
        self._session = session
        self._record = record
        self.prefetch = prefetch
        self._intake: Intake
        self._queue = ""
        self._deliveries: Batcher[Tagged, None] = Batcher(self._work, prefetch, _BATCH_PAUSE_SECONDS, name="deliveries")
        self._in_hand = 0
        self._moved = time.monotonic()
        self.settled_new: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when something was settled that nobody had been delivered before."""

    @property
    def has_settled_new(self) -> bool:
        """True when that has happened."""
        return self.settled_new.done()

    async def begin(self, queue: str) -> None:
        """Begins to take deliveries of `queue`. Raises BrokerUnavailable."""
        self._queue = queue
        self._intake = await self._session.intake()
        await self._intake.begin(queue, self.prefetch, self._put)

    def patience(self) -> float:
        """The seconds left to wait for a delivery; 0 when the wait is over."""
        if self._in_hand:
            return _IDLE_SECONDS
        return max(0.0, self._moved + _IDLE_SECONDS - time.monotonic())

    async def end(self) -> None:
        """Finishes what was delivered. What the broker believes to be in hand, and is not, comes again."""
        try:
            await self._intake.cancel()
        finally:
            await self._deliveries.drained()
            await self._intake.close()

    def _put(self, tag: int, delivery: AmqpDelivery) -> None:
        self._in_hand += 1
        if delivery.redelivered:
            self._measures.redelivered.inc()
        self._deliveries.submit_and_log(Tagged(tag, delivery))

    async def _work(self, batch: list[Tagged]) -> list[None]:
        """Works on a batch. An unforeseen exception costs the session, and all of it comes again."""
        self._measures.deliveries.inc(len(batch))
        try:
            with Stopwatch(self._measures.seconds):
                await self._settle(batch)
        except Exception as error:  # noqa: BLE001 - logged, and all of it comes again
            _log.exception("the deliveries under way come again")
            self._session.abort(error)
        self._in_hand -= len(batch)
        self._moved = time.monotonic()
        return [None] * len(batch)

    async def _settle(self, batch: list[Tagged]) -> None:
        for portion in _portions(batch):
            traced = traces.begin(self._queue, portion)
            failpoint("consumer.delivered")
            if self._session.closed.done():  # it comes again, and what was delivered before may still be recorded
                return
            dispositions = await self._record([tagged.delivery for tagged in portion], self._session)
            if dispositions is None:
                self._session.abort(BrokerUnavailable("what could not be recorded was given back; it comes again"))
            if traced:
                traced.recorded(dispositions)
            failpoint("consumer.recorded")
            if dispositions is None or self._session.closed.done():  # they come again on the next session
                return
            _settle(self._intake, portion, dispositions)
            failpoint("consumer.settled")
            if traced:
                traced.settled()
        # A first delivery was settled: what may have killed a process lies behind. Redelivered ones are the suspects.
        if not all(tagged.delivery.redelivered for tagged in batch):
            resolve_once(self.settled_new, None)


def _portions(batch: list[Tagged]) -> Iterator[list[Tagged]]:
    """Fresh deliveries together, in order; redelivered ones each alone."""
    for redelivered, run in groupby(batch, key=lambda tagged: tagged.delivery.redelivered):
        if redelivered:
            # One of them may have killed the process: if it does so again, only its own count rises toward the delivery
            # limit.
            yield from ([tagged] for tagged in run)
        else:
            yield list(run)


def _settle(intake: Intake, portion: list[Tagged], dispositions: Sequence[Disposition]) -> None:
    """One ack for each run of deliveries up to one that must be refused."""
    pairs = zip(portion, dispositions, strict=True)
    try:
        for acked, run in groupby(pairs, key=lambda pair: pair[1] is Disposition.ACK):
            settled = list(run)
            if acked:
                # `multiple` settles all up to it: of those before, each is settled by now or belongs to this run, as
                # portions go in order of delivery. One frame for up to 500 (docs/performance.md, S5).
                intake.ack(settled[-1][0].tag, multiple=True)
            else:
                for tagged, disposition in settled:
                    intake.reject(tagged.tag, requeue=disposition is Disposition.RETURN)
    except BrokerUnavailable as error:
        _log.warning("not acknowledged, they come again: %s", error)

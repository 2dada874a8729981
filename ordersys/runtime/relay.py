"""The relay: publishes what stands in the outbox, and tries again what the broker did not take.

What was not tried yet goes first, oldest first, a window at a time. What was nacked or returned (a queue is full, or
has lost its binding) is out of the way: one queue's trouble delays none of the events that others wait for. It is tried
again a few at a time, what was tried longest ago first, with jittered backoff, and more and more as soon as it goes
well. What can't be published as it is (it can't be encoded, its exchange is gone for good, it is too large, the user
may not use its routing key) is parked: told of in the log, kept, and tried again alone, after minutes and at each
start, or as soon as another one that was parked for the same reason is published. An event waits for every earlier one
of its order that is late; within one window a nacked event may be overtaken by the next (docs/architecture.md). While
the broker is away, or says nothing, or refuses the topology, all stays as it is.

Of a window: what is confirmed is removed (`_remove`); what was nacked or returned, and what waits for an earlier event
of its order, is put off (`_put_off`); what was not answered stays. When a session that nacks is given up: Publisher.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import takewhile
from typing import Protocol

from ordersys.runtime.base.backoff import jittered_backoff
from ordersys.runtime.base.errors import Unavailable
from ordersys.runtime.base.failpoints import failpoint
from ordersys.runtime.base.ids import now
from ordersys.runtime.base.tasks import endless
from ordersys.runtime.outbox import Late, Outbox, Waiting
from ordersys.runtime.rabbitmq.confirms import CONFIRMED, Fate, PublishResult
from ordersys.runtime.rabbitmq.messages import Outgoing
from ordersys.runtime.rabbitmq.traces import published
from ordersys.runtime.relay_measures import Measures
from ordersys.runtime.storage.interface import Storage

_log = logging.getLogger(__name__)
_CLOSE_SECONDS = 2.0  # for the window under way: what is not confirmed is published at the next start
_TRIAL = 10  # events after trouble: a broker that is not ready shows it with few
_RETRY_DELAY_SECONDS = 1.0
_BATCH_PAUSE_SECONDS = 0.02  # a lone event goes at once; of a stream few windows are made
_LOOK_SECONDS = 1.0  # two queries when nothing is to do
_SHARED_LOOK_SECONDS = 0.04  # for what other processes commit, of which nothing else tells: 1 % of a core
_SETTLE_SECONDS = 0.5  # of two such queries the second has the floor rise
_FULL_LOOK_SECONDS = 5.0
# A node that nacks because it asks a lost one takes some 17 ms for each (docs/reliability.md); a full queue none.
_SLOW_SECONDS = 0.5
_PARKED_SECONDS, _PARKED_SECONDS_AT_MOST = 5.0, 600.0  # doubled each time; somebody has to change something first
_SET_BACK = 1_000_000  # microseconds by which a clock is back that was set
_SAID_EVERY_SECONDS = 10.0  # while a queue is full each window would have something to tell
_LATE = frozenset({Fate.NACKED, Fate.RETURNED, Fate.IMPOSSIBLE, Fate.HELD})


class Publisher(Protocol):
    """A publisher of events with confirms."""

    async def publish(self, events: Sequence[Outgoing]) -> list[PublishResult]:
        """The outcome of each event, in order."""
        ...


class Relay:
    """Publishes what stands in the outbox, at most `window` events at a time.

    The rows of confirmed events go with the next commit; until then they are known to be published.
    """

    def __init__(  # noqa: PLR0913 - whatever it works with, and what metrics have to know
        self,
        tasks: asyncio.TaskGroup,
        database: Storage,
        outbox: Outbox,
        publisher: Publisher,
        window: int,
        *,
        service: str = "",
    ) -> None:
        """Metrics know by `service`, a full name of the contract, which events there may be."""
        self._database = database
        self._outbox = outbox
        self._publisher = publisher
        self._window = window
        self._woken = asyncio.Event()
        self._in_use = asyncio.Lock()
        self._being_removed: set[int] = set()
        """The rows of confirmed events that may still be there."""
        self._new = _Pace(window, window)
        self._late = _Pace(_TRIAL, window)
        self._floor = _Floor()
        self._suspect: int | None = None
        """The event that was alone in a window for which the broker has closed the channel."""
        self._logged_at = -_SAID_EVERY_SECONDS
        self._measures = Measures(database, outbox, service)
        database.after_commit(self._committed)
        self._task = endless(tasks, "relay", self._relay())

    def notify(self) -> None:
        """Says that there may be something to publish. What arrives while a window is on its way shares the next.

        Nobody has to say so of what a transaction has appended: its commit does.
        """
        self._woken.set()

    async def measure(self) -> None:
        """Has metrics show what waits. Raises Unavailable."""
        await self._measures.look(self._floor.sequence)

    async def close(self) -> None:
        """Stops after the window under way, or after 2 s; what is not confirmed stays in the outbox."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._in_use.acquire()  # and never released: no other window begins
        self._task.cancel()
        await asyncio.wait([self._task])

    def _committed(self) -> None:
        """Notifies the relay of appended events, also of those whose caller has gone meanwhile."""
        if self._outbox.take_appended():
            self.notify()

    async def _relay(self) -> None:
        """Never returns."""
        begun = False
        time = now()
        while True:
            # What is put off is due by the clock, which may have been ahead, and was set right.
            before, time = time, now()
            begun = begun and time > before - _SET_BACK
            if not self._database.leadership.held:
                await self._database.leadership.wait()
                begun = False
                self._floor = _Floor()
            try:
                async with self._in_use:
                    if not begun:
                        await self._database.write(self._outbox.make_all_due, None)
                        begun = True
                    more = await self._publish_new()
                    more = await self._publish_late() or more
            except Unavailable as error:
                _log.warning("the outbox has to wait: %s", error)
                self._new.worse()
                more = True
            if self._new.pause:
                await asyncio.sleep(self._new.pause)
            elif not more:
                await asyncio.sleep(_BATCH_PAUSE_SECONDS)
                await self._look_again()

    async def _look_again(self) -> None:
        """Returns when woken, or soon in any case: no event waits for the next one because a wake was lost."""
        with suppress(TimeoutError):
            seconds = _SHARED_LOOK_SECONDS if self._database.leadership.shared else _LOOK_SECONDS
            async with asyncio.timeout(min(seconds, self._late.left() or seconds)):
                await self._woken.wait()
        self._woken.clear()

    async def _publish_new(self) -> bool:
        """One window of events that were not tried yet, or not to their end; true when there may be more.

        Raises Unavailable.
        """
        asked = self._new.size
        # As it was before the look: what is removed meanwhile may still be seen.
        being_removed = self._being_removed.copy()
        oldest = await self._look(asked + len(being_removed))
        events = [event for event in oldest if event.sequence not in being_removed][:asked]
        ready = [event for event in events if not event.held]
        outcomes, took = await self._published(ready)
        self._remove([event for event, outcome in zip(ready, outcomes, strict=True) if outcome == CONFIRMED])
        fates = {outcome.fate for outcome in set(outcomes)}
        if len(ready) < len(events) or outcomes.count(CONFIRMED) < len(ready):
            await self._put_off(ready, outcomes, [Late(event.sequence, now()) for event in events if event.held])
        if Fate.OPEN in fates:
            self._new.worse(_fewer(outcomes))
        elif took > _SLOW_SECONDS and fates & _LATE:
            self._new.slow()
        else:
            self._new.better()
        return len(events) == asked or Fate.OPEN in fates

    async def _look(self, most: int) -> list[Waiting]:
        """The oldest events that were not tried to their end. Raises Unavailable."""
        time = asyncio.get_running_loop().time()
        if self._floor.has_to_ask(time):
            self._floor.settle(time, await self._database.read(self._outbox.writers))
        oldest = await self._database.read(self._outbox.oldest, most, self._floor.start(time))
        self._floor.rise([event.sequence for event in oldest])
        return oldest

    async def _publish_late(self) -> bool:
        """One window of events that are tried again, when their time has come; true when there may be more.

        Raises Unavailable.
        """
        if self._late.left() or self._new.pause:
            return False
        asked = self._late.size
        due = await self._database.read(self._outbox.due, now(), asked)
        if not due:
            return False
        # What is parked may cost the channel: it is tried alone.
        alone = 1 if due[0].reason else sum(1 for _ in takewhile(lambda event: not event.reason, due))
        events = due[:alone]
        outcomes, _ = await self._published(events)
        confirmed = [event for event, outcome in zip(events, outcomes, strict=True) if outcome == CONFIRMED]
        if confirmed:
            await self._database.write(self._outbox.remove_late, [event.sequence for event in confirmed])
        for event in confirmed:
            if event.reason:
                _log.info("event %s, which was parked, is published", event.event.event_id)
                await self._database.write(self._outbox.make_due_again, event.reason)
        await self._put_off(events, outcomes, [])
        if len(confirmed) == len(events):
            self._late.better()
        elif not (events[0].reason and outcomes[0].reason):  # what is parked again has a time of its own
            self._late.worse(_fewer(outcomes))
        return True

    async def _published(self, events: Sequence[Waiting]) -> tuple[list[PublishResult], float]:
        """Publishes a window; what became of each event, and how many seconds it took."""
        if not events:
            return [], 0.0
        loop = asyncio.get_running_loop()
        began = loop.time()
        outcomes = await self._publisher.publish(events)
        failpoint("outbox.published")
        published(events, outcomes, loop.time() - began)
        self._measures.published(events, outcomes)
        if outcomes.count(CONFIRMED) < len(events) and not events[0].reason:  # of what is parked the log has been told
            self._log_unconfirmed([outcome for outcome in outcomes if outcome != CONFIRMED], len(events))
        return outcomes, loop.time() - began

    def _log_unconfirmed(self, left: Sequence[PublishResult], count: int) -> None:
        """Now and then: while a queue is full there is something to tell of each window."""
        time = asyncio.get_running_loop().time()
        if time - self._logged_at >= _SAID_EVERY_SECONDS:
            self._logged_at = time
            why = "; ".join(sorted({outcome.fate.value for outcome in left}))
            _log.warning("%d of %d events were not confirmed, they stay in the outbox: %s", len(left), count, why)

    async def _put_off(self, events: Sequence[Waiting], outcomes: Sequence[PublishResult], late: list[Late]) -> None:
        """Has events wait that were not taken, and those that can't be taken, each in its order.

        Raises Unavailable.
        """
        time = now()
        for event, (fate, reason) in zip(events, outcomes, strict=True):
            if fate is Fate.OPEN and reason and len(events) == 1:
                # Once more after the topology was declared again: somebody may just have deleted the exchange.
                if self._suspect == event.sequence or event.reason:
                    late.append(self._parked(event, reason))
                self._suspect = event.sequence
            elif fate is Fate.IMPOSSIBLE:
                late.append(self._parked(event, reason))
            elif fate in _LATE:
                late.append(Late(event.sequence, time))
        if late:
            await self._database.write(self._outbox.put_off, late)

    def _parked(self, event: Waiting, reason: str) -> Late:
        seconds = min(_PARKED_SECONDS * 2 ** min(event.attempts, 20), _PARKED_SECONDS_AT_MOST)
        if not event.reason:
            text = "event %s can't be published and is parked, with what comes after it of its order: %s"
            _log.error(text, event.event.event_id, reason)
        return Late(event.sequence, now() + int(seconds * 1_000_000), reason)

    def _remove(self, done: list[Waiting]) -> None:
        """Deletes the rows of confirmed events: a full window in its own commit, fewer in the next one anyone makes."""
        if done:
            sequences = [event.sequence for event in done]
            self._being_removed.update(sequences)
            gone = [(event.sequence, event.event.event_id) for event in done]
            removal = self._database.write(self._outbox.remove, gone, urgent=len(done) == self._window)
            removal.add_done_callback(partial(self._removed, sequences))

    def _removed(self, done: list[int], removal: "asyncio.Future[None]") -> None:
        """Forgets rows whose removal has ended. Those that could not be removed are published again: at least once."""
        self._being_removed.difference_update(done)
        if not removal.cancelled() and (error := removal.exception()):
            _log.warning("%d events that were published could not be removed: %s", len(done), error)
            asyncio.get_running_loop().call_later(_RETRY_DELAY_SECONDS, self.notify)
        failpoint("outbox.removed")


class _Pace:
    """Slow start: window size and pause. Few events after trouble, twice as many after each success."""

    def __init__(self, size: int, most: int) -> None:
        self._most = most
        self._pauses = jittered_backoff()
        self._until = 0.0
        self.size = min(size, most)
        self.pause = 0.0
        """Seconds, none after what went well."""

    def better(self) -> None:
        """All of a window was answered."""
        self.size = min(2 * self.size, self._most)
        self._pauses = jittered_backoff()
        self._until = self.pause = 0.0

    def slow(self) -> None:
        """All of a window was answered, and took long."""
        self.size = min(_TRIAL, self._most)
        self._until = self.pause = 0.0

    def worse(self, size: int = _TRIAL) -> None:
        """A window was not answered, or to no avail: a broker that is not ready would take no more of a larger one."""
        self.size = min(size, self._most)
        self.pause = next(self._pauses)
        self._until = asyncio.get_running_loop().time() + self.pause

    def left(self) -> float:
        """The seconds left of the pause."""
        return max(0.0, self._until - asyncio.get_running_loop().time())


class _Floor:
    """The sequence after which a look begins: up to it all is removed, and nothing can be committed any more.

    While any transaction in PostgreSQL has an old snapshot, removed rows stay as dead ones, and a look from the
    beginning goes through all of them (docs/reliability.md, "a snapshot held for minutes").

    A row gets its sequence before it is committed, and may so come below others that were published long ago. The next
    event of its order is appended under the lock of that order, thus after that commit, with a higher sequence: a look
    from the beginning that finds it finds both, in order; a look that passes over the first would turn them round. So
    it is not enough that rows seldom come late. The floor rises to what was seen removed, once all transactions have
    ended that were writing to the outbox then. One that does not write there, such as a dump, does not hold it up.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self._newest = 0
        """The highest sequence that was seen."""
        self._removed = 0
        """Up to it the last look has found nothing."""
        self._candidate, self._writers = 0, frozenset[str]()
        """What was removed when these transactions were under way, which may yet commit something below it."""
        self._settled = 0
        """Up to it nothing can be committed any more."""
        self._ask_at = self._full_at = 0.0

    def has_to_ask(self, time: float) -> bool:
        """True when `settle` is to be told who writes, before the next look."""
        return time >= self._ask_at

    def settle(self, time: float, writers: frozenset[str]) -> None:
        """Notes the transactions that are writing now."""
        self._ask_at = time + _SETTLE_SECONDS
        if not self._writers & writers:
            self._settled = self._candidate
            self._candidate, self._writers = self._removed, writers

    def start(self, time: float) -> int:
        """The sequence after which the look at this time begins."""
        if time < self._full_at:
            return self.sequence
        # A failover that loses commits gives their sequences again.
        self._full_at = time + _FULL_LOOK_SECONDS
        return 0

    def rise(self, sequences: Sequence[int]) -> None:
        """Notes the sequences that a look has found, in their order."""
        if sequences and sequences[0] <= self.sequence:
            self._newest = self._candidate = self._settled = 0
        self._newest = max(self._newest, sequences[-1] if sequences else 0)
        self._removed = sequences[0] - 1 if sequences else self._newest
        # What was committed late, before all was settled, is seen by now.
        self.sequence = min(self._settled, self._removed)


def _fewer(outcomes: Sequence[PublishResult]) -> int:
    """The size of the next window: one, where the broker has closed the channel for one of these events, to find it."""
    return 1 if any(reason for fate, reason in outcomes if fate is Fate.OPEN) else _TRIAL

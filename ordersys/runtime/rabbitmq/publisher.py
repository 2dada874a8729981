"""Publishes through whatever session to RabbitMQ is open; waits while there is none."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ordersys.contract.topology import Publication
from ordersys.runtime.base.tasks import endless
from ordersys.runtime.metrics.instruments import Stopwatch, histogram
from ordersys.runtime.metrics.table import PUBLISH_SECONDS
from ordersys.runtime.rabbitmq.confirms import CONFIRMED, Fate, PublishResult
from ordersys.runtime.rabbitmq.connection import Session
from ordersys.runtime.rabbitmq.errors import BrokerRefused, BrokerUnavailable
from ordersys.runtime.rabbitmq.messages import Message, Outgoing, of_event
from ordersys.runtime.rabbitmq.reconnecting import keep_open
from ordersys.runtime.rabbitmq.refusals import ACCESS_REFUSED, forbids
from ordersys.runtime.rabbitmq.urls import BrokerUrls

# An AMQP channel that knows an old leader of a queue nacks for ever (RabbitMQ 3.10; docs/reliability.md). A queue that
# is full nacks on any channel: where a new one has not helped the next is tried later.
_NEW_CHANNEL_SECONDS, _NEW_CHANNEL_SECONDS_AT_MOST = 3.0, 10.0
# A routing key that is forbidden costs a session each time it is tried. Less than the 5 s after which what was parked
# is tried again: that is to find out.
_FORBIDDEN_SECONDS = 4.0


class Publisher:
    """A connection for publishing only: an alarm of the broker blocks it, and nothing else."""

    def __init__(self, tasks: asyncio.TaskGroup, urls: BrokerUrls, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Session] = self._loop.create_future()
        self._opened_at = 0.0
        self._nacks_borne = _NEW_CHANNEL_SECONDS
        self._refused_session: BrokerRefused | None = None
        self._refused_event: BrokerRefused | None = None
        self._forbidden = Forbidden(self._loop.time)
        self._seconds = histogram(PUBLISH_SECONDS, messaging_operation_name="publish")
        self._task = endless(tasks, "publisher", keep_open(urls, f"{name} publisher", self._use, self._note_refusal))

    @property
    def refusal(self) -> str:
        """The reason why nothing, or nothing with some routing key, is published until somebody changes something.

        Empty when there is nothing to be changed, also while the broker is only away.
        """
        lasting = self._refused_session or self._refused_event
        return str(lasting) if lasting else self._forbidden.reason

    async def publish(self, events: Sequence[Outgoing]) -> list[PublishResult]:
        """The outcome of each event, in order. One call at a time.

        Waits while there is no session, or the topology is refused for good: nothing is published then.
        """
        # Shielded: who gives up here must not cancel the future that the next session is handed to.
        session = await asyncio.shield(self._ready)
        messages, outcomes = encoded(events, self._forbidden.now, session.user)
        with Stopwatch(self._seconds):
            sent = await session.publish_each(list(messages.values()))
        self._judge(session, {outcome.fate for outcome in set(sent)})
        if not outcomes and not self._forbidden and not session.closed.done():
            return sent
        outcomes.update(zip(messages, sent, strict=True))
        closed = str(session.closed.result()) if session.closed.done() else ""
        return self._forbidden.judged(events, [outcomes[number] for number in range(len(events))], closed)

    async def close(self) -> None:
        """Closes the connection; what is not confirmed counts as unpublished."""
        self._task.cancel()
        await asyncio.wait([self._task])

    def _judge(self, session: Session, fates: set[Fate]) -> None:
        """Draws its conclusions: is it let publish, and does the AMQP channel do?"""
        ended = session.closed.result() if session.closed.done() else None
        if isinstance(ended, BrokerRefused) and ended.code == ACCESS_REFUSED:  # other refusals are of the topology
            self._refused_event = ended
        elif Fate.CONFIRMED in fates:
            self._refused_event = None
        # docs/reliability.md, "the leader of the queues killed", and "a queue that is full".
        if Fate.NACKED not in fates:
            self._nacks_borne = _NEW_CHANNEL_SECONDS
        elif self._loop.time() - self._opened_at >= self._nacks_borne:
            self._nacks_borne = min(2 * self._nacks_borne, _NEW_CHANNEL_SECONDS_AT_MOST)
            session.abort(BrokerUnavailable("it nacks events"))

    async def _use(self, session: Session) -> None:
        self._opened_at = self._loop.time()
        self._ready.set_result(session)
        try:
            await asyncio.wait([session.closed])
        finally:
            self._ready = self._loop.create_future()

    def _note_refusal(self, refusal: BrokerRefused | None) -> None:
        self._refused_session = refusal


class _Refusal(NamedTuple):
    """The broker's refusal of a routing key, and the time from which it is tried again."""

    reason: str
    until: float


class Forbidden:
    """The routing keys this user may not use (topic permissions of RabbitMQ).

    The broker closes the channel for an event that has one: that is found out with one event, now and then, and costs
    the others nothing else.
    """

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._refusals: dict[Publication, _Refusal] = {}

    def __bool__(self) -> bool:
        return bool(self._refusals)

    @property
    def reason(self) -> str:
        """The broker's refusal of the first of them; empty when there is none."""
        return next((refusal.reason for refusal in self._refusals.values()), "")

    def now(self, to: Publication) -> str:
        """The reason why nothing is published to `to` for now; empty where it may be tried."""
        refusal = self._refusals.get(to)
        return refusal.reason if refusal and self._time() < refusal.until else ""

    def judged(self, events: Sequence[Outgoing], outcomes: Sequence[PublishResult], closed: str) -> list[PublishResult]:
        """The outcomes of a window, given why the session was closed, if it was.

        Where that was for a routing key, what has it can't be published, and the others have nothing to do with it.
        """
        published = {event.to for event, outcome in zip(events, outcomes, strict=True) if outcome == CONFIRMED}
        for to in published & self._refusals.keys():
            del self._refusals[to]
        forbidden = {
            event.to for event in events if closed and forbids(closed, event.to.exchange, event.to.routing_key)
        }
        self._refusals.update(dict.fromkeys(forbidden, _Refusal(closed, self._time() + _FORBIDDEN_SECONDS)))
        if not forbidden:
            return list(outcomes)
        impossible, still_open = PublishResult(Fate.IMPOSSIBLE, closed), PublishResult(Fate.OPEN)
        return [
            outcome if outcome.fate is not Fate.OPEN else impossible if event.to in forbidden else still_open
            for event, outcome in zip(events, outcomes, strict=True)
        ]


def _anything(_: Publication) -> str:
    return ""


def encoded(
    events: Sequence[Outgoing], forbidden: Callable[[Publication], str] = _anything, user: str = ""
) -> tuple[dict[int, Message], dict[int, PublishResult]]:
    """The message of each event that can be sent, by its place; what becomes of each of the others.

    `forbidden` says why an event may not be sent. What comes after one that isn't, of the same order, is held back
    with it. `user` is the one the connection has logged in as, empty where that is not known.
    """
    messages: dict[int, Message] = {}
    outcomes: dict[int, PublishResult] = {}
    stuck: set[str] = set()
    for number, outgoing in enumerate(events):
        if stuck and outgoing.event.subject in stuck:
            outcomes[number] = PublishResult(Fate.HELD)
            continue
        reason = forbidden(outgoing.to)
        if not reason:
            try:
                messages[number] = of_event(outgoing.event, outgoing.to, user)
            except Exception as error:  # noqa: BLE001 - its outcome: whatever is wrong with one harms no other
                reason = f"it can't be encoded: {type(error).__name__}: {error}"
        if reason:
            outcomes[number] = PublishResult(Fate.IMPOSSIBLE, reason)
            stuck.add(outgoing.event.subject)
    return messages, outcomes

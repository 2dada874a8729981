"""Publishes through whatever session to RabbitMQ is open; waits while there is none."""

import asyncio
from collections.abc import Sequence

from ordersys.runtime.broker import BrokerRefused, BrokerUnavailable, Session
from ordersys.runtime.confirms import Fate, Outcome
from ordersys.runtime.messages import Message, of_event
from ordersys.runtime.outbox import Outgoing
from ordersys.runtime.reconnect import keep_open
from ordersys.runtime.refusals import ACCESS_REFUSED
from ordersys.runtime.tasks import endless
from ordersys.runtime.urls import BrokerUrls

# An AMQP channel that knows an old leader of a queue nacks for ever (RabbitMQ 3.10; docs/reliability.md). A queue that
# is full nacks on any channel: where a new one has not helped the next is tried later.
_NEW_CHANNEL_SECONDS, _NEW_CHANNEL_SECONDS_AT_MOST = 3.0, 10.0


class Publisher:
    """A connection for publishing only: an alarm of the broker blocks it, and nothing else."""

    def __init__(self, tasks: asyncio.TaskGroup, urls: BrokerUrls, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Session] = self._loop.create_future()
        self._opened_at = 0.0
        self._nacks_borne = _NEW_CHANNEL_SECONDS
        self._refused_session: BrokerRefused | None = None
        self._refused_event: BrokerRefused | None = None
        self._task = endless(tasks, "publisher", keep_open(urls, f"{name} publisher", self._use, self._told))

    @property
    def refusal(self) -> BrokerRefused | None:
        """Why nothing will be published until somebody changes something; None also while the broker is only away."""
        return self._refused_session or self._refused_event

    async def publish(self, events: Sequence[Outgoing]) -> list[Outcome]:
        """What became of each event, in order. One call at a time."""
        session = await asyncio.shield(self._ready)
        messages, outcomes = encoded(events)
        sent = await session.publish_each(list(messages.values()))
        self._judge(session, {outcome.fate for outcome in set(sent)})
        if not outcomes:
            return sent
        outcomes.update(zip(messages, sent, strict=True))
        return [outcomes[number] for number in range(len(events))]

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
        if Fate.NACKED not in fates:
            self._nacks_borne = _NEW_CHANNEL_SECONDS
        elif self._loop.time() - self._opened_at >= self._nacks_borne:
            self._nacks_borne = min(2 * self._nacks_borne, _NEW_CHANNEL_SECONDS_AT_MOST)
            session.fail(BrokerUnavailable("it nacks events"))

    async def _use(self, session: Session) -> None:
        self._opened_at = self._loop.time()
        self._ready.set_result(session)
        try:
            await asyncio.wait([session.closed])
        finally:
            self._ready = self._loop.create_future()

    def _told(self, refusal: BrokerRefused | None) -> None:
        self._refused_session = refusal


def encoded(events: Sequence[Outgoing]) -> tuple[dict[int, Message], dict[int, Outcome]]:
    """The message of each event that can be sent, by its place; what becomes of each of the others.

    What comes after one that can't be sent, of the same order, is held back with it.
    """
    messages: dict[int, Message] = {}
    outcomes: dict[int, Outcome] = {}
    stuck: set[str] = set()
    for number, one in enumerate(events):
        if stuck and one.event.subject in stuck:
            outcomes[number] = Outcome(Fate.HELD)
            continue
        try:
            messages[number] = of_event(one.event, one.to)
        except Exception as error:  # noqa: BLE001 - its outcome: whatever is wrong with one harms no other
            outcomes[number] = Outcome(Fate.IMPOSSIBLE, f"it can't be encoded: {type(error).__name__}: {error}")
            stuck.add(one.event.subject)
    return messages, outcomes

"""A subscriber in numbers: what it records, how late, and what becomes a dead letter (metrics/table.py)."""

from collections import Counter
from collections.abc import Iterable, Sequence

from ordersys.contract.events import time_of
from ordersys.contract.properties import death
from ordersys.notification_service.inbox import DEAD_LETTERS, Recording, Rendered
from ordersys.runtime.base.ids import now
from ordersys.runtime.metrics.instruments import Children, are_on, counter, gauge, histogram
from ordersys.runtime.metrics.instruments import Counter as Counted
from ordersys.runtime.metrics.table import DEAD_LETTERS as DECLARED
from ordersys.runtime.metrics.table import DEAD_LETTERS_KEPT, EVENT_AGE_SECONDS, INBOX_EVENTS
from ordersys.runtime.rabbitmq.messages import AmqpDelivery
from ordersys.runtime.storage.interface import Storage

_OTHER = "other"
_REASONS = next(label.values for label in DECLARED.labels)


class Measures:
    """The measures of one subscriber, which takes events of these types."""

    def __init__(self, types: Iterable[str]) -> None:
        keys = [(event_type, recording) for event_type in types for recording in Recording] if are_on() else []
        self._recordings = Children(_counter, keys)
        self._age = histogram(EVENT_AGE_SECONDS)
        self._dead = Children(lambda reason: counter(DECLARED, reason=reason), _REASONS)
        self._kept = gauge(DEAD_LETTERS_KEPT)

    def recorded(self, rendered: Sequence[Rendered], recordings: Sequence[Recording]) -> None:
        """Counts events by what became of them, and notes the age of those that are new."""
        if not are_on():
            return
        time = now()
        for (event, _, _), recording in zip(rendered, recordings, strict=True):
            if recording in (Recording.NEW, Recording.LATE):
                self._age.observe(max(0, time - time_of(event)) / 1_000_000)
        pairs = Counter((event.type, recording) for (event, _, _), recording in zip(rendered, recordings, strict=True))
        for key, number in pairs.items():
            self._recordings[key].inc(number)

    def dead_lettered(self, deliveries: Sequence[AmqpDelivery]) -> None:
        """Counts dead letters that were taken over, by the reason the broker gives."""
        for delivery in deliveries:
            reason = death(delivery.properties).reason
            self._dead[reason if reason in _REASONS else _OTHER].inc()

    async def look(self, database: Storage) -> None:
        """Shows the dead letters that are kept. Raises Unavailable."""
        self._kept.set(await database.read(DEAD_LETTERS.count) if database.leadership.held else 0)


def _counter(key: tuple[str, Recording]) -> Counted:
    event_type, recording = key
    return counter(INBOX_EVENTS, event=event_type.rpartition(".")[2], result=recording.value)

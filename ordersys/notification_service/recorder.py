"""Records events: rendered by the handler, stored in the inbox, logged."""

import logging
from collections.abc import Callable, Mapping, Sequence

from ordersys.contract.events import Event, Undecodable, decode
from ordersys.contract.publishers import Published, Publishers
from ordersys.notification_service.inbox import Inbox, Recording, Rendered
from ordersys.notification_service.measures import Measures
from ordersys.runtime.base import log
from ordersys.runtime.rabbitmq.consumer import Disposition
from ordersys.runtime.rabbitmq.traces import processing
from ordersys.runtime.storage.interface import Storage

_log = logging.getLogger(__name__)
Handler = Callable[..., str]
"""Renders an event of one type as a sentence for a person."""
_CONFLICT = "the id is recorded with another body"
_DISPOSITIONS = {
    Recording.NEW: Disposition.ACK,
    Recording.LATE: Disposition.ACK,
    Recording.REPEATED: Disposition.ACK,
    Recording.CONFLICTING: Disposition.DEAD_LETTER,
}


class Recorder:
    """Records events for one consumer. `handlers` has the handler for each event type's full name.

    With `publishers` it believes only these, else whoever may publish.
    """

    def __init__(
        self,
        database: Storage,
        inbox: Inbox,
        handlers: Mapping[str, Handler],
        publishers: Publishers | None = None,
    ) -> None:
        self._database = database
        self._inbox = inbox
        self._handlers = handlers
        self._publishers = publishers
        self.measures = Measures(handlers)

    async def take(self, deliveries: Sequence[Published]) -> Sequence[Disposition]:
        """The disposition of each delivery. Raises StorageUnavailable while the database can't be written."""
        dispositions = [Disposition.DEAD_LETTER] * len(deliveries)
        events: dict[int, Event] = {}
        for index, delivery in enumerate(deliveries):
            try:
                if self._publishers is not None:  # before anything of it is parsed
                    self._publishers.check(delivery)
                events[index] = decode(delivery)
            except Undecodable as error:
                _log.error("dead letter: %r: %s", delivery.message_id, error)
        recorded = await self.record(list(events.values()))
        for index, disposition in zip(events, recorded, strict=True):
            dispositions[index] = disposition
        return dispositions

    async def record(self, events: list[Event]) -> Sequence[Disposition]:
        """The disposition of each event. Raises StorageUnavailable while the database can't be written."""
        results = [self._render(event) for event in events]
        rendered = {index: result for index, result in enumerate(results) if isinstance(result, Rendered)}
        dispositions = [Disposition.ACK if isinstance(result, Rendered) else result for result in results]
        # Nothing new, no commit: dead letters alone wait for no disk.
        recordings = await self._database.write(self._inbox.record, list(rendered.values())) if rendered else []
        self.measures.recorded(list(rendered.values()), recordings)
        with log.together():  # a write to the log costs more than the line (docs/performance.md, "What was worth it")
            self._log_recordings(list(rendered.values()), recordings)
        for index, recording in zip(rendered, recordings, strict=True):
            dispositions[index] = _DISPOSITIONS[recording]
        return dispositions

    async def obstacles(self, deliveries: Sequence[Published]) -> list[str]:
        """The reason why each dead letter would be one again if it was replayed, empty where it would not."""
        judged = [self._judge(delivery) for delivery in deliveries]
        events = {index: result for index, result in enumerate(judged) if isinstance(result, Event)}
        reasons = ["" if isinstance(result, Event) else result for result in judged]
        conflicts = await self._database.read(self._inbox.conflicts, list(events.values())) if events else []
        for index, conflict in zip(events, conflicts, strict=True):
            reasons[index] = _CONFLICT if conflict else ""
        return reasons

    def _judge(self, delivery: Published) -> Event | str:
        """The event in a dead letter, or the reason why it is none for this service."""
        try:
            if self._publishers is not None:
                self._publishers.check_replay(delivery)
            event = decode(delivery)
        except Undecodable as error:
            return str(error)
        return event if event.type in self._handlers else _not_taken(event)

    def _render(self, event: Event) -> Rendered | Disposition:
        handler = self._handlers.get(event.type)
        # Not given back: this release will not know the event the next time either, and each try counts.
        if handler is None:
            _log.error("dead letter: %r: %s", event.event_id, _not_taken(event))
            return Disposition.DEAD_LETTER
        try:
            return Rendered(event, handler(event.message), processing(event.event_id))
        except Exception:  # noqa: BLE001 - whatever a handler does, only its own event suffers
            _log.exception("the handler failed on %r; it comes again, within its delivery limit", event.event_id)
            return Disposition.RETURN

    def _log_recordings(self, rendered: Sequence[Rendered], recordings: Sequence[Recording]) -> None:
        """Logs a line for each new event, and an error for each conflicting one."""
        lines = []
        for (event, text, _), recording in zip(rendered, recordings, strict=True):
            if recording is Recording.CONFLICTING:
                _log.error("dead letter: %r: %s", event.event_id, _CONFLICT)
            elif recording is not Recording.REPEATED:
                lines.append((text, _fields(event, recording)))
        log.info_each(_log, lines)


def _not_taken(event: Event) -> str:
    return f"this service does not take {event.type}"


def _fields(event: Event, recording: Recording) -> dict[str, object]:
    return {
        "event": event.type.rpartition(".")[2],
        "event_id": event.event_id,
        "order_id": event.order_id,
        "version": event.version,
        "late": recording is Recording.LATE,
    }

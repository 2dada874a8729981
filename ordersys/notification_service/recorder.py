"""Records events: rendered by the handler, stored in the inbox, logged."""

import logging
from collections.abc import Callable, Mapping, Sequence

from ordersys.contract.events import Event, Received, Undecodable, decode
from ordersys.notification_service.inbox import Inbox, Recording, Rendered
from ordersys.runtime.base import log
from ordersys.runtime.rabbitmq.consumer import Disposition
from ordersys.runtime.storage.database import Database

_log = logging.getLogger(__name__)
Handler = Callable[..., str]
_FORGED = "the id is recorded with another body"
_DISPOSITIONS = {
    Recording.NEW: Disposition.ACK,
    Recording.LATE: Disposition.ACK,
    Recording.REPEATED: Disposition.ACK,
    Recording.CONFLICTING: Disposition.DEAD_LETTER,
}


class Recorder:
    """Records events for one consumer. `handlers` has the handler for each event type's full name."""

    def __init__(self, database: Database, inbox: Inbox, handlers: Mapping[str, Handler]) -> None:
        self._database = database
        self._inbox = inbox
        self._handlers = handlers

    async def take(self, deliveries: Sequence[Received]) -> Sequence[Disposition]:
        """The disposition of each delivery. Raises StorageUnavailable while the database can't be written."""
        dispositions = [Disposition.DEAD_LETTER] * len(deliveries)
        events: dict[int, Event] = {}
        for index, delivery in enumerate(deliveries):
            try:
                events[index] = decode(delivery)
            except Undecodable as error:
                _log.error("dead letter: %r: %s", delivery.message_id, error)
        recorded = await self.record(list(events.values()))
        for index, disposition in zip(events, recorded, strict=True):
            dispositions[index] = disposition
        return dispositions

    async def record(self, events: list[Event]) -> Sequence[Disposition]:
        """The disposition of each event. Raises StorageUnavailable while the database can't be written."""
        worded = [self._render(event) for event in events]
        told = [one for one in worded if isinstance(one, Rendered)]
        recordings = await self._database.write(self._inbox.record, told) if told else []
        with log.together():
            self._tell(told, recordings)
        recorded = map(_DISPOSITIONS.__getitem__, recordings)
        return [next(recorded) if isinstance(one, Rendered) else one for one in worded]

    async def obstacles(self, deliveries: Sequence[Received]) -> list[str]:
        """For each delivery why it would be a dead letter, empty when it would not."""
        judged = [self._judge(delivery) for delivery in deliveries]
        events = [one for one in judged if isinstance(one, Event)]
        forged = iter(await self._database.read(self._inbox.forged, events) if events else ())
        return [(_FORGED if next(forged) else "") if isinstance(one, Event) else one for one in judged]

    def _judge(self, delivery: Received) -> Event | str:
        try:
            event = decode(delivery)
        except Undecodable as error:
            return str(error)
        return event if event.type in self._handlers else _not_taken(event)

    def _render(self, event: Event) -> Rendered | Disposition:
        handler = self._handlers.get(event.type)
        if handler is None:
            _log.error("dead letter: %r: %s", event.event_id, _not_taken(event))
            return Disposition.DEAD_LETTER
        try:
            return Rendered(event, handler(event.message))
        except Exception:  # noqa: BLE001 - whatever a handler does, only its own event suffers
            _log.exception("the handler failed on %r; it comes again, within its delivery limit", event.event_id)
            return Disposition.RETURN

    def _tell(self, told: Sequence[Rendered], recordings: Sequence[Recording]) -> None:
        """Has the log tell of what is new, and of what is forged."""
        lines = []
        for one, recording in zip(told, recordings, strict=True):
            if recording is Recording.CONFLICTING:
                _log.error("dead letter: %r: %s", one.event.event_id, _FORGED)
            elif recording is not Recording.REPEATED:
                lines.append((one.text, _fields(one.event, recording)))
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

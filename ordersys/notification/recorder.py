"""What a notification service does with events: the handler words them, the inbox records them, the log tells."""

import logging
from collections.abc import Callable, Mapping, Sequence

from ordersys.contract.events import Event
from ordersys.notification.store import Inbox, Recording, Told
from ordersys.runtime.consumer import Disposition
from ordersys.runtime.database import Database

_log = logging.getLogger(__name__)
Handler = Callable[..., str]
_DISPOSITIONS = {Recording.FORGED: Disposition.DEAD_LETTER}


class Recorder:
    """Records events for one consumer. `handlers` has the handler for each event type's full name."""

    def __init__(self, database: Database, inbox: Inbox, handlers: Mapping[str, Handler]) -> None:
        self._database = database
        self._inbox = inbox
        self._handlers = handlers

    async def record(self, events: list[Event]) -> Sequence[Disposition]:
        """What becomes of each event. Raises Refused while the database can't be written."""
        worded = [self._word(event) for event in events]
        told = [one for one in worded if isinstance(one, Told)]
        recordings = iter(await self._database.write(self._inbox.record, told) if told else ())
        return [self._done(one, next(recordings)) if isinstance(one, Told) else one for one in worded]

    def _word(self, event: Event) -> Told | Disposition:
        handler = self._handlers.get(event.type)
        if handler is None:
            _log.error("dead letter: %r: this service does not take %s", event.event_id, event.type)
            return Disposition.DEAD_LETTER
        try:
            return Told(event, handler(event.message))
        except Exception:  # noqa: BLE001 - whatever a handler does, only its own event suffers
            _log.exception("the handler failed on %r; it comes again, within its delivery limit", event.event_id)
            return Disposition.RETURN

    def _done(self, told: Told, recording: Recording) -> Disposition:
        if recording is Recording.FORGED:
            _log.error("dead letter: %r is recorded with another body", told.event.event_id)
        elif recording is not Recording.REPEATED:
            _log.info(told.text, extra={"fields": _fields(told.event, recording)})
        return _DISPOSITIONS.get(recording, Disposition.ACK)


def _fields(event: Event, recording: Recording) -> dict[str, object]:
    return {
        "event": event.type.rpartition(".")[2],
        "event_id": event.event_id,
        "order_id": event.order_id,
        "version": event.version,
        "late": recording is Recording.LATE,
    }

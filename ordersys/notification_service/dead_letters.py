"""A dead letter that is kept -> the DeadLetter a person looks at. Pure, and whatever it contains, it has an answer."""

from google.protobuf.timestamp_pb2 import Timestamp

from ordersys.api.notification.v1.dead_letter_service_pb2 import DeadLetter, DeadLetterReason
from ordersys.runtime import dead_letters

# Bytes of a body that a list shows: a page of 500 has to fit into a message (ORDERSYS_MAX_MESSAGE_BYTES).
_BEGINNING = 1024
# The seconds of the years 1 to 9999: what a Timestamp may be, and JSON can say.
_FIRST, _LAST = -62_135_596_800, 253_402_300_799
# As RabbitMQ names them in the x-death header.
_REASONS = {
    "rejected": DeadLetterReason.DEAD_LETTER_REASON_REJECTED,
    "delivery_limit": DeadLetterReason.DEAD_LETTER_REASON_DELIVERY_LIMIT,
    "expired": DeadLetterReason.DEAD_LETTER_REASON_EXPIRED,
    "maxlen": DeadLetterReason.DEAD_LETTER_REASON_MAXLEN,
}


def to_dead_letter(kept: dead_letters.DeadLetter, obstacle: str) -> DeadLetter:
    """The DeadLetter of the contract; `obstacle` is why the subscriber would not take it now."""
    delivery, death = kept.delivery, kept.death
    return DeadLetter(
        id=kept.letter_id,
        event_id=_text(delivery.message_id),
        type=_text(delivery.type),
        content_type=_text(delivery.content_type),
        reason=_REASONS.get(death.reason, DeadLetterReason.DEAD_LETTER_REASON_UNSPECIFIED),
        obstacle=obstacle,
        dead_letter_time=_time(death.time),
        size_bytes=kept.size,
        body_beginning=delivery.body[:_BEGINNING],
    )


def _time(seconds: int | None) -> Timestamp | None:
    # x-death may have been written by a client: docs/reliability.md, "a dead letter with a `user_id`".
    return Timestamp(seconds=seconds) if seconds is not None and _FIRST <= seconds <= _LAST else None


def _text(value: str | bytes | None) -> str:
    """A property as text; one that is not UTF-8 comes as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""

"""A delivery from a dead-letter queue -> the DeadLetter a person looks at. Pure."""

from typing import Any

from ordersys.api.notification.v1.dead_letter_service_pb2 import DeadLetter, DeadLetterReason
from ordersys.contract.events import Delivery
from ordersys.runtime.dead_letters import letter_id

_BEGINNING = 1024
# As RabbitMQ names them in the x-death header.
_REASONS = {
    "rejected": DeadLetterReason.DEAD_LETTER_REASON_REJECTED,
    "delivery_limit": DeadLetterReason.DEAD_LETTER_REASON_DELIVERY_LIMIT,
}


def letter(delivery: Delivery, obstacle: str) -> DeadLetter:
    """What a subscriber could not take; `obstacle` is why it would not take it now."""
    death = _last_death(delivery)
    found = DeadLetter(
        id=letter_id(delivery),
        event_id=_text(delivery.message_id),
        type=_text(delivery.type),
        content_type=_text(delivery.content_type),
        reason=_REASONS.get(str(death.get("reason")), DeadLetterReason.DEAD_LETTER_REASON_UNSPECIFIED),
        obstacle=obstacle,
        size_bytes=len(delivery.body),
        body_beginning=delivery.body[:_BEGINNING],
    )
    if "time" in death:
        found.dead_letter_time.FromDatetime(death["time"])
    return found


def _last_death(delivery: Delivery) -> dict[str, Any]:
    """The newest entry of x-death, which anybody may have written."""
    deaths = delivery.headers.get("x-death")
    newest = deaths[0] if isinstance(deaths, list) and deaths else {}
    return newest if isinstance(newest, dict) else {}


def _text(value: Any) -> str:
    """What is not UTF-8 comes as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""

"""What is made anew for each order: the time, an id, a trace."""

import os
import re
import time
import uuid

_TRACEPARENT = re.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
TRACEPARENT = "traceparent"


def now() -> int:
    """Microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000


def uuid7() -> str:
    """A UUID that sorts by time (RFC 9562 §5.7), so that new rows land together in an index."""
    millis = time.time_ns() // 1_000_000
    number = (millis & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10))
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=number))


def uuid7_time(text: str) -> int:
    """When a UUID of version 7 was made, to the millisecond, in microseconds since 1970 (RFC 9562 §5.7)."""
    return (uuid.UUID(text).int >> 80) * 1000


def traceparent(given: object = None) -> str:
    """The W3C trace context `given` when it is one, else the beginning of a new one, sampled."""
    if isinstance(given, str) and _TRACEPARENT.fullmatch(given):
        return given
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"

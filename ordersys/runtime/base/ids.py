"""Time, ids and traces, made anew for each request."""

import os
import re
import time
import uuid

# W3C Trace Context §3.2.2: four fields in lower case, ids of zeros only and version ff invalid. Version 00 has nothing
# behind them; a later one may, after a dash, and is read as far as version 00 goes (§4.3).
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?P<ids>(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<more>-.*)?",
    re.ASCII | re.DOTALL,
)
_SAMPLED = 0x01
TRACEPARENT = "traceparent"


def now() -> int:
    """Microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000


def uuid7() -> str:
    """A UUID that sorts by time (RFC 9562 §5.7), so that new rows land together in an index."""
    millis = time.time_ns() // 1_000_000
    # 48 bits of time, 4 of version, 2 of variant; what is left is random.
    number = (millis & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10))
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def uuid7_time(text: str) -> int:
    """The time in a UUID of version 7, to the millisecond, in microseconds since 1970 (RFC 9562 §5.7)."""
    return (uuid.UUID(text).int >> 80) * 1000


def traceparent(given: object = None) -> str:
    """The W3C trace context `given` as version 00, where it is one, else the beginning of a new one, not sampled.

    Of a version that is not known only what version 00 has is passed on: the ids, and whether it is sampled. That is
    decided where a trace begins: a context that said so of itself would have everybody behind it record everything.
    """
    parts = _TRACEPARENT.fullmatch(given) if isinstance(given, str) else None
    if parts is None or (parts["version"] == "00" and parts["more"]):
        return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-00"
    return f"00-{parts['ids']}-{int(parts['flags'], 16) & _SAMPLED:02x}"

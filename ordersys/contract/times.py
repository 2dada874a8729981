"""Times as the contract has them: microseconds since 1970-01-01 UTC inside, Timestamps on the wire."""

from google.protobuf.timestamp_pb2 import Timestamp

MICROSECONDS = 1_000_000  # in a second; as an integer a time is exact, and fits into SQLite's INTEGER


def timestamp(time: int) -> Timestamp:
    """Microseconds since 1970 -> Timestamp."""
    seconds, micros = divmod(time, MICROSECONDS)
    return Timestamp(seconds=seconds, nanos=micros * 1000)


def microseconds(timestamp: Timestamp) -> int:
    """Timestamp -> microseconds since 1970, rounded down."""
    return timestamp.seconds * MICROSECONDS + timestamp.nanos // 1000

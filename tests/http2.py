"""HTTP/2 (RFC 9113) as bytes: what a client says that holds to no library's manners, and what it hears.

Header blocks are literals without an index (RFC 7541 §6.2.2); a server that is told of no table answers likewise.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
HEADER_TABLE_SIZE, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 1, 3, 4
TRUE_BINARY = 0xFE03
"""The grpc header that says that metadata need not travel in Base64."""
WIDEST_WINDOW = 2**31 - 1
FIRST_WINDOW = 65_535
FRAME_SIZE = 16_384
HEADER_BYTES = 9
_ONE_BYTE = 127


class Frame(NamedTuple):
    """A frame (§4.1)."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def ends(self) -> bool:
        """True if nothing more comes of its stream."""
        return self.kind == RST_STREAM or (self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM))


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """The bytes of a frame."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def greeting(settings: Mapping[int, int]) -> bytes:
    """The beginning of a connection: the preface and these settings."""
    entries = {HEADER_TABLE_SIZE: 0, TRUE_BINARY: 1, **settings}
    payload = b"".join(key.to_bytes(2) + value.to_bytes(4) for key, value in entries.items())
    return PREFACE + frame(SETTINGS, 0, 0, payload)


def headers(stream: int, path: str, more: Iterable[tuple[str, str]] = (), flags: int = END_HEADERS) -> bytes:
    """The beginning of a gRPC call."""
    return frame(HEADERS, flags, stream, block([*call_fields(path), *more]))


def call_fields(path: str) -> list[tuple[str, str]]:
    """The header fields of a gRPC call."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
    return [*fields, ("te", "trailers"), ("content-type", "application/grpc")]


def block(fields: Iterable[tuple[str, str]]) -> bytes:
    """Header fields as they travel."""
    return b"".join(b"\x00" + _string(name.encode()) + _string(value.encode()) for name, value in fields)


def message(stream: int, body: bytes, compressed: bool = False) -> bytes:
    """The only message of a call, in frames every peer takes, and its end."""
    octets = bytes([compressed]) + len(body).to_bytes(4) + body
    starts = range(0, len(octets), FRAME_SIZE)
    return b"".join(
        frame(DATA, END_STREAM if start == starts[-1] else 0, stream, octets[start : start + FRAME_SIZE])
        for start in starts
    )


def answer_to(heard: Frame) -> bytes:
    """The frames a client has to answer with at once: acknowledgements of settings and pings."""
    asked = heard.kind in (SETTINGS, PING) and not heard.flags & ACK
    return frame(heard.kind, ACK, 0, heard.payload if heard.kind == PING else b"") if asked else b""


def window_update(stream: int, octets: int) -> bytes:
    """Lets the peer send that much more."""
    return frame(WINDOW_UPDATE, 0, stream, octets.to_bytes(4))


def settings_in(payload: bytes) -> dict[int, int]:
    """The settings a peer names."""
    entries = (payload[at : at + 6] for at in range(0, len(payload), 6))
    return {int.from_bytes(entry[:2]): int.from_bytes(entry[2:]) for entry in entries}


def frames(buffer: bytearray) -> Iterator[Frame]:
    """Takes whole frames out of what was heard so far."""
    while len(buffer) >= HEADER_BYTES and len(buffer) >= (size := HEADER_BYTES + int.from_bytes(buffer[:3])):
        yield Frame(buffer[3], buffer[4], int.from_bytes(buffer[5:HEADER_BYTES]), bytes(buffer[HEADER_BYTES:size]))
        del buffer[:size]


def status_in(block: bytes) -> int | None:
    """The grpc-status in a header block, None when there is none."""
    after = block.partition(b"grpc-status")[2]
    return int(after[1 : 1 + after[0]]) if after and after[1 : 1 + after[0]].isdigit() else None


def _string(octets: bytes) -> bytes:
    """With its length before it (RFC 7541 §5.1)."""
    left = len(octets) - _ONE_BYTE
    if left < 0:
        return bytes([len(octets)]) + octets
    length = bytes([_ONE_BYTE])
    while left >= 128:
        length += bytes([left % 128 + 128])
        left //= 128
    return length + bytes([left]) + octets

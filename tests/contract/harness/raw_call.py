"""A gRPC call by its bytes: for what no client library sends. In clear, as the suite makes all its calls."""

import socket

from google.protobuf.descriptor import MethodDescriptor

from ordersys.contract import descriptors
from ordersys.contract.addresses import parse
from tests import http2

_BYTES = 65_536
_PREFIX_BYTES = 5


def framed(body: bytes) -> bytes:
    """A message as it travels: not compressed, and with its length before it."""
    return bytes([0]) + len(body).to_bytes(4, "big") + body


def raw_call(address: str, method: MethodDescriptor, octets: bytes, seconds: float) -> bytes | None:
    """Sends `octets` as all that a call says, and waits for its end; the bytes of the response, None without one."""
    heard, said, answer = bytearray(), http2.headers(1, descriptors.path(method)), b""
    with socket.create_connection(parse(address), seconds) as connection:
        connection.sendall(http2.greeting({}) + said + http2.frame(http2.DATA, http2.END_STREAM, 1, octets))
        while chunk := connection.recv(_BYTES):
            heard += chunk
            for frame in http2.frames(heard):
                connection.sendall(http2.answer_to(frame))
                answer += frame.payload if frame.kind == http2.DATA else b""
                if frame.ends and frame.stream == 1:
                    return answer[_PREFIX_BYTES:] if answer else None
    return None

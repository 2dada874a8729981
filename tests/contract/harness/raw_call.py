"""A gRPC call by its bytes: for what no client library sends. In clear, as the suite makes all its calls."""

import select
import socket
import time

from google.protobuf.descriptor import MethodDescriptor

from ordersys.contract import descriptors
from ordersys.contract.addresses import parse_list
from tests import http2

_BYTES = 65_536
_PREFIX_BYTES = 5
_DEADLINE = "1m"  # a millisecond
_LATE_SECONDS = 0.1


def framed(body: bytes) -> bytes:
    """A message as it travels: not compressed, and with its length before it."""
    return bytes([0]) + len(body).to_bytes(4, "big") + body


def raw_call(address: str, method: MethodDescriptor, octets: bytes, seconds: float) -> bytes | None:
    """Sends `octets` as all that a call says, and waits for its end; the bytes of the response, None without one."""
    with socket.create_connection(parse_list(address).each[0], seconds) as connection:
        connection.sendall(_beginning(method) + _rest(octets))
        return _answer(connection, bytearray())


def late_call(address: str, method: MethodDescriptor, octets: bytes, seconds: float) -> bytes | None:
    """As `raw_call`, of a call whose deadline has passed when its message arrives.

    A client library sends no such call: it ends it by itself. Of a deadline alone nobody can tell on which side it has
    passed: gRPC's shortest is a nanosecond, and servers count in milliseconds.
    """
    heard = bytearray()
    with socket.create_connection(parse_list(address).each[0], seconds) as connection:
        connection.sendall(_beginning(method, ("grpc-timeout", _DEADLINE)))
        until = time.monotonic() + _LATE_SECONDS
        while (left := until - time.monotonic()) > 0 and select.select([connection], [], [], left)[0]:
            if not (chunk := connection.recv(_BYTES)):
                return None
            heard += chunk
        connection.sendall(_rest(octets))
        return _answer(connection, heard)


def _beginning(method: MethodDescriptor, *more: tuple[str, str]) -> bytes:
    return http2.greeting({}) + http2.headers(1, descriptors.path(method), more)


def _rest(octets: bytes) -> bytes:
    return http2.frame(http2.DATA, http2.END_STREAM, 1, octets)


def _answer(connection: socket.socket, heard: bytearray) -> bytes | None:
    """The bytes of the response of the call, None without one, once it has ended. `heard` was read before."""
    answer = b""
    while True:
        for frame in http2.frames(heard):
            connection.sendall(http2.answer_to(frame))
            answer += frame.payload if frame.kind == http2.DATA else b""
            if frame.ends and frame.stream == 1:
                return answer[_PREFIX_BYTES:] if answer else None
        if not (chunk := connection.recv(_BYTES)):
            return None
        heard += chunk

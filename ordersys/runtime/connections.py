"""The connections of this process to one of its ports, as the system sees them: gRPC shows none of them to Python.

On Linux. Elsewhere there are none to be seen, and nothing is closed.
"""

import ctypes
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_DESCRIPTORS = Path("/proc/self/fd")
_BYTES_RECEIVED = struct.Struct("Q")
_BYTES_RECEIVED_AT = 128  # offset of tcpi_bytes_received in struct tcp_info (linux/tcp.h), since Linux 4.1
_MAPPED = "::ffff:"
_NOBODY = socket.AF_UNSPEC.to_bytes(2, sys.byteorder) + bytes(14)  # struct sockaddr
_LIBC = ctypes.CDLL(None)


class Connection(NamedTuple):
    """A client's connection: its name as gRPC's `context.peer()` has it, the bytes it has sent, and its socket."""

    peer: str
    received: int
    socket: socket.socket

    def end(self) -> None:
        """Ends the connection at once: gRPC finds it broken, and forgets what it held for it.

        With a connect to nobody (connect(2): AF_UNSPEC), which throws away what has come and was not read yet: after
        shutdown(2) gRPC would read on, and the client's system go on sending.
        """
        _LIBC.connect(self.socket.fileno(), _NOBODY, len(_NOBODY))


@contextmanager
def connections(port: int) -> Iterator[list[Connection]]:
    """The connections to `port`, while the context is open. Takes some 10 µs a descriptor of the process."""
    found: dict[str, Connection] = {}
    try:
        for number in _descriptors():
            _add(found, number, port)
        yield list(found.values())
    finally:
        for connection in found.values():
            connection.socket.close()


def _add(found: dict[str, Connection], number: int, port: int) -> None:
    """A copy may get a number that was listed for something else, and so be met again: once is enough."""
    if (copy := _copy(number)) is None:
        return
    connection = _connection(copy, port)
    if connection is None or connection.peer in found:
        copy.close()
    else:
        found[connection.peer] = connection


def _descriptors() -> list[int]:
    try:
        return [int(path.name) for path in _DESCRIPTORS.iterdir()]
    except OSError:
        return []


def _copy(number: int) -> socket.socket | None:
    """A socket of our own for the descriptor: gRPC may close its own meanwhile, and the number be another's."""
    try:
        if not str((_DESCRIPTORS / str(number)).readlink()).startswith("socket:"):
            return None
        return socket.socket(fileno=os.dup(number))
    except OSError:
        return None


def _connection(copy: socket.socket, port: int) -> Connection | None:
    try:
        if copy.getsockname()[1:2] != (port,):
            return None
        octets = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 512)
        peer = copy.getpeername()
    except (OSError, AttributeError, IndexError, TypeError):
        return None  # not TCP, not connected, or a system that does not tell
    (received,) = _BYTES_RECEIVED.unpack_from(octets, _BYTES_RECEIVED_AT)
    return Connection(_name(peer[0], peer[1]), received, copy)


def _name(host: str, port: int) -> str:
    """As gRPC writes it: brackets of IPv6 in percent, IPv4 as IPv4 also on a socket for both."""
    host = host.removeprefix(_MAPPED) if "." in host else host
    return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"


def end(port: int, peers: set[str]) -> None:
    """Ends the connections of these peers."""
    with connections(port) as found:
        for connection in found:
            if connection.peer in peers:
                connection.end()

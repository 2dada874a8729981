"""The connections of this process to one of its ports, as the system sees them: gRPC shows none of them to Python.

On Linux. Elsewhere there are none to be seen, and nothing is closed.
"""

import ipaddress
import re
import socket
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

from ordersys.runtime.base import system_calls

_TABLE_SIZE = re.compile(rb"^FDSize:\s*(\d+)", re.MULTILINE)
_STATUS = b"/proc/self/status"
_TCP_INFO = getattr(socket, "TCP_INFO", 11)
_INFO_BYTES = 256
_BYTES_RECEIVED = struct.Struct("Q")
_BYTES_RECEIVED_AT = 128  # offset of tcpi_bytes_received in struct tcp_info (linux/tcp.h), since Linux 4.1
_FAMILY, _PORT = struct.Struct("=H"), struct.Struct("!2xH")  # of struct sockaddr_in and sockaddr_in6
_IPV4, _IPV6 = slice(4, 8), slice(8, 24)
_NOBODY = socket.AF_UNSPEC.to_bytes(2, sys.byteorder) + bytes(14)  # struct sockaddr


class Connection(NamedTuple):
    """A client's connection: its name as gRPC's `context.peer()` has it, and the bytes it has sent."""

    peer: str
    received: int
    address: bytes
    descriptor: int

    def end(self) -> None:
        """Ends the connection at once: gRPC finds it broken, and forgets what it held for it.

        With a connect to nobody (connect(2): AF_UNSPEC), which throws away what has come and was not read yet: after
        shutdown(2) gRPC would read on, and the client's system go on sending. On a copy: gRPC may have closed its
        descriptor meanwhile, and the number be that of something else.
        """
        if (copy := system_calls.copy(self.descriptor)) is None:
            return
        if system_calls.peer_address(copy) == self.address:
            system_calls.connect(copy, _NOBODY)
        system_calls.close(copy)


def connections(port: int) -> list[Connection]:
    """The connections to `port`. Takes some 3 µs a descriptor of the process, and waits for nothing meanwhile."""
    return list(_connections(port))


def end(port: int, peers: set[str]) -> None:
    """Ends the connections of these peers."""
    for connection in connections(port):
        if connection.peer in peers:
            connection.end()


def _connections(port: int) -> Iterator[Connection]:
    for number in range(_table_size()):
        own = system_calls.own_address(number)
        if own is None or _family(own) not in (socket.AF_INET, socket.AF_INET6) or _PORT.unpack_from(own) != (port,):
            continue
        address = system_calls.peer_address(number)
        info = system_calls.option(number, socket.IPPROTO_TCP, _TCP_INFO, _INFO_BYTES)
        if address and info and len(info) >= _BYTES_RECEIVED_AT + _BYTES_RECEIVED.size:
            (received,) = _BYTES_RECEIVED.unpack_from(info, _BYTES_RECEIVED_AT)
            yield Connection(_name(address), received, address, number)


def _table_size() -> int:
    """One more than the highest descriptor there may be, 0 where the system does not say."""
    try:
        line = _TABLE_SIZE.search(system_calls.read(_STATUS))
    except OSError:
        return 0
    return int(line[1]) if line else 0


def _family(address: bytes) -> int:
    (family,) = _FAMILY.unpack_from(address)
    return int(family)


def _name(address: bytes) -> str:
    """As gRPC writes it: brackets of IPv6 in percent, IPv4 as IPv4 also on a socket for both."""
    (port,) = _PORT.unpack_from(address)
    if _family(address) == socket.AF_INET:
        return f"ipv4:{ipaddress.IPv4Address(address[_IPV4])}:{port}"
    host = ipaddress.IPv6Address(address[_IPV6])
    return f"ipv4:{host.ipv4_mapped}:{port}" if host.ipv4_mapped else f"ipv6:%5B{host}%5D:{port}"

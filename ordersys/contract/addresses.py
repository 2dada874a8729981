"""HOST:PORT, read in one way by services, clients and the launcher.

Stricter than gRPC, which would take `http://host:1` for a name and `::1:50052` for an address without a port, and
would say of either only that nobody answers.
"""

import ipaddress
import re
from collections.abc import Sequence
from typing import NamedTuple

_MOST_PORT = 65_535
_EXAMPLE = "127.0.0.1:50051"
_PORT = re.compile(r"[1-9][0-9]{0,4}")
# RFC 1123 §2.1, and the underscore that container networks have in names.
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_MOST_NAME = 253
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
# Before a colon gRPC takes these for a kind of address (doc/naming.md), not for a host.
_SCHEMES = frozenset(
    {"dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds", "google-c2p", "passthrough", "fd", "external"}
)


class Address(NamedTuple):
    """Where a service listens. `str()` has the form that gRPC and `parse` take, IPv6 in brackets."""

    host: str
    """A name in lower case, an IPv4 address, or an IPv6 address without brackets."""
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether a connection to it never leaves this machine, by its text alone: no name is looked up.

        A wildcard counts, too: whoever connects to 0.0.0.0 or [::] reaches this machine.
        """
        name = self.host.rstrip(".")
        if name == "localhost" or name.endswith(".localhost"):  # RFC 6761 §6.3
            return True
        try:
            found = ipaddress.ip_address(self.host)
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return found.is_loopback or found.is_unspecified


class InvalidAddress(ValueError):
    """No address; the text says what it must be, fit to stand behind "must be"."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"HOST:PORT {reason}, such as {_EXAMPLE}")
        self.reason = reason
        """What is wrong alone, such as "with a port"."""


def parse(text: str, port: int | None = None) -> Address:
    """The address that `text` is; without a port of its own it has `port`, if that is given. Raises InvalidAddress."""
    if re.search(r"\s", text):
        raise InvalidAddress("without blanks")
    if "://" in text:
        raise InvalidAddress("without a scheme")
    for sign, where in (("/", "path"), ("@", "user")):
        if sign in text:
            raise InvalidAddress(f"without a {where}")
    if text.startswith("["):
        return _bracketed(text, port)
    if text.count(":") > 1:
        raise InvalidAddress(_brackets(text))
    host, colon, given = text.partition(":")
    if port is None and host.lower() in _SCHEMES:  # with a known port it is a part of a URL, and not for gRPC
        raise InvalidAddress(f"with another host: gRPC takes {host.lower()}: for a kind of address")
    return Address(_host(host), _port(given, None if colon else port))


def channel_options(address: Address) -> Sequence[tuple[str, int]]:
    """The options of a channel to `address` that follow from where it leads.

    A proxy in the environment (https_proxy, grpc_proxy) is for what leaves the machine: asked for a loopback address,
    it would look for it on its own machine.
    """
    return (("grpc.enable_http_proxy", 0),) if address.is_loopback else ()


def _brackets(text: str) -> str:
    """The way out for an IPv6 address without brackets, with or without a port behind it."""
    host, _, port = text.rpartition(":")
    likely = host if _is_ipv6(host) and _PORT.fullmatch(port) else text if _is_ipv6(text) else ""
    if not likely:
        return "with a single colon"
    return f"with an IPv6 address in brackets ([{likely}]:{port if likely == host else 'PORT'})"


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _bracketed(text: str, port: int | None) -> Address:
    inside, bracket, rest = text[1:].partition("]")
    if not bracket or ((rest or port is None) and not rest.startswith(":")):
        raise InvalidAddress("with a port behind the brackets")
    if "%" in inside or not _is_ipv6(inside):  # gRPC neither connects to nor listens on an address with a zone
        raise InvalidAddress("with brackets around an IPv6 address only")
    return Address(str(ipaddress.IPv6Address(inside)), _port(rest[1:], None if rest else port))


def _port(text: str, otherwise: int | None) -> int:
    if not text and otherwise is not None:
        return otherwise
    if not text:
        raise InvalidAddress("with a port")
    if not _PORT.fullmatch(text) or int(text) > _MOST_PORT:
        raise InvalidAddress(f"with a port from 1 to {_MOST_PORT}")
    return int(text)


def _host(text: str) -> str:
    if not text:
        raise InvalidAddress("with a host")
    if text == "*":
        raise InvalidAddress("with a host; all interfaces are 0.0.0.0 or [::]")
    labels = text.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(text)
    if len(text) > _MOST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidAddress("with a host name of ASCII letters, digits, hyphens and dots")
    return text.lower()


def _ipv4(text: str) -> str:
    """Whatever ends in a number is one: `127.1` and `0x7f000001` mean an address to some resolvers only."""
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise InvalidAddress("with four numbers from 0 to 255 in an IPv4 address") from None

"""Addresses as HOST:PORT, parsed in one way by services, clients and the launcher.

Stricter than gRPC, which takes `http://host:1` for a host name and `::1:50052` for an address without a port, and then
reports only that nobody answers.
"""

import ipaddress
import re
from collections.abc import Sequence
from typing import NamedTuple

_MAX_PORT = 65_535  # 16 bits (RFC 9293 §3.1); 0 would be any free port, which no client could find
_EXAMPLE = "127.0.0.1:50051"
_PORT = re.compile(r"[1-9][0-9]{0,4}")
# RFC 1123 §2.1, and the underscore that container networks have in names.
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_MAX_NAME = 253  # characters: 255 bytes on the wire (RFC 1035 §3.1), two of which are no text
# A last label of this form makes a host an IPv4 address (WHATWG URL, "ends in a number").
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
# Before a colon gRPC takes these for a kind of address (doc/naming.md), not for a host.
_SCHEMES = frozenset(
    {"dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds", "google-c2p", "passthrough", "fd", "external"}
)


class Address(NamedTuple):
    """The address of a service. `str()` has the form that gRPC and `parse` take, IPv6 in brackets."""

    host: str
    """A name in lower case, an IPv4 address, or an IPv6 address without brackets."""
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def each(self) -> "tuple[Address, ...]":
        """Itself: a list of one, as `Addresses` has it."""
        return (self,)

    @property
    def target(self) -> str:
        """The name gRPC takes for it."""
        return str(self)

    @property
    def is_loopback(self) -> bool:
        """True if a connection to it stays on this machine, judged by the text alone: no name is resolved.

        A wildcard counts, too: a connection to 0.0.0.0 or [::] reaches this machine.
        """
        name = self.host.rstrip(".")
        if name == "localhost" or name.endswith(".localhost"):  # RFC 6761 §6.3
            return True
        address = _ip_address(self.host)
        return address is not None and (address.is_loopback or address.is_unspecified)

    @property
    def is_wildcard(self) -> bool:
        """True if it stands for all addresses of the machine."""
        address = _ip_address(self.host)
        return address is not None and address.is_unspecified


class Addresses(NamedTuple):
    """The address of a service, or those of several processes of it. `str()` has the form `parse_list` takes."""

    each: tuple[Address, ...]

    def __str__(self) -> str:
        return ",".join(map(str, self.each))

    @property
    def target(self) -> str:
        """The name gRPC takes for it."""
        if len(self.each) == 1:
            return str(self.each[0])
        return f"{'ipv6' if ':' in self.each[0].host else 'ipv4'}:{self}"

    @property
    def is_loopback(self) -> bool:
        """True if all of them are."""
        return all(address.is_loopback for address in self.each)


class InvalidAddress(ValueError):
    """A text that is no address. Its message completes the sentence "NAME must be …"."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"HOST:PORT {reason}, such as {_EXAMPLE}")
        self.reason = reason
        """The part of the message that says what is wrong, such as "with a port"."""


def parse(text: str, port: int | None = None) -> Address:
    """The address that `text` is; without a port of its own it has `port`, if that is given. Raises InvalidAddress."""
    if re.search(r"\s", text):
        raise InvalidAddress("without blanks")
    if "://" in text:
        raise InvalidAddress("without a scheme")
    for sign, part in (("/", "path"), ("@", "user")):
        if sign in text:
            raise InvalidAddress(f"without a {part}")
    if text.startswith("["):
        return _bracketed(text, port)
    if text.count(":") > 1:
        raise InvalidAddress(_brackets(text))
    host, colon, given = text.partition(":")
    if port is None and host.lower() in _SCHEMES:  # with a known port it is a part of a URL, and not for gRPC
        raise InvalidAddress(f"with another host: gRPC takes {host.lower()}: for a kind of address")
    return Address(_host(host), _port(given, None if colon else port))


def parse_list(text: str) -> Addresses:
    """The addresses in `text`, with commas between them. Raises InvalidAddress.

    Of several each is an IP address, and all are of one kind: gRPC takes no other list. A name may have several
    addresses by itself.
    """
    each = tuple(parse(part.strip()) for part in text.split(","))
    if len(each) > 1 and len({_version(address.host) for address in each}) > 1:
        raise InvalidAddress("with IPv4 addresses only, or IPv6 addresses only, where there are several")
    if len(each) > 1 and not _version(each[0].host):
        raise InvalidAddress("with an IP address where there are several; one name may have several addresses")
    return Addresses(each)


def parse_any(text: str) -> Address | Addresses:
    """The address that `text` is, or the list of several. Raises InvalidAddress."""
    several = parse_list(text)
    return several if len(several.each) > 1 else several.each[0]


def _version(host: str) -> int:
    """4 or 6, and 0 of a name."""
    try:
        return ipaddress.ip_address(host).version
    except ValueError:
        return 0


def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that `host` is: the IPv4 one where it is that in the form of IPv6. None of a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    # Before Python 3.13 ::ffff:127.0.0.1 is no loopback address by itself.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def channel_options(address: Address | Addresses) -> Sequence[tuple[str, int]]:
    """The gRPC channel options for `address`: no HTTP proxy for a loopback address.

    A proxy in the environment (https_proxy, grpc_proxy) would look for a loopback address on its own machine.
    """
    return (("grpc.enable_http_proxy", 0),) if address.is_loopback else ()


def _brackets(text: str) -> str:
    """The hint for more than one colon: most likely an IPv6 address without brackets, with or without a port."""
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


def _port(text: str, default: int | None) -> int:
    if not text and default is not None:
        return default
    if not text:
        raise InvalidAddress("with a port")
    if not _PORT.fullmatch(text) or int(text) > _MAX_PORT:
        raise InvalidAddress(f"with a port from 1 to {_MAX_PORT}")
    return int(text)


def _host(text: str) -> str:
    if not text:
        raise InvalidAddress("with a host")
    if text == "*":
        raise InvalidAddress("with a host; all interfaces are 0.0.0.0 or [::]")
    labels = text.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(text)
    if len(text) > _MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidAddress("with a host name of ASCII letters, digits, hyphens and dots")
    return text.lower()


def _ipv4(text: str) -> str:
    """Four numbers only: `127.1` and `0x7f000001` are addresses to some resolvers, and names to others."""
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise InvalidAddress("with four numbers from 0 to 255 in an IPv4 address") from None

"""The URLs of a broker: one, or those of the nodes of a cluster, separated by commas (in a URL a comma is %2C).

Read once, before anything starts, by the parser that will use them: pika's. It takes more than it understands – a `/`
in a password moves the host, `/a/b` means the virtual host a – so that only what can be read in one way is given to it.
From then on nobody parses or shows a URL: what is shown is made of what pika has read, and holds no secret.

`amqps://` without a user means the user in the process's certificate (`tls`), `amqp://` without one the guest that each
RabbitMQ has on loopback.
"""

import ast
import re
import ssl
from copy import copy
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote, unquote_to_bytes

import pika
from pika.credentials import ExternalCredentials, PlainCredentials

from ordersys.console.secret_files import Exposed
from ordersys.contract import addresses
from ordersys.runtime.rabbitmq.tls import NAMES, Files, Tls, Unfit, trouble

AMQP_URL = "ORDERSYS_AMQP_URL"
"""The variable that names a broker."""
WANTED = "an AMQP URL (amqp://user:password@host:5672/%2F, or several with commas between them)"
_PORTS = {"amqp": 5672, "amqps": 5671}
_FOR_TLS, _SERVER_NAME = "ssl_options", "server_name_indication"
"""Options of pika's, and of the RabbitMQ URI Query Parameters."""
_OURS = frozenset(
    {
        "blocked_connection_timeout",
        "channel_max",
        "client_properties",
        "connection_attempts",
        "frame_max",
        "heartbeat",
        "locale",
        "retry_delay",
        "socket_timeout",
        "stack_timeout",
        "tcp_options",
    }
)
"""Options of pika's that the session sets itself, or that it would not work with."""
_MAX_OCTETS = 255  # AMQP 0-9-1 §4.2.5.3, short strings
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True)
class BrokerUrl:
    """A broker, as pika has read its URL. `str()` is fit to be shown: host, port and virtual host."""

    shown: str
    parameters: pika.URLParameters = field(repr=False, compare=False)
    _text: str = field(repr=False)
    tls: Tls | None = field(default=None, repr=False, compare=False)
    user: str = field(default="", repr=False, compare=False)
    """The user that the broker takes a client for; empty where that is by a certificate which nobody named yet."""

    @property
    def is_external(self) -> bool:
        """True where the certificate says who the client is, and no password."""
        return isinstance(self.parameters.credentials, ExternalCredentials)

    def fresh(self) -> pika.URLParameters:
        """Parameters for one connection. Reads the files of certificates. Raises OSError, and ssl.SSLError as one."""
        parameters = copy(self.parameters)
        if self.tls:
            parameters.ssl_options = pika.SSLOptions(self.tls.context(), self.tls.server_name)
        return parameters

    def __str__(self) -> str:
        return self.shown


BrokerUrls = tuple[BrokerUrl, ...]
"""A broker, or the nodes of a cluster, in the order in which they are tried."""


def parse(text: str) -> BrokerUrls:
    """The URLs in `text`, at least one. Raises ValueError with what it must be and what is wrong, never with a secret.

    Reads the files of certificates that a URL names.
    """
    texts = [url.strip() for url in text.split(",")]
    return tuple(_numbered(number, len(texts), url) for number, url in enumerate(texts, 1))


def identified(urls: BrokerUrls, files: Files) -> BrokerUrls:
    """The same for a process with these files. Raises ValueError with what is wrong, fit to stand behind the variable.

    Reads the files.
    """
    return tuple(url if url.tls is None else _identified(url, url.tls, files) for url in urls)


def _identified(url: BrokerUrl, tls: Tls, files: Files) -> BrokerUrl:
    tls = tls.with_files(files, url.is_external)
    try:
        tls.context()
        user = tls.user() if url.is_external else url.user
    except OSError as error:
        variable = tls.variable_of(error.filename)
        raise ValueError(f"needs another file{f' of {variable}' if variable else ''}: {trouble(error)}") from None
    return replace(url, tls=tls, user=user)


def shown(urls: BrokerUrls) -> str:
    """All of them, fit to be shown."""
    return ", ".join(map(str, urls))


def _numbered(number: int, count: int, text: str) -> BrokerUrl:
    try:
        return _parse_one(text)
    except ValueError as error:
        which = f"number {number} of {count}" if count > 1 else "it"
        comma = " (inside a URL a comma is %2C)" if count > 1 else ""
        raise ValueError(f"{WANTED}: {which} {error}{comma}") from None


def _parse_one(text: str) -> BrokerUrl:
    """Raises ValueError with what is wrong, fit to stand behind "it"."""
    _check_characters(text)
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in _PORTS:
        raise ValueError("does not begin with amqp:// or amqps://")
    before, _, query = rest.partition("?")
    place, slash, path = before.partition("/")
    # The parser takes what stands before the first / for user and host: a / in a password would move the host.
    if "@" in rest.removeprefix(place):
        raise ValueError("has a / or ? before an @: in a user, password or virtual host / is %2F, ? is %3F, @ is %40")
    if "/" in path:
        raise ValueError("has a / in the virtual host, where it is %2F")
    user, _, host = place.rpartition("@")
    if "@" in place:
        _check_user(user)
    address = _address(host, _PORTS[scheme.lower()])
    if slash and len(unquote_to_bytes(path)) > _MAX_OCTETS:
        raise ValueError(f"has a virtual host of more than {_MAX_OCTETS} octets")
    tls = _tls(query, scheme.lower() == "amqps")
    return _read(text.partition("?")[0], address, tls, is_external=tls is not None and "@" not in place)


def _check_characters(text: str) -> None:
    if not text:
        raise ValueError("is empty")
    if re.search(r"\s", text) or not text.isprintable():
        raise ValueError("has a blank or a control character in it; a blank is %20")
    if not text.isascii():
        raise ValueError("has a character that is not ASCII, which is written as its octets in UTF-8, such as %C3%BC")
    if "#" in text:
        raise ValueError("has a # in it, which is %23")
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError("has a % without two hexadecimal digits behind it; a % itself is %25")
    octets = unquote_to_bytes(text)
    try:
        octets.decode()
    except UnicodeDecodeError:
        raise ValueError("has octets behind % that are not UTF-8") from None
    if b"\0" in octets:
        raise ValueError("has %00 in it")


def _check_user(text: str) -> None:
    if "@" in text:
        raise ValueError("has more than one @; in a user or password it is %40")
    user, colon, password = text.partition(":")
    if not user:
        raise ValueError("has no user before the @")
    if len(unquote_to_bytes(user)) > _MAX_OCTETS:  # each event names it (`user_id`)
        raise ValueError(f"has a user of more than {_MAX_OCTETS} octets")
    if not password:
        raise ValueError(f"has no password{'' if colon else ', nor a : behind the user'}")
    if ":" in password:
        raise ValueError("has more than one : before the @; in a user or password it is %3A")


def _address(text: str, port: int) -> addresses.Address:
    try:
        return addresses.parse(text, port)
    except addresses.InvalidAddress as error:
        reason = error.reason.partition(" (")[0]  # in brackets stands what was given, which may be part of a secret
        raise ValueError(f"needs HOST:PORT {reason}") from None


def _tls(query: str, encrypted: bool) -> Tls | None:
    """The options, if the connection is encrypted.

    Refuses those that are not known, and those the session overwrites: they would be ignored in silence.
    """
    given = query.split("&") if query else []
    names = [option.partition("=")[0] for option in given]
    for name in names:
        if name in _OURS:
            raise ValueError(f"has the option {name}, which is not for a URL to decide; leave it out")
        if name not in (_FOR_TLS, _SERVER_NAME):
            raise ValueError(f"has an option that is not known; there are only {_FOR_TLS} and {_SERVER_NAME}")
        if not encrypted:
            raise ValueError(f"has {name}, which belongs to amqps://")
        if names.count(name) > 1:
            raise ValueError(f"has {name} twice")
    if not encrypted:
        return None
    values = dict(parse_qsl(query, keep_blank_values=True))
    options = _options(values[_FOR_TLS]) if _FOR_TLS in values else {}
    return Tls(options, _server_name(values, options))


def _server_name(values: dict[str, str], options: dict[str, object]) -> str | None:
    if _SERVER_NAME not in values:
        return str(options["server_hostname"]) if "server_hostname" in options else None
    if "server_hostname" in options:
        raise ValueError(f"has {_SERVER_NAME} and, in {_FOR_TLS}, server_hostname; leave one of them out")
    if not _HOST_NAME.fullmatch(values[_SERVER_NAME]):
        raise ValueError(f"has a {_SERVER_NAME} that is no name of a host")
    return values[_SERVER_NAME]


def _options(value: str) -> dict[str, object]:
    """Refuses names that pika would ignore; a protocol of the URL's could be one that checks no certificate."""
    names = re.findall(r"['\"](\w+)['\"]\s*:", value)
    if not re.fullmatch(r"\{.*\}", value) or not names:
        raise ValueError(f"has {_FOR_TLS} that are no such thing as {{'cafile':'/path/ca.pem'}}")
    if not set(names) <= NAMES:
        raise ValueError(f"has {_FOR_TLS} with a name that is none of {', '.join(sorted(NAMES))}")
    try:
        options = dict(ast.literal_eval(value))
        Tls(options).context()
    except ssl.SSLError as error:
        raise ValueError(f"has {_FOR_TLS} that can't be used ({error.reason})") from None
    except (Exposed, Unfit) as error:
        raise ValueError(f"has {_FOR_TLS} that name a file that {error.strerror}") from None
    except OSError as error:
        raise ValueError(f"has {_FOR_TLS} that name a file that can't be read ({error.strerror})") from None
    except Exception:  # noqa: BLE001 - whatever comes out of the text, with the text in it
        raise ValueError(f"has {_FOR_TLS} that can't be used") from None
    return options


def _read(text: str, address: addresses.Address, tls: Tls | None, is_external: bool) -> BrokerUrl:
    try:
        parameters = pika.URLParameters(text)
    except Exception:  # noqa: BLE001 - pika raises whatever comes out of the text, with the text in it
        raise ValueError("can't be read") from None
    if (parameters.host, parameters.port) != address:
        raise ValueError("can be read in more than one way")
    if is_external:
        parameters.credentials = ExternalCredentials()
    credentials = parameters.credentials
    user = credentials.username if isinstance(credentials, PlainCredentials) else ""
    host = addresses.Address(parameters.host, parameters.port)
    return BrokerUrl(f"{host}/{quote(parameters.virtual_host, safe='')}", parameters, text, tls, user)

"""The URL of a PostgreSQL database, as libpq takes it: postgresql://user:password@host:5432/name, or several hosts.

Read once, before anything starts, by the parser that will use it: libpq's. The driver is imported only here and where
it is used, so that whoever keeps the data in files needs none. What is shown holds no secret, not even a part of one:
libpq's own words may quote what it took for a port, and are left out.
"""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from ordersys.console.parser import nearest

WANTED = "a PostgreSQL URL (postgresql://user:password@host:5432/name, or …@host1:5432,host2:5432/name)"
NONE = "none"
_SCHEMES = ("postgresql://", "postgres://")
USUAL_PORT = "5432"
_OF_EACH_HOST = ("host", "hostaddr", "port")
# A server that vanishes without a word is noticed within some seconds; by libpq's defaults within 2 hours, and what is
# on its way to it within 15 minutes (https://www.postgresql.org/docs/current/libpq-connect.html).
_DEFAULTS = {
    "application_name": "ordersys",
    "connect_timeout": "3",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    # Of several hosts the one that takes writes, whichever that is now.
    "target_session_attrs": "read-write",
}

# libpq reads these when it is connecting, of each host anew: what is wrong with them would look like a server away.
_NUMBERS = (
    "connect_timeout",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
)
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_VERIFYING = ("verify-ca", "verify-full")
_SYSTEM = "system"
"""As sslrootcert: the authorities that the system trusts."""
_NOWHERE = "/dev/null"
"""As the folder of a socket: libpq judges all its options before it fails to find one there."""
_TRIED = ("connection to server", "could not connect to server")  # the latter until libpq 13


@dataclass(frozen=True)
class DatabaseUrl:
    """A database, as libpq has read its URL. `str()` is fit to be shown: hosts, ports and name."""

    shown: str
    conninfo: str = field(repr=False)
    """What `psycopg.connect` is given; it may hold a password."""
    hosts: Sequence[Mapping[str, str]]
    """The host, hostaddr and port of each server, as far as they are given; one at least."""

    def __str__(self) -> str:
        return self.shown


def parse(text: str) -> DatabaseUrl | None:
    """The database that `text` names, None for `none`. Raises ValueError with what is wrong, never with a secret."""
    if text == NONE:
        return None
    try:
        _check(text)
        return _read(text)
    except ValueError as error:
        raise ValueError(f"{WANTED}: it {error}") from None


def _check(text: str) -> None:
    """Raises ValueError for what libpq would read in another way than it was meant, or not at all."""
    if not text.startswith(_SCHEMES):
        raise ValueError("does not begin with postgresql://")
    if re.search(r"\s", text) or not text.isprintable() or not text.isascii():
        raise ValueError("has a blank, a control character or one that is not ASCII; in a URL a blank is %20")
    if "#" in text:
        raise ValueError("has a # in it, which is %23")
    if re.search(r"%(?![0-9A-Fa-f]{2})|%00", text):
        raise ValueError("has a % without two hexadecimal digits behind it, or %00; a % itself is %25")
    rest = text.partition("://")[2]
    place, _, behind = rest.partition("/")
    if "@" in behind.partition("?")[0]:
        raise ValueError("has a / before an @: in a user or password / is %2F")
    if place.count("@") > 1:
        raise ValueError("has more than one @; in a user or password it is %40")
    _check_ports(place.rpartition("@")[2].partition("?")[0])


def _check_ports(hosts: str) -> None:
    for host in hosts.split(","):
        port = re.fullmatch(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?", host)
        if port is None or (port[1] is not None and not 0 < int(port[1]) < 1 << 16):
            raise ValueError("needs HOST or HOST:PORT, with a port from 1 to 65535 and IPv6 in brackets, behind the @")


def _read(text: str) -> DatabaseUrl:
    psycopg = _driver()
    try:
        given: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(text)
        conninfo: str = psycopg.conninfo.make_conninfo(
            text, **{name: value for name, value in _DEFAULTS.items() if name not in given}
        )
    except psycopg.Error:  # its text may quote a part of the URL
        raise ValueError(
            f"can't be read by libpq: an option behind the ? {_misspelt(text, _options(psycopg))}"
        ) from None
    hosts = _hosts(given)
    _check_options(given)
    _ask_libpq(psycopg, conninfo)
    places = (
        f"{host.get('host') or host.get('hostaddr') or 'localhost'}:{host.get('port') or USUAL_PORT}" for host in hosts
    )
    return DatabaseUrl(f"{','.join(places)}/{given.get('dbname') or given.get('user') or ''}", conninfo, hosts)


def _hosts(given: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
    """Raises ValueError where there are not as many of one as of the other; one port may stand for all."""
    of_each = {name: str(given[name]).split(",") for name in _OF_EACH_HOST if given.get(name)}
    count = len(of_each.get("host", of_each.get("hostaddr", [""])))
    if len(of_each.get("port", ())) == 1:
        of_each["port"] *= count
    for name, values in of_each.items():
        if len(values) != count:
            raise ValueError(f"names {count} hosts and {len(values)} of {name}")
    return [{name: values[index] for name, values in of_each.items()} for index in range(count)]


def _options(psycopg: Any) -> Collection[str]:
    """The names of all options that this libpq knows."""
    return [option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()]


def _misspelt(text: str, known: Collection[str]) -> str:
    """The words about an option that libpq does not know: its own name may be a secret in the wrong place."""
    unknown = [name for name, _ in parse_qsl(text.partition("?")[2], keep_blank_values=True) if name not in known]
    near = next((near for name in unknown if (near := nearest(name, known))), "")
    return f"is unknown; did you mean {near}?" if near else "may be unknown, or misspelt"


def _check_options(given: Mapping[str, Any]) -> None:
    """Raises ValueError for a value that libpq would find out about only while it is connecting."""
    for name in _NUMBERS:
        if name in given and not re.fullmatch(r"-?[0-9]{1,9}", str(given[name])):
            raise ValueError(f"has an option {name} that is no number")
    for address in str(given.get("hostaddr", "")).split(","):
        if address and not _is_ip(address):
            raise ValueError("has an option hostaddr that is no IP address; names belong behind the @")
    for name in _FILES:
        file = str(given.get(name, ""))
        is_file = file not in ("", _SYSTEM) and ":" not in file  # ENGINE:KEY is a key in hardware
        if is_file and not os.access(file, os.R_OK):
            raise ValueError(f"has an option {name} that names no file which this process can read")
    named = given.get("sslrootcert") or os.environ.get("PGSSLROOTCERT") or given.get("service")
    if given.get("sslmode") in _VERIFYING and not (named or _has_usual_authority()):
        raise ValueError("verifies the server without an option sslrootcert: name the file of its authority, or system")


def _has_usual_authority() -> bool:
    try:
        return (Path.home() / ".postgresql" / "root.crt").exists()
    except RuntimeError:  # a user without a home
        return False


def _is_ip(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _ask_libpq(psycopg: Any, conninfo: str) -> None:
    """Raises ValueError for options that libpq refuses whatever server is there, of TLS and sessions say.

    Nobody is reached: libpq is sent where no socket can be, whatever else its environment names.
    """
    given = psycopg.conninfo.conninfo_to_dict(conninfo)
    # GSSAPI is refused for sockets, whatever a server may have.
    nowhere = {**given, "host": _NOWHERE, "hostaddr": "", "port": USUAL_PORT, "gssencmode": "disable"}
    attempt = psycopg.pq.PGconn.connect_start(psycopg.conninfo.make_conninfo(**nowhere).encode())
    said = attempt.error_message.decode(errors="replace").partition("\n")[0]
    attempt.finish()
    if not said.startswith(_TRIED):
        known = _options(psycopg)
        shown = re.sub(r'"([^"]*)"', lambda quoted: quoted[1] if quoted[1] in known else "…", said)
        raise ValueError(f"has an option that libpq refuses: {shown}")


def _driver() -> Any:
    try:
        import psycopg.conninfo  # noqa: PLC0415 - an extra: who keeps the data in files does not have it
    except ImportError:
        raise ValueError(
            "needs the driver of PostgreSQL, which is not installed: pip install 'ordersys[postgresql]'"
        ) from None
    return psycopg

"""TLS with a broker: whom a client trusts, what it shows of itself, and the name of the broker that it expects.

A client without a user shows its certificate, and is the user of that name (SASL EXTERNAL; RabbitMQ: "Certificate
Authentication Mechanism"). Files are read anew for each connection: one that was renewed is used from the next one on.
"""

import errno
import os
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from ordersys.console.opening import open_regular, read_regular
from ordersys.console.secret_files import Exposed, open_secret
from ordersys.runtime.base.tls_versions import modern

CA_FILE, CERTIFICATE_FILE, KEY_FILE = "ORDERSYS_AMQP_CA_FILE", "ORDERSYS_TLS_CERTIFICATE_FILE", "ORDERSYS_TLS_KEY_FILE"
"""The settings that name the files."""
_MECHANISMS = {
    "EXTERNAL": "it knows nobody by a certificate: enable its plugin rabbitmq_auth_mechanism_ssl and list EXTERNAL in"
    " its auth_mechanisms, or give user:password@ in front of the host",
    "PLAIN": "it takes no passwords: leave out user:password@ in front of the host, and name a certificate with"
    f" {CERTIFICATE_FILE} and {KEY_FILE}",
}
UNKNOWN_USER = (
    "it has no user of the name in the certificate that it was shown: add one, whom it needs no password for, or name"
    f" another certificate with {CERTIFICATE_FILE}"
)
_SHOWN = "the certificate that it was shown"
_ANOTHER = f"name another one with {CERTIFICATE_FILE}"
_NONE_FOR_CLIENTS = f"it was shown no certificate for clients, and wants one; name it with {CERTIFICATE_FILE}"
_ALERTS = {  # RFC 8446 §6.2
    "CERTIFICATE_REQUIRED": _NONE_FOR_CLIENTS,
    "HANDSHAKE_FAILURE": _NONE_FOR_CLIENTS,  # by TLS 1.2 without one, by Erlang also for one of another use
    "UNKNOWN_CA": f"it does not trust the authority of {_SHOWN}; have it trust that, or {_ANOTHER}",
    "CERTIFICATE_EXPIRED": f"{_SHOWN} has expired; {_ANOTHER}",
    "CERTIFICATE_REVOKED": f"{_SHOWN} was revoked; {_ANOTHER}",
    "BAD_CERTIFICATE": f"it finds {_SHOWN} bad; {_ANOTHER}",
    "CERTIFICATE_UNKNOWN": f"it does not accept {_SHOWN}; {_ANOTHER}",
    "UNSUPPORTED_CERTIFICATE": f"it does not support {_SHOWN}, which may not be one for clients; {_ANOTHER}",
}
_ALERT = re.compile(r"\[SSL: \w*ALERT_([A-Z_]+)\]")
NO_CERTIFICATE = (
    f"has no user, and amqps:// without one shows a certificate (EXTERNAL): name it with {CERTIFICATE_FILE} and"
    f" {KEY_FILE}, or give user:password@ in front of the host"
)
_AUTHORITIES = ("cafile", "ca_certs"), ("capath", "ca_path"), ("cadata", "ca_data")
_CERTIFICATE, _KEY = "certfile", "keyfile"
NAMED_FILES = ("ca_certs", "cafile", _CERTIFICATE, _KEY)
NAMES = frozenset(
    {name for names in _AUTHORITIES for name in names} | {_CERTIFICATE, _KEY, "password", "ciphers", "server_hostname"}
)
"""The names of pika's among the `ssl_options` of a URL that can be used."""


class Unfit(OSError):
    """A file that can be read, and does not hold what it has to; `strerror` says so of it."""


class Files(NamedTuple):
    """The files of a process, by its settings."""

    authorities: Path | None = None
    """Those who may vouch for a broker; without them those of the URL do, else those of the system."""
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True)
class Tls:
    """The side of the client in each handshake."""

    options: Mapping[str, Any] = field(repr=False)
    """The `ssl_options` of a URL, completed by files of the process."""
    server_name: str | None = None
    """The name that has to stand in the broker's certificate, None for that of the host."""
    named_by: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The settings that name files, by file."""

    def with_files(self, files: Files, shows_certificate: bool) -> "Tls":
        """The same with the authorities of `files`, and their certificate unless it has one or shows none."""
        options = dict(self.options)
        if files.authorities:
            options = {name: value for name, value in options.items() if name not in {*sum(_AUTHORITIES, ())}}
            options["cafile"] = str(files.authorities)
        if shows_certificate and _CERTIFICATE not in options:
            if not (files.certificate and files.key):
                raise ValueError(NO_CERTIFICATE)
            options |= {_CERTIFICATE: str(files.certificate), _KEY: str(files.key)}
        named_by = {str(file): name for file, name in zip(files, (CA_FILE, CERTIFICATE_FILE, KEY_FILE), strict=True)}
        return replace(self, options=options, named_by=named_by)

    def variable_of(self, path: object) -> str:
        """The setting that names this file among those that are used; empty where the URL does."""
        return self.named_by.get(str(path), "")

    def context(self) -> ssl.SSLContext:
        """A context for one connection. Reads the files. Raises OSError, Exposed and Unfit among them."""
        for name in NAMED_FILES:  # OpenSSL would wait for whoever writes to a pipe, and names no file
            if isinstance(path := self.options.get(name), str):
                os.close(open_regular(path, os.O_RDONLY))
        if key := self.options.get(_KEY) or self.options.get(_CERTIFICATE):  # one file may hold both
            os.close(open_secret(key, is_key=True))
        authorities = [next(filter(None, map(self.options.get, names)), None) for names in _AUTHORITIES]
        if any(authorities):
            context = modern(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))  # checks the chain and the name
            _trust(context, authorities)
        else:
            context = modern(ssl.create_default_context())
        if _CERTIFICATE in self.options:
            # Without a password OpenSSL would ask the terminal for that of an encrypted key.
            password = self.options.get("password", "")
            _show(context, self.options[_CERTIFICATE], self.options.get(_KEY), password)
        if "ciphers" in self.options:
            context.set_ciphers(self.options["ciphers"])
        return context

    def user(self) -> str:
        """The first DNS name in the certificate that is shown. Raises OSError, and ValueError where there is none."""
        # It takes a tenth of a second to load, which only those who have a certificate need to spend.
        from cryptography import x509  # noqa: PLC0415

        path = self.options[_CERTIFICATE]
        try:
            leaf = x509.load_pem_x509_certificate(read_regular(path))
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            return names.get_values_for_type(x509.DNSName)[0]
        except (ValueError, x509.ExtensionNotFound, IndexError):
            raise ValueError(f"shows {path}, which has no DNS name (subjectAltName) to be a user by") from None


def _trust(context: ssl.SSLContext, authorities: Sequence[Any]) -> None:
    try:
        context.load_verify_locations(*authorities)
    except ssl.SSLError:
        named = next((str(name) for name in authorities[:2] if name), "cadata")
        raise Unfit(errno.EINVAL, "holds no certificate of an authority in PEM", named) from None


def _show(context: ssl.SSLContext, certificate: str, key: str | None, password: object) -> None:
    """OpenSSL says that something is wrong, and hardly ever with which of the two files."""
    try:
        context.load_cert_chain(certificate, key, password)  # type: ignore[arg-type]
    except ssl.SSLError as error:
        of_key = key or certificate
        if not _holds_certificate(certificate):
            file, words = certificate, "holds no certificate in PEM"
        elif error.reason == "KEY_VALUES_MISMATCH":
            file, words = of_key, "does not fit the certificate"
        elif b"ENCRYPTED" in read_regular(of_key):
            file, words = of_key, "is encrypted, and not with this password; decrypt it"
        else:
            file, words = of_key, "holds no private key in PEM"
        raise Unfit(errno.EINVAL, words, file) from None


def _holds_certificate(file: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        return False
    return True


def trouble(error: OSError) -> str:
    """The words for what is wrong with a file, given what reading the files raised."""
    if isinstance(error, ssl.SSLError):  # of the list of ciphers
        return f"its TLS can't be set up ({error.reason or error})"
    if isinstance(error, Unfit):
        return f"{error.filename} {error.strerror}"
    if isinstance(error, Exposed):
        return f"{error.filename} has a private key and {error.strerror}"
    return f"{error.filename} can't be read ({error.strerror})"


def refusal(error: BaseException) -> str:
    """The words for a certificate that one of the two sides does not accept, and the way out; empty for other errors.

    pika tells of an alert that comes behind the handshake, as all about clients do since TLS 1.3, as of a lost
    connection, in whose text it stands.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message.rstrip(".")
        way_out = f"name its authority with {CA_FILE}, or the name in its certificate with server_name_indication"
        return f"its certificate is not accepted: {said}; {way_out}"
    alert = _ALERT.search(str(error))
    return _ALERTS.get(alert.group(1), "") if alert else ""


def not_offered(mechanism: str) -> str:
    """The words for a broker that does not take this mechanism (SASL), and the way out."""
    return _MECHANISMS.get(mechanism, f"it does not take {mechanism}")

"""TLS with a broker: whom a client trusts, what it shows of itself, and the name of the broker that it expects.

A client without a user shows its certificate, and is the user of that name (SASL EXTERNAL; RabbitMQ: "Certificate
Authentication Mechanism"). Files are read anew for each connection: one that was renewed is used from the next one on.
"""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from ordersys.console.opening import open_regular, read_regular

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
        return replace(self, options=options)

    def context(self) -> ssl.SSLContext:
        """A context for one connection. Reads the files. Raises OSError, ssl.SSLError among them, and what is wrong."""
        for name in NAMED_FILES:  # OpenSSL would wait for whoever writes to a pipe, and names no file
            if isinstance(path := self.options.get(name), str):
                os.close(open_regular(path, os.O_RDONLY))
        authorities = [next(filter(None, map(self.options.get, names)), None) for names in _AUTHORITIES]
        if any(authorities):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the chain and the name, from TLS 1.2 on
            context.load_verify_locations(*authorities)
        else:
            context = ssl.create_default_context()
        if _CERTIFICATE in self.options:
            # Without a password OpenSSL would ask the terminal for that of an encrypted key.
            password = self.options.get("password", "")
            context.load_cert_chain(self.options[_CERTIFICATE], self.options.get(_KEY), password)
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


def trouble(error: OSError) -> str:
    """The words for what is wrong with a file, given what reading the files raised."""
    if isinstance(error, ssl.SSLError):
        return f"its certificate, key and authorities can't be used ({error.reason or error})"
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

"""The certificate of this process and the authorities it trusts, from files that may change while it runs.

Of a certificate that can't be used, gRPC says that it "failed to bind", or nothing: calls wait until their deadline.
So everything is checked here, at the start and at each change, and gRPC is given nothing but what was checked.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations, pairwise
from pathlib import Path
from typing import TypeAlias, TypeVar

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from ordersys.console.opening import open_regular
from ordersys.console.secret_files import Exposed, open_secret
from ordersys.runtime.base.errors import StartupError
from ordersys.runtime.identity.watched import Watched

_log = logging.getLogger(__name__)
_MAX_BYTES = 1_048_576  # of a file: all authorities that the web trusts are 0.2 MiB
_SOON_SECONDS = 3 * 86_400.0
_LEAST_RSA_BITS = 2048  # gRPC takes 1024 as well (NIST SP 800-131A does not, since 2014)
_CURVES = (ec.SECP256R1, ec.SECP384R1)
_ANEW = "issue it anew"
_UNDECODABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


class UnusableCertificate(StartupError):
    """A certificate, a key or an authority that can't be used; the text has the file and the way out, no content."""


@dataclass(frozen=True, eq=False, repr=False)  # no repr: nobody logs a private key by accident
class _Identity:
    """Checked contents of the three files, in PEM, and when they end, in seconds since 1970."""

    authorities: bytes
    chain: bytes
    key: bytes
    ends: float


class Certificates:
    """The certificate and key of the service that is `spiffe_id`, and the authorities that it trusts.

    The constructor raises UnusableCertificate. For the event loop, which calls `reload` every few seconds; credentials
    made before follow by themselves at a server, and not at a client.
    """

    def __init__(
        self,
        ca_file: Path,
        certificate_file: Path,
        key_file: Path,
        spiffe_id: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._certificate_file = certificate_file
        self._now = now

        def load() -> _Identity:
            return _identity(ca_file, certificate_file, key_file, spiffe_id, now())

        self._watched = Watched((ca_file, certificate_file, key_file), load)
        self._warned_of = ""

    @property
    def generation(self) -> int:
        """Rises each time new files are taken: gRPC gives a channel no way to change its certificate (grpc#15735)."""
        return self._watched.generation

    def reload(self) -> None:
        """Takes the files if they have changed and are in order; else keeps what it has, and logs why, once.

        Warns, once, three days before the certificate ends and when it has. Blocks for some `stat`, after a change for
        some milliseconds. Never raises.
        """
        if self._watched.reload():
            self._warned_of = ""
            _log.info("the certificate in %s is taken, valid until %s", self._certificate_file, self._end())
        self._warn()

    def server_credentials(self, of_services: bool) -> grpc.ServerCredentials:
        """Credentials of one port, to which each new connection comes by the files as last reloaded.

        `of_services` has clients show a certificate of a trusted authority; else they are not asked for one.
        """
        given = self._watched.value

        def changed() -> grpc.ServerCertificateConfiguration | None:
            # At each connection, before its handshake, in threads of gRPC; one at a time, by the lock of a port (mu_ in
            # ssl_security_connector.cc). It does not raise: gRPC would write a line to stderr for each connection.
            nonlocal given
            if given is self._watched.value:
                return None
            given = self._watched.value
            return _configuration(given)

        # The stubs do not know that None is an answer: no change.
        return grpc.dynamic_ssl_server_credentials(_configuration(given), changed, of_services)  # type: ignore[arg-type]

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Credentials of a client that shows its certificate; a channel keeps them as they are now."""
        own = self._watched.value
        return grpc.ssl_channel_credentials(own.authorities, own.key, own.chain)

    def _warn(self) -> None:
        left = self._watched.value.ends - self._now()
        if left > _SOON_SECONDS:
            return
        trouble = "ends soon" if left > 0 else "has expired"
        if trouble != self._warned_of:
            self._warned_of = trouble
            _log.warning("the certificate in %s %s: %s", self._certificate_file, trouble, self._end())

    def _end(self) -> str:
        return _date(datetime.fromtimestamp(self._watched.value.ends, UTC))


def _configuration(own: _Identity) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(own.key, own.chain)], own.authorities)


def _identity(ca_file: Path, certificate_file: Path, key_file: Path, spiffe_id: str, now: float) -> _Identity:
    at = datetime.fromtimestamp(now, UTC)
    authorities = _authorities(ca_file)
    chain = _certificates(certificate_file, _read(certificate_file))
    key = _private_key(key_file)
    _check_fits(chain, key, certificate_file, key_file)
    for certificate in chain:
        _check_dates(certificate, certificate_file, at)
    _check_chain(chain, certificate_file)
    issuer = _issuer(chain, authorities, certificate_file, ca_file)
    _check_dates(issuer, ca_file, at)
    _check_use(chain[0], certificate_file)
    _check_names(chain[0], certificate_file, spiffe_id)
    return _Identity(
        _pem(authorities),
        _pem(chain),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        min(map(_end, (*chain, issuer))).timestamp(),
    )


def _read(file: Path, is_key: bool = False) -> bytes:
    try:
        descriptor = open_secret(file, is_key=True) if is_key else open_regular(file, os.O_RDONLY)
        with os.fdopen(descriptor, "rb") as opened:
            content = opened.read(_MAX_BYTES + 1)
    except Exposed as error:
        raise UnusableCertificate(f"{file} has a private key and {error.strerror}") from error
    except OSError as error:
        raise UnusableCertificate(f"{file} can't be read: {error.strerror}; mend that, or name another file") from error
    if len(content) > _MAX_BYTES:
        raise UnusableCertificate(f"{file} is larger than 1 MiB; name the right file")
    return content


def _certificates(file: Path, pem: bytes) -> Sequence[x509.Certificate]:
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise UnusableCertificate(f"{file} has no certificate in it, in PEM form; name the right file")
    try:
        certificates = x509.load_pem_x509_certificates(pem)
        for certificate in certificates:
            # cryptography reads these when they are asked for: a broken one shows here, and not later.
            certificate.public_key()
            certificate.extensions  # noqa: B018
    except _UNDECODABLE as error:
        raise UnusableCertificate(f"{file} has a certificate in it that can't be decoded; {_ANEW}") from error
    if any(_is_weak(certificate.public_key()) for certificate in certificates):
        raise UnusableCertificate(f"{file} has an RSA key of less than {_LEAST_RSA_BITS} bits in it; {_ANEW}")
    return certificates


def _is_weak(key: object) -> bool:
    return isinstance(key, rsa.RSAPublicKey) and key.key_size < _LEAST_RSA_BITS


def _authorities(file: Path) -> Sequence[x509.Certificate]:
    """All of a file, also those that have expired while others have not: so is an authority replaced.

    BoringSSL takes the first that fits by name and key identifier, and no other if that one has expired or its key is
    another: the one that lasts longest comes first, and those of one name need identifiers.
    """
    authorities = sorted(_certificates(file, _read(file)), key=_end, reverse=True)
    if not all(_is_authority(certificate) for certificate in authorities):
        raise UnusableCertificate(f"{file} has a certificate in it that is no authority's (CA:TRUE); take it out")
    if any(_are_confused(*pair) for pair in combinations(authorities, 2)):
        raise UnusableCertificate(f"{file} has authorities of one name without subjectKeyIdentifier; issue them anew")
    return authorities


def _are_confused(first: x509.Certificate, second: x509.Certificate) -> bool:
    if first.subject != second.subject or first.public_key() == second.public_key():
        return False
    return not all(_extension(certificate, x509.SubjectKeyIdentifier) for certificate in (first, second))


def _is_authority(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _private_key(file: Path) -> _PrivateKey:
    pem = _read(file, is_key=True)
    try:
        # To check a key of RSA takes 80 ms, which the event loop does not have; BoringSSL does it anyway.
        key = load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise UnusableCertificate(f"{file} has an encrypted key in it; decrypt it (openssl pkey)") from None
    except (ValueError, UnsupportedAlgorithm):  # whose text may quote the file
        raise UnusableCertificate(f"{file} has no private key in it, in PEM form; name the right file") from None
    if isinstance(key, rsa.RSAPrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, _CURVES):
        return key
    # Certificates of Ed25519 fail in the handshakes of gRPC; an authority may have such a key.
    raise UnusableCertificate(f"{file} has a key of an unusable type in it; use EC P-256, EC P-384 or RSA")


def _check_fits(chain: Sequence[x509.Certificate], key: _PrivateKey, file: Path, key_file: Path) -> None:
    public = key.public_key()
    if chain[0].public_key() == public:
        return
    if any(certificate.public_key() == public for certificate in chain[1:]):
        raise UnusableCertificate(f"{file} is in the wrong order; put the service's certificate first")
    raise UnusableCertificate(f"{key_file} does not fit the certificate in {file}; name two that belong together")


def _check_dates(certificate: x509.Certificate, file: Path, at: datetime) -> None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if at < begins:
        raise UnusableCertificate(f"{file} is not valid before {_date(begins)}; wait, or set the clock")
    if at > ends:
        raise UnusableCertificate(f"{file} has expired at {_date(ends)}; {_ANEW}")


def _check_chain(chain: Sequence[x509.Certificate], file: Path) -> None:
    if _is_authority(chain[0]):
        raise UnusableCertificate(f"{file} begins with an authority's certificate (CA:TRUE); {_ANEW}, for a service")
    for certificate, issuer in pairwise(chain):
        if not _is_issued_by(certificate, issuer):
            raise UnusableCertificate(f"{file} is in the wrong order; put each certificate right before its issuer's")


def _issuer(
    chain: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate], file: Path, ca_file: Path
) -> x509.Certificate:
    """The authority that a chain leads to; of several the one that lasts longest."""
    for authority in authorities:
        if any(_is_issued_by(certificate, authority) for certificate in chain):
            return authority
    raise UnusableCertificate(f"{file} is not issued by an authority in {ca_file}; {_ANEW}, or add its authority")


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """True if `issuer` has signed it, and is an authority."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return _is_authority(issuer)


def _check_use(leaf: x509.Certificate, file: Path) -> None:
    """A service is a server to its callers and a client to others: it has to state both uses."""
    uses = _extension(leaf, x509.ExtendedKeyUsage) or ()
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= set(uses):
        raise UnusableCertificate(f"{file} lacks an extended key usage, of serverAuth and clientAuth; {_ANEW}")


def _check_names(leaf: x509.Certificate, file: Path, spiffe_id: str) -> None:
    """Servers know the service by its URI; clients by its DNS name, since they can't check a URI (grpc#5697)."""
    names = _extension(leaf, x509.SubjectAlternativeName) or x509.SubjectAlternativeName([])
    if names.get_values_for_type(x509.UniformResourceIdentifier) != [spiffe_id]:
        raise UnusableCertificate(f"{file} has not {spiffe_id} for its only URI (subjectAltName); {_ANEW}")
    name = spiffe_id.rpartition("/")[2]
    if name not in names.get_values_for_type(x509.DNSName):
        raise UnusableCertificate(f"{file} lacks the DNS name {name} (subjectAltName); {_ANEW}")


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _end(certificate: x509.Certificate) -> datetime:
    return certificate.not_valid_after_utc


def _pem(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def _date(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"

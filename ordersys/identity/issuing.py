"""Certificates of an authority and of the services it vouches for (X.509, SPIFFE X509-SVID). Pure: no file is touched.

Keys are of ECDSA P-256: grpc fails the handshake with a certificate of Ed25519.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ordersys.contract import access
from ordersys.identity.layout import BROKER, OBSERVER, TOPOLOGY

AUTHORITY_DAYS = 365
DAYS = 30
"""The life of a service's certificate, in days, unless it is told otherwise."""
MOST_DAYS = 90
"""In days. Less than what the authority has left when it is renewed (a third of a year): none outlives it."""
_CLIENTS = (TOPOLOGY, OBSERVER)
_CLOCK_SKEW = timedelta(minutes=5)  # how far the clocks of two machines may be apart
_LOOPBACK_NAME = "localhost"
_LOOPBACK = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))

# Raised for another name, another key, another kind of key, and one that is not known here.
_NOT_SIGNED = (ValueError, InvalidSignature, TypeError, UnsupportedAlgorithm)

Key: TypeAlias = ec.EllipticCurvePrivateKey
_Extension: TypeAlias = tuple[x509.ExtensionType, bool]


class Pair(NamedTuple):
    """A certificate and the key that fits it."""

    certificate: x509.Certificate
    key: Key


def services() -> Sequence[str]:
    """The services of the contract, by the names that stand in their certificates."""
    return sorted(identity.rpartition("/")[2] for identity in access.service_ids())


def names() -> Sequence[str]:
    """All that can have a certificate: the services of the contract, the broker, and those who only connect to it."""
    return [*services(), BROKER, *_CLIENTS]


def new_key() -> Key:
    """A key for an authority, a service, or an issuer of tokens."""
    return ec.generate_private_key(ec.SECP256R1())


def authority(key: Key, now: datetime) -> x509.Certificate:
    """The certificate of an authority, signed by itself.

    Made anew for the same key it has the same name: what was signed before is valid under the new one too, and those
    who still trust the old one trust what is signed from now on.
    """
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    # Two authorities have two names: where both are trusted, a chain is looked for by name.
    subject = _name(f"ordersys authority {key_id.digest[:4].hex()}")
    builder = _builder(subject, subject, key, now, AUTHORITY_DAYS)
    return _signed(builder, [(x509.BasicConstraints(True, 0), True), (_usage(signs_certificates=True), True)], key)


def leaf(issuer: Pair, name: str, now: datetime, days: int = DAYS) -> Pair:
    """The certificate of one of `names`, and a new key for it. Raises ValueError for a life that is none."""
    key = new_key()
    builder = _builder(_name(name), issuer.certificate.subject, key, now, checked_days(days))
    return Pair(_signed(builder, _leaf_extensions(name), issuer.key), key)


def checked_days(days: int) -> int:
    """The life of a certificate of a service, if it may be one. Raises ValueError."""
    if not 1 <= days <= MOST_DAYS:
        raise ValueError(f"{days} days must be from 1 to {MOST_DAYS}")
    return days


def is_current(certificate: x509.Certificate, now: datetime) -> bool:
    """True while it is valid and more than a third of its life is left: then it need not be renewed."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begin <= now < end - (end - begin) / 3


def is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """True if `issuer` signed it; no other rule of a chain is looked at."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except _NOT_SIGNED:
        return False
    return True


def fits(certificate: x509.Certificate, key: Key) -> bool:
    """True if the certificate is of this key."""
    try:
        return certificate.public_key() == key.public_key()
    except UnsupportedAlgorithm:
        return False


def identities(certificate: x509.Certificate) -> Sequence[str]:
    """The URIs it is for; a SPIFFE id is good only where it is the only one (X509-SVID, section 2)."""
    return _alternatives(certificate).get_values_for_type(x509.UniformResourceIdentifier)


def hosts(certificate: x509.Certificate) -> Sequence[str]:
    """The DNS names and addresses it is for."""
    alternatives = _alternatives(certificate)
    addresses = alternatives.get_values_for_type(x509.IPAddress)
    return [*alternatives.get_values_for_type(x509.DNSName), *map(str, addresses)]


def is_good(certificate: x509.Certificate, issuer: x509.Certificate, name: str, now: datetime) -> bool:
    """True for the certificate of `name` that need not be made anew."""
    is_own = list(identities(certificate)) == _ids(name) and list(hosts(certificate)[:1]) == [name]
    return is_own and is_current(certificate, now) and is_signed_by(certificate, issuer)


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """The text of a file with it."""
    return certificate.public_bytes(Encoding.PEM)


def key_pem(key: Key) -> bytes:
    """The text of a file with it, in PKCS #8, unencrypted: whoever starts a service unattended could not decrypt it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def parsed_key(octets: bytes) -> Key:
    """Reads a key. Raises ValueError, which says nothing of what was read, for any but one of P-256."""
    try:
        key = load_pem_private_key(octets, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: one that is encrypted
        raise ValueError("is no private key in PEM, unencrypted") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("is no key of ECDSA P-256")  # noqa: TRY004 - the contents are wrong, not a type
    return key


def parsed_certificate(octets: bytes) -> x509.Certificate:
    """Reads the first certificate. Raises ValueError, which says nothing of what was read."""
    try:
        return x509.load_pem_x509_certificate(octets)
    except ValueError:
        raise ValueError("is no certificate in PEM") from None


def _name(text: str) -> x509.Name:
    """For people alone: programs go by the URI."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key: Key, now: datetime, days: int) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - _CLOCK_SKEW,
        not_valid_after=now + timedelta(days=days),
    ).add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _leaf_extensions(name: str) -> Iterator[_Extension]:
    yield x509.SubjectAlternativeName(_names(name)), False
    yield x509.BasicConstraints(False, None), True
    yield _usage(signs_certificates=False), True
    yield x509.ExtendedKeyUsage(_uses(name)), False


def _names(name: str) -> Sequence[x509.GeneralName]:
    """The first DNS name is what clients check, and by which RabbitMQ knows a user; others are for tools nearby."""
    own = [*map(x509.UniformResourceIdentifier, _ids(name)), x509.DNSName(name)]
    if name in _CLIENTS:  # nobody connects to it
        return own
    return [*own, x509.DNSName(_LOOPBACK_NAME), *map(x509.IPAddress, _LOOPBACK)]


def _ids(name: str) -> list[str]:
    """Its SPIFFE ids: none where it is no service, so that no service takes it for one."""
    return [] if name in (BROKER, *_CLIENTS) else [access.service_id(name)]


def _uses(name: str) -> Sequence[x509.ObjectIdentifier]:
    """A service is called and calls others; the broker calls nobody, and nobody calls those who only connect to it."""
    is_called, calls = name not in _CLIENTS, name != BROKER
    uses = ((ExtendedKeyUsageOID.SERVER_AUTH, is_called), (ExtendedKeyUsageOID.CLIENT_AUTH, calls))
    return [use for use, is_wanted in uses if is_wanted]


def _signed(builder: x509.CertificateBuilder, extensions: Iterable[_Extension], key: Key) -> x509.Certificate:
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, is_critical)
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    return builder.add_extension(issuer_id, critical=False).sign(key, hashes.SHA256())


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])

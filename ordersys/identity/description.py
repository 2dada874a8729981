"""Descriptions of certificates, tokens and key sets for people: whatever identifies them, and nothing secret.

Pure: texts and times, no files.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import jwt
from cryptography import x509

from ordersys.identity import issuing
from ordersys.identity.issuing import parsed_key

_MOMENTS = range(253_402_300_800)
"""The seconds since 1970 that can be written in RFC 3339: to the end of the year 9999."""
_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
_SHOWN_CLAIMS = ("sub", "scope", "iss", "aud", "client_id")


class Unknown(ValueError):
    """A file with neither a certificate, a token, a key nor a key set in it; the text says so."""


class Description(NamedTuple):
    """A certificate, a token, a key or a key set, in words."""

    kind: str
    facts: Sequence[tuple[str, str]]
    is_expired: bool = False


def described(octets: bytes, now: datetime, authority: x509.Certificate | None) -> Sequence[Description]:
    """All that a file holds: certificates, a token, a key set. Raises Unknown.

    `authority` is the one that may have signed the certificates, if any lies near.
    """
    if b"-----BEGIN CERTIFICATE-----" in octets:
        return _certificates(octets, now, authority)
    if b"PRIVATE KEY-----" in octets:
        return [_private_key(octets)]
    text = octets.decode("ascii", "replace").strip()
    return [_key_set(text) if text.startswith("{") else _token(text, now)]


def _certificates(octets: bytes, now: datetime, authority: x509.Certificate | None) -> Sequence[Description]:
    try:
        certificates = x509.load_pem_x509_certificates(octets)
        return [_certificate(certificate, now, authority) for certificate in certificates]
    except ValueError:  # also where an extension can't be read
        raise Unknown("is no certificate that can be read") from None


def _certificate(certificate: x509.Certificate, now: datetime, authority: x509.Certificate | None) -> Description:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    facts = [
        ("subject", certificate.subject.rfc4514_string()),
        ("URI", ", ".join(issuing.identities(certificate)) or "none"),
        ("names", ", ".join(issuing.hosts(certificate)) or "none"),
        ("issuer", certificate.issuer.rfc4514_string()),
        ("valid", _validity(begin, end, now)),
    ]
    if authority is not None:
        is_signed = issuing.is_signed_by(certificate, authority)
        facts.append(("signed", "by the authority in ca.pem" if is_signed else "by another authority than ca.pem's"))
    return Description("certificate", facts, end <= now)


def _private_key(octets: bytes) -> Description:
    try:
        parsed_key(octets)
    except ValueError as error:
        raise Unknown(str(error)) from None
    return Description("private key", [("kind", "ECDSA P-256")])


def _key_set(text: str) -> Description:
    try:
        keys = [jwt.PyJWK.from_dict(member) for member in json.loads(text)["keys"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, jwt.PyJWTError):
        raise Unknown("is no key set (JWKS)") from None
    return Description("key set", [("key", f"{key.key_id}, {key.algorithm_name}") for key in keys])


def _token(text: str, now: datetime) -> Description:
    try:
        header = jwt.get_unverified_header(text)
        claims = jwt.decode(text, options={"verify_signature": False})
    except jwt.PyJWTError:
        raise Unknown("is no certificate, token (JWT) or key set (JWKS)") from None
    begin, end = _moment(claims, "iat"), _moment(claims, "exp")
    shown = [(name, _word(claims.get(name))) for name in _SHOWN_CLAIMS]
    facts = [*shown, ("valid", _validity(begin, end, now)), ("key", _word(header.get("kid")))]
    return Description("token", facts, end <= now)


def _moment(claims: Mapping[str, object], name: str) -> datetime:
    seconds = claims.get(name)
    if not isinstance(seconds, int) or seconds not in _MOMENTS:
        raise Unknown(f"is a token whose {name} is no time")
    return datetime.fromtimestamp(seconds, UTC)


def _word(claim: object) -> str:
    return claim if isinstance(claim, str) else json.dumps(claim)


def _validity(begin: datetime, end: datetime, now: datetime) -> str:
    return f"{_rfc3339(begin)} to {_rfc3339(end)}, {_left(begin, end, now)}"


def _left(begin: datetime, end: datetime, now: datetime) -> str:
    if now < begin:
        return "not yet valid"
    if now >= end:
        return "expired"
    days, rest = divmod(end - now, _DAY)
    return f"{days} d {rest // _HOUR} h left" if days else f"{(end - now) // timedelta(minutes=1)} min left"


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

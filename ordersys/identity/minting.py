"""Bearer tokens (JWT by RFC 9068, ES256), and the key set to verify them (JWKS, RFC 7517). Pure: no file is touched."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import TypedDict
from uuid import uuid4

import jwt

from ordersys.contract import access
from ordersys.contract.access import RoleNumber
from ordersys.identity.issuing import Key

HOURS = 1.0
"""The life of a token, in hours, unless it is told otherwise."""
MOST_HOURS = 24.0
"""In hours: services refuse a token of a longer life, which nobody could take back."""
TYPE = "at+jwt"
"""The `typ` of an access token (RFC 9068, section 2.1): no other JWT of the same issuer passes for one."""
_ALGORITHM = "ES256"
_CLIENT_ID = "ordersys-identity"
_COORDINATE_BYTES = 32
_HOUR_SECONDS = 3600


class Claims(TypedDict):
    """The claims of a token, all of which RFC 9068 demands but `scope`."""

    iss: str
    aud: str
    sub: str
    scope: str
    client_id: str
    iat: int
    exp: int
    jti: str


def claims(subject: str, roles: Collection[RoleNumber], now: datetime, hours: float = HOURS) -> Claims:
    """The claims of a token for `subject` in these roles. Raises ValueError with what can't be claimed."""
    issued = int(now.timestamp())
    return Claims(
        iss=access.ISSUER,
        aud=access.AUDIENCE,
        sub=checked_subject(subject),
        scope=scope(roles),
        client_id=_CLIENT_ID,
        iat=issued,
        exp=issued + max(1, int(checked_hours(hours) * _HOUR_SECONDS)),
        jti=str(uuid4()),
    )


def signed(claimed: Claims, key: Key) -> str:
    """The token. Its header names the key, so that a verifier may have several."""
    return jwt.encode(dict(claimed), key, _ALGORITHM, headers={"typ": TYPE, "kid": key_id(key)})


def with_key(text: bytes, key: Key) -> bytes:
    """The key set in `text` with the public half of `key` as well; with that alone where it is no key set."""
    own = _member(key)
    others = [member for member in _members(text) if member.get("kid") != own["kid"]]
    return (json.dumps({"keys": [*others, own]}, indent=2) + "\n").encode()


def holds(text: bytes, key: Key) -> bool:
    """True for the text of a key set that has the public half of `key` in it, with others or alone."""
    return _member(key) in _members(text)


def key_id(key: Key) -> str:
    """The thumbprint of the public half (RFC 7638): the same key has the same id, whoever computes it."""
    members = json.dumps(_public(key), sort_keys=True, separators=(",", ":"))
    return _base64(sha256(members.encode()).digest())


def scope(roles: Collection[RoleNumber]) -> str:
    """The `scope` that gives these roles. Raises ValueError for none, and for one that no token gives."""
    words = {role: word for word, role in access.scopes().items()}
    if not roles or not words.keys() >= set(roles):
        raise ValueError(f"a token gives one or more of these roles: {', '.join(access.scopes())}")
    return " ".join(words[role] for role in sorted(set(roles)))


def checked_subject(name: str) -> str:
    """The name, if it may be one. Raises ValueError."""
    if not access.is_name(name):
        raise ValueError(f"{name!r} must be 1 to 64 lower-case letters, digits and inner hyphens")
    return name


def checked_hours(hours: float) -> float:
    """The life of a token, if it may be one. Raises ValueError."""
    if not 0 < hours <= MOST_HOURS:  # also what is no number
        raise ValueError(f"{hours:g} hours must be more than 0 and at most {MOST_HOURS:g}")
    return hours


def _member(key: Key) -> Mapping[str, str]:
    return {**_public(key), "kid": key_id(key), "alg": _ALGORITHM, "use": "sig"}


def _public(key: Key) -> Mapping[str, str]:
    """The members that make up the public half (RFC 7518, section 6.2)."""
    numbers = key.public_key().public_numbers()
    x, y = (_base64(number.to_bytes(_COORDINATE_BYTES, "big")) for number in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def _base64(octets: bytes) -> str:
    return urlsafe_b64encode(octets).decode().rstrip("=")


def _members(text: bytes) -> Sequence[Mapping[str, object]]:
    """The keys of a key set; none of what is no key set."""
    try:
        members = json.loads(text)["keys"]
        return [member for member in members if isinstance(member, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):  # is no key set
        return []

"""Bearer tokens (JWT as RFC 9068 profiles it): a token that an issuer has signed -> a caller.

PyJWT verifies the signature. The rest is stricter here than there (RFC 8725): the algorithm belongs to the key, the
type of a token counts, times are whole numbers, no token lasts for more than a day, no name stands twice.
"""

import base64
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import NamedTuple

from jwt import PyJWK, PyJWS
from jwt.exceptions import PyJWTError

from ordersys.contract import access
from ordersys.contract.access import InvalidToken
from ordersys.runtime.identity.key_sets import ALGORITHMS, KeySource, json_value
from ordersys.runtime.identity.profile import Profile

MOST_CHARACTERS = 8192
"""Characters of a token. As many bytes of metadata does gRPC take for a whole call, unless it is told otherwise."""
LONGEST_SECONDS = 86_400
"""Seconds a token may last from its `iat` to its `exp`."""
_LEEWAY_SECONDS = 30  # that the clock of the issuer may be ahead
_MOST_VERIFIED = 1024
_REFUSED_HEADERS = ("crit", "b64", "zip")  # they change how a token is to be read
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_JWS = PyJWS(sorted(ALGORITHMS))


class _Verified(NamedTuple):
    caller: access.Caller
    expires: int
    generation: int


class Tokens:
    """The callers of the tokens that the holder of `keys` has issued as `profile` says. For the event loop.

    The last 1,024 callers are remembered: to verify a token costs some 100 times as much as to look it up. They are
    known by a digest, so that no token stays in memory, and verified again when the keys have changed.
    """

    def __init__(self, keys: KeySource, profile: Profile, now: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._profile = profile
        self._now = now
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()

    def caller(self, token: str) -> access.Caller:
        """The caller that `token` proves. Raises InvalidToken, and nothing else, whatever the token is."""
        if len(token) > MOST_CHARACTERS or not token.isascii():
            raise InvalidToken("too long, or not ASCII")
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known and known.generation == self._keys.generation and known.expires > self._now():
            self._verified.move_to_end(digest)
            return known.caller
        self._verified.pop(digest, None)
        verified = self._verify(token)
        self._verified[digest] = verified
        if len(self._verified) > _MOST_VERIFIED:
            self._verified.popitem(last=False)
        return verified.caller

    def _verify(self, token: str) -> _Verified:
        if not _COMPACT.fullmatch(token):
            raise InvalidToken("not in the compact form of a JWS")
        header = _object(token.partition(".")[0], "header")
        type_ = self._profile.type_of(header)
        key = self._key(header)
        try:
            _JWS.decode(token, key, [key.algorithm_name])
        except PyJWTError as error:
            raise InvalidToken("signature does not fit") from error
        claims = _object(token.split(".")[1], "payload")
        expires = self._expiry(claims)
        return _Verified(self._profile.caller(claims, type_), expires, self._keys.generation)

    def _key(self, header: Mapping[str, object]) -> PyJWK:
        """The key a token claims to be signed with: a forged one is refused here, at no cost, unless it knows one."""
        if any(name in header for name in _REFUSED_HEADERS):
            raise InvalidToken("critical, b64 or zip in the header")
        kid = header.get("kid")
        key = self._keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            raise InvalidToken("unknown key")
        if header.get("alg") != key.algorithm_name:
            raise InvalidToken("not the algorithm of its key")
        return key

    def _expiry(self, claims: Mapping[str, object]) -> int:
        now = self._now()
        expires, issued = _seconds(claims, "exp"), _seconds(claims, "iat")
        if expires <= now:
            raise InvalidToken("expired")
        begins = max(issued, _seconds(claims, "nbf")) if "nbf" in claims else issued
        if begins > now + _LEEWAY_SECONDS:
            raise InvalidToken("not valid yet")
        if not 0 < expires - issued <= LONGEST_SECONDS:
            raise InvalidToken("lasts for too long, or ends before it is issued")
        return expires


def _seconds(claims: Mapping[str, object], name: str) -> int:
    seconds = claims.get(name)
    if type(seconds) is not int:  # True is an int, too
        raise InvalidToken(f"{name} is no whole number")
    return seconds


def _object(segment: str, name: str) -> Mapping[str, object]:
    """The JSON object in a segment of a token. Raises InvalidToken."""
    try:
        decoded = json_value(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except ValueError as error:
        raise InvalidToken(f"{name} is not JSON in base64url") from error
    if not isinstance(decoded, dict):
        raise InvalidToken(f"{name} is no JSON object")
    return decoded

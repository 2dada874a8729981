"""Bearer tokens (JWT as RFC 9068 profiles it): a token that an issuer has signed -> a caller.

PyJWT verifies the signature. The rest is stricter here than there (RFC 8725): the algorithm belongs to the key, the
type of a token counts, times are whole numbers, no token lasts for more than a day, no name stands twice.
"""

import base64
import hashlib
import json
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jwt import PyJWK, PyJWS
from jwt.exceptions import PyJWTError

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.console.opening import read_regular
from ordersys.contract import access
from ordersys.contract.access import InvalidToken
from ordersys.runtime.base.errors import StartupError
from ordersys.runtime.identity.watched import Watched

_log = logging.getLogger(__name__)
MOST_CHARACTERS = 8192
"""Characters of a token. As many bytes of metadata does gRPC take for a whole call, unless it is told otherwise."""
LONGEST_SECONDS = 86_400
"""Seconds a token may last from its `iat` to its `exp`."""
_LEEWAY_SECONDS = 30  # that the clock of the issuer may be ahead
_MOST_VERIFIED = 1024
_LEAST_RSA_BITS = 2048  # RFC 7518, 3.3
_TYPES = ("at+jwt", "application/at+jwt")  # RFC 9068, 4: an ID token is signed by the same key, for somebody else
_REFUSED_HEADERS = ("crit", "b64", "zip")  # they change how a token is to be read
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_ALGORITHMS = {
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("RSA", ""): ("RS256", "PS256"),
}
"""The algorithms of each type of key, the one that is meant where a key names none first."""
_PUBLIC = ("kty", "crv", "x", "y", "n", "e")
_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
_JWS = PyJWS(sorted({name for names in _ALGORITHMS.values() for name in names}))


class UnusableKeys(StartupError):
    """A file with keys of an issuer that can't be used; the text has the file and the way out, no content."""


class Keys:
    """The public keys of an issuer of tokens, by `kid`, from a file with a JSON Web Key Set (RFC 7517, 5).

    The constructor raises UnusableKeys. For the event loop, which calls `reload` every few seconds.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._watched = Watched((file,), lambda: _load(file))

    @property
    def generation(self) -> int:
        """Rises each time new keys are taken."""
        return self._watched.generation

    def get(self, kid: str) -> PyJWK | None:
        """The key of this id."""
        return self._watched.value.get(kid)

    def reload(self) -> None:
        """Takes the file if it has changed and is in order; else keeps the keys it has, and logs why, once."""
        if self._watched.reload():
            _log.info("the token keys in %s are taken: %d", self._file, len(self._watched.value))


class _Verified(NamedTuple):
    caller: access.Caller
    expires: int
    generation: int


class Tokens:
    """The callers of the tokens that the holder of `keys` has issued for `audience`. For the event loop.

    The last 1,024 callers are remembered: to verify a token costs some 100 times as much as to look it up. They are
    known by a digest, so that no token stays in memory, and verified again when the keys have changed.
    """

    def __init__(self, keys: Keys, issuer: str, audience: str, now: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._now = now
        self._roles = access.scopes()
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
        key = self._key(_object(token.partition(".")[0], "header"))
        try:
            _JWS.decode(token, key, [key.algorithm_name])
        except PyJWTError as error:
            raise InvalidToken("signature does not fit") from error
        claims = _object(token.split(".")[1], "payload")
        expires = self._expiry(claims)
        return _Verified(self._caller(claims), expires, self._keys.generation)

    def _key(self, header: Mapping[str, object]) -> PyJWK:
        """The key a token claims to be signed with: a forged one is refused here, at no cost, unless it knows one."""
        kid, type_ = header.get("kid"), header.get("typ")
        if any(name in header for name in _REFUSED_HEADERS):
            raise InvalidToken("critical, b64 or zip in the header")
        if not isinstance(type_, str) or type_.lower() not in _TYPES:
            raise InvalidToken("not of the type at+jwt")
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

    def _caller(self, claims: Mapping[str, object]) -> access.Caller:
        name, scope = claims.get("sub"), claims.get("scope", "")
        if claims.get("iss") != self._issuer:
            raise InvalidToken("of another issuer")
        if claims.get("aud") not in (self._audience, [self._audience]):
            raise InvalidToken("not for this audience alone")
        if not isinstance(name, str) or not access.is_name(name):
            raise InvalidToken("sub is not 1 to 64 lower-case letters, digits and inner hyphens")
        if not isinstance(scope, str):
            raise InvalidToken("scope is no text")
        roles = {self._roles[word] for word in scope.split(" ") if word in self._roles}
        return access.Caller(name, frozenset({Role.ROLE_ANONYMOUS, *roles}))


def _seconds(claims: Mapping[str, object], name: str) -> int:
    seconds = claims.get(name)
    if type(seconds) is not int:  # True is an int, too
        raise InvalidToken(f"{name} is no whole number")
    return seconds


def _object(segment: str, name: str) -> Mapping[str, object]:
    """The JSON object in a segment of a token. Raises InvalidToken."""
    try:
        decoded = _json(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except ValueError as error:
        raise InvalidToken(f"{name} is not JSON in base64url") from error
    if not isinstance(decoded, dict):
        raise InvalidToken(f"{name} is no JSON object")
    return decoded


def _json(text: bytes) -> object:
    """The value of a JSON text in which no name stands twice: parsers differ in which of them counts.

    Raises ValueError, also for what is nested too deeply.
    """
    try:
        value: object = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("a name stands twice")
    return names


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")


def _load(file: Path) -> Mapping[str, PyJWK]:
    """The keys in a file. Raises UnusableKeys."""
    try:
        return key_set(read_regular(file))
    except OSError as error:
        raise UnusableKeys(f"{file} can't be read: {error.strerror}; mend that, or name another file") from error
    except ValueError as error:
        raise UnusableKeys(f"{file} {error}") from error


def key_set(text: bytes) -> Mapping[str, PyJWK]:
    """The keys of a JSON Web Key Set that can verify a token, by `kid`. Raises ValueError with why it can't be used.

    Keys for something else are left out, as an issuer may have them. Secret ones are an error: they have no business
    in a file that everybody may read, and whoever reads them can issue tokens.
    """
    try:
        document = _json(text)
    except ValueError:
        raise ValueError("is not JSON; it has to be a JSON Web Key Set") from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or not all(isinstance(jwk, dict) for jwk in listed):
        raise ValueError('has no "keys", which are JSON objects; it has to be a JSON Web Key Set')
    keys: dict[str, PyJWK] = {}
    for jwk in listed:
        _check_public(jwk)
        kid, algorithm = jwk.get("kid"), _algorithm(jwk)
        if not isinstance(kid, str) or algorithm is None:
            continue
        if kid in keys:
            raise ValueError("has two keys with one kid; give each its own")
        keys[kid] = _public_key(jwk, algorithm)
    if not keys:
        kinds = ", ".join(sorted({name for names in _ALGORITHMS.values() for name in names}))
        raise ValueError(f"has no public key with a kid for {kinds}; add one")
    return keys


def _check_public(jwk: Mapping[str, object]) -> None:
    if jwk.get("kty") == "oct":
        raise ValueError('has a shared secret in it (kty "oct"); leave public keys in it only')
    if not _PRIVATE.isdisjoint(jwk):
        raise ValueError("has a private key in it; leave its public part only, and use a new key")


def _algorithm(jwk: Mapping[str, object]) -> str | None:
    """The one algorithm a key is used with, None if it is not for the signatures of tokens."""
    if jwk.get("use", "sig") != "sig" or not _may_verify(jwk.get("key_ops")):
        return None
    kind, curve = jwk.get("kty"), jwk.get("crv", "")
    if not isinstance(kind, str) or not isinstance(curve, str):
        return None
    algorithms = _ALGORITHMS.get((kind, curve), ())
    named = jwk.get("alg", next(iter(algorithms), None))
    return next((name for name in algorithms if name == named), None)


def _may_verify(operations: object) -> bool:
    return operations is None or (isinstance(operations, list) and "verify" in operations)


def _public_key(jwk: Mapping[str, object], algorithm: str) -> PyJWK:
    """A key of its public members only; PyJWT would read others, too."""
    try:
        key = PyJWK({name: jwk[name] for name in _PUBLIC if isinstance(jwk.get(name), str)}, algorithm)
    except (PyJWTError, ValueError):
        raise ValueError("has a key in it that can't be decoded; export it anew") from None
    if jwk["kty"] == "RSA" and key.key.key_size < _LEAST_RSA_BITS:
        raise ValueError(f"has an RSA key of less than {_LEAST_RSA_BITS} bits in it; use a longer one")
    return key

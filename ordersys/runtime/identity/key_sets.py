"""Key sets of an issuer of tokens (JWKS, RFC 7517): the public keys that verify its tokens, by their ids.

PyJWT reads the keys. Only those that are meant for the signatures of tokens are taken, each for one algorithm.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from jwt import PyJWK
from jwt.exceptions import PyJWTError

from ordersys.console.opening import read_regular
from ordersys.runtime.base.errors import StartupError
from ordersys.runtime.identity.watched import Watched

_log = logging.getLogger(__name__)
_LEAST_RSA_BITS = 2048  # RFC 7518, 3.3
_ALGORITHMS = {
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("RSA", ""): ("RS256", "PS256"),
}
"""The algorithms of each type of key, the one that is meant where a key names none first."""
ALGORITHMS = frozenset(name for names in _ALGORITHMS.values() for name in names)
"""All of them."""
_PUBLIC = ("kty", "crv", "x", "y", "n", "e")
_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


class UnusableKeys(StartupError):
    """A file with keys of an issuer that can't be used; the text has the file and the way out, no content."""


class KeySource(Protocol):
    """The public keys of an issuer of tokens, by `kid`, wherever they come from. For the event loop."""

    @property
    def generation(self) -> int:
        """Rises each time new keys are taken."""

    @property
    def works(self) -> bool:
        """False while there are no keys at all."""

    async def start(self) -> None:
        """Waits for the first keys, some seconds at most."""

    def get(self, kid: str) -> PyJWK | None:
        """The key of this id."""

    def reload(self) -> None:
        """Takes keys that have changed; to be called every few seconds. Never waits."""


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

    @property
    def works(self) -> bool:
        """True: without keys there is none of this kind."""
        return True

    async def start(self) -> None:
        """Has nothing to wait for."""

    def get(self, kid: str) -> PyJWK | None:
        """The key of this id."""
        return self._watched.value.get(kid)

    def reload(self) -> None:
        """Takes the file if it has changed and is in order; else keeps the keys it has, and logs why, once."""
        if self._watched.reload():
            _log.info("the token keys in %s are taken: %d", self._file, len(self._watched.value))


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
        document = json_value(text)
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
        raise ValueError(f"has no public key with a kid for {', '.join(sorted(ALGORITHMS))}; add one")
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


def json_value(text: bytes) -> object:
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

"""The credentials of a client: whom it trusts, and the token it shows, from files that the environment names.

Without a file of authorities everything goes in clear, as within one machine; a token never does.
"""

import json
import ssl
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.console.opening import read_regular
from ordersys.console.parser import UsageError
from ordersys.console.secret_files import Exposed, read_secret
from ordersys.contract.access import is_name, scopes

CA_FILE, TOKEN_FILE = "ORDERSYS_CA_FILE", "ORDERSYS_TOKEN_FILE"
_MOST_CHARACTERS = 8192  # of a token: as many bytes of metadata does gRPC take for a whole call
_AUTHORIZATION = "authorization"
_BEARER = "Bearer "


class Credentials(NamedTuple):
    """Certificates of the authorities that are trusted, and the file of the token: each None where there is none."""

    authorities: bytes | None = None
    token: "Token | None" = None

    def channel(self, target: str, service: str, options: Sequence[tuple[str, Any]]) -> grpc.aio.Channel:
        """A channel to `service`, such as order-service: by its name, wherever it is, it has to have a certificate."""
        if self.authorities is None:
            return grpc.aio.insecure_channel(target, options=options)
        named = (*options, ("grpc.ssl_target_name_override", service))
        trusting = grpc.ssl_channel_credentials(self.authorities)
        shown = [_Showing(self.token)] if self.token else []
        return grpc.aio.secure_channel(target, trusting, options=named, interceptors=shown)


class Token:
    """A bearer token in a file, which somebody renews: read for each call, as it is by then."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.metadata()  # so that a file which can't be used is told before anything is called

    @property
    def customer(self) -> str:
        """The customer whose token it is, by its own words; empty of an operator's, and of what says it otherwise.

        Raises UsageError.
        """
        claims = _claims(self.metadata()[1].removeprefix(_BEARER))
        roles = {role for word, role in scopes().items() if word in str(claims.get("scope", "")).split(" ")}
        return str(claims.get("sub", "")) if roles == {Role.ROLE_CUSTOMER} else ""

    @property
    def shown(self) -> str:
        """Words that tell which token it is, fit for an error: whose, by its own words, and its file; nothing of it."""
        where = f"the token in {str(self._file)!r}"
        try:
            name = str(_claims(self.metadata()[1].removeprefix(_BEARER)).get("sub", ""))
        except UsageError:  # the file has changed since the call
            return where
        return f"{where}, {name}'s" if is_name(name) else where

    def metadata(self) -> tuple[str, str]:
        """The metadata that carries it. Raises UsageError."""
        text = _read(TOKEN_FILE, self._file, read_secret).decode(errors="replace").strip()
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            raise UsageError(f"{TOKEN_FILE} is {str(self._file)!r}, which holds no token: one word is wanted")
        if len(text) > _MOST_CHARACTERS:
            raise UsageError(
                f"{TOKEN_FILE} is {str(self._file)!r}, which holds {len(text)} characters, and no service takes a token"
                f" of more than {_MOST_CHARACTERS}; name another file, or have the issuer leave claims out"
            )
        return _AUTHORIZATION, f"{_BEARER}{text}"


def _claims(token: str) -> Mapping[str, Any]:
    """The claims of a JWT, unverified: they say what its owner may have meant, and open nothing."""
    try:
        claims = json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))
    except (ValueError, IndexError):
        return {}
    return claims if isinstance(claims, dict) else {}


class _Showing(grpc.aio.UnaryUnaryClientInterceptor):
    """Shows a token with each call."""

    def __init__(self, token: Token) -> None:
        self._token = token

    async def intercept_unary_unary(
        self, continuation: Callable[[grpc.aio.ClientCallDetails, Any], Any], details: Any, request: Any
    ) -> Any:
        metadata = grpc.aio.Metadata(*(details.metadata or ()), self._token.metadata())
        return await continuation(details._replace(metadata=metadata), request)


def credentials(environment: Mapping[str, str]) -> Credentials:
    """The credentials that `environment` names files of. Raises UsageError."""
    authorities, token = environment.get(CA_FILE, "").strip(), environment.get(TOKEN_FILE, "").strip()
    if not authorities:
        if token:
            raise UsageError(f"{TOKEN_FILE} is given without {CA_FILE}: a token is not sent to whom nobody vouches for")
        return Credentials()
    return Credentials(_authorities(authorities), Token(Path(token)) if token else None)


def _authorities(file: str) -> bytes:
    """The certificates in a file, in PEM: gRPC says of what it can't use that nobody answers. Raises UsageError."""
    # Other characters stand in comments, or mark the order of octets in front of the first certificate.
    text = _read(CA_FILE, Path(file), read_regular).decode("ascii", "ignore")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text.strip() or "none")
    except ssl.SSLError:
        raise UsageError(f"{CA_FILE} is {file!r}, which holds no certificate in PEM; name the authority's") from None
    return text.encode()


def _read(variable: str, file: Path, read: Callable[[Path], bytes]) -> bytes:
    try:
        return read(file)
    except Exposed as error:
        raise UsageError(f"{variable} is {str(file)!r}, which {error.strerror}") from None
    except OSError as error:
        raise UsageError(f"{variable} is {str(file)!r}, which can't be read: {error.strerror}; name another") from None

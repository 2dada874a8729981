"""The caller of each call: by a bearer token, else by the certificate of the connection (contract/access.py).

Never by both: what neither may do alone, nobody may. Nothing else that a call carries says who makes it.
"""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.access import ANYBODY, OF_CALLERS, TRUSTED, Caller, InvalidToken, NotOwned, service_ids
from ordersys.contract.errors import StatusError, reason_of, status_error
from ordersys.runtime.rpc.admission import Context

if TYPE_CHECKING:  # their libraries are for who has an identity (security.py)
    from ordersys.runtime.identity.tokens import Tokens

_log = logging.getLogger(__name__)
_AUTHORIZATION = "authorization"
_SCHEME = "bearer"  # in any case (RFC 9110 §11.1)
_UNKNOWN = Caller(roles=frozenset(), service="unknown")
"""Somebody with a certificate of the authority that names no service of the contract."""
_calling: ContextVar[Caller] = ContextVar("caller", default=TRUSTED)
_LINES_A_SECOND = 10
_MOST_CHARACTERS = 200


def caller() -> Caller:
    """The one who makes the call that the running task answers. To be asked where it comes in, and handed on."""
    return _calling.get()


def answer_to(whom: Caller) -> None:
    """Says who makes the call that the running task answers."""
    _calling.set(whom)


def service_of(auth_context: Mapping[str, Iterable[bytes]]) -> str | None:
    """The full name of the service of the contract that the peer of a call is by its certificate, None if it is none.

    gRPC gives `peer_spiffe_id` only where the URI is the only one (X509-SVID, 2). Its `peer_identities` fall back on
    the common name. The id is compared octet by octet: gRPC normalises nothing, and neither does this.
    """
    ids = tuple(auth_context.get("peer_spiffe_id", ()))
    return _services().get(ids[0]) if len(ids) == 1 else None


@cache
def _services() -> Mapping[bytes, str]:
    return {spiffe_id.encode(): name for spiffe_id, name in service_ids().items()}


class Callers:
    """Finds the caller of each call."""

    def __init__(self, tokens: "Tokens | None") -> None:
        """Without identities (`tokens` is None) everybody is trusted with everything."""
        self._tokens = tokens
        self.refused = RefusedCalls()

    def of(self, context: Context) -> Caller:
        """The one who makes the call of `context`. Raises StatusError (CREDENTIALS_INVALID)."""
        if self._tokens is None:
            return TRUSTED
        given = [value for name, value in context.invocation_metadata() or () if name == _AUTHORIZATION]
        if not given:
            return _by_certificate(context)
        try:
            return self._tokens.caller(_token(given))
        except InvalidToken as error:
            raise CredentialsInvalid(str(error)) from None  # its cause quotes the token


class CredentialsInvalid(StatusError):
    """CREDENTIALS_INVALID; `why` is for the log alone."""

    def __init__(self, why: str) -> None:
        super().__init__(status_error(ErrorReason.CREDENTIALS_INVALID).status)
        self.why = why


class RefusedCalls:
    """One line of the log for each call that is refused for who makes it: ten a second at most, the rest is counted."""

    def __init__(self) -> None:
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def log(self, path: str, refused: Exception, context: Context) -> None:
        """Logs a call, or one request of a batch, if it was refused for who makes it; nothing for another refusal."""
        if not isinstance(refused, StatusError) or not _is_for_its_caller(refused):
            return
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines > _LINES_A_SECOND:
            self._left_out += 1
            return
        fields = {
            "caller": None if isinstance(refused, CredentialsInvalid) else str(caller())[:_MOST_CHARACTERS],
            "method": path,
            "reason": "not the owner" if isinstance(refused, NotOwned) else reason_of(refused.status),
            "why": refused.why if isinstance(refused, CredentialsInvalid) else None,
            "peer": context.peer()[:_MOST_CHARACTERS],
            "not_logged": self._left_out or None,
        }
        self._left_out = 0
        said = {name: value for name, value in fields.items() if value is not None}
        _log.warning("call refused", extra={"fields": said})


def _is_for_its_caller(refused: StatusError) -> bool:
    return isinstance(refused, NotOwned) or reason_of(refused.status) in OF_CALLERS


def _token(given: Sequence[str | bytes]) -> str:
    """The token in the values of `authorization`, of which there is one (RFC 6750 §2.1). Raises InvalidToken."""
    if len(given) > 1:
        raise InvalidToken("more than one credential")
    value = given[0]
    scheme, _, token = value.partition(" ") if isinstance(value, str) else ("", "", "")
    if scheme.lower() != _SCHEME or not token:
        raise InvalidToken("no bearer token")
    return token


def _by_certificate(context: Context) -> Caller:
    auth = context.auth_context()
    if not auth.get("x509_pem_cert"):
        return ANYBODY
    service = service_of(auth)
    return Caller(roles=frozenset(), service=service) if service else _UNKNOWN

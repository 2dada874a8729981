"""Page tokens for keyset pages (AIP-158): opaque, bound to the query they were given out for."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Any, Protocol

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.errors import refuse

DEFAULT_SIZE = 50
MAXIMUM_SIZE = 500
_DIGEST = 8


class Query(Protocol):
    """A List request."""

    page_size: int
    page_token: str


def size(query: Query) -> int:
    """How many entries a page holds: the default for 0, lowered to the maximum."""
    return min(query.page_size or DEFAULT_SIZE, MAXIMUM_SIZE)


def token(query: Any, last_key: str) -> str:
    """Asks for what follows `last_key` in the answer to `query`."""
    key = last_key.encode()
    return urlsafe_b64encode(_digest(query, key) + key).decode()


def last_key(query: Any) -> str | None:
    """The key `query` wants to go on after, none for the first page.

    Raises Refused (PAGE_TOKEN_INVALID) for a token that was not given out for this query.
    """
    if not query.page_token:
        return None
    try:
        raw = urlsafe_b64decode(query.page_token.encode())
        digest, key = raw[:_DIGEST], raw[_DIGEST:]
        if digest == _digest(query, key):
            return key.decode()
    except ValueError:
        pass  # not base64 or not ours: refused below like any other foreign token
    raise refuse(ErrorReason.PAGE_TOKEN_INVALID)


def _digest(query: Any, key: bytes) -> bytes:
    """Binds a key to the filters; guards against mistakes, not against forgery: it opens nothing."""
    filters = type(query)()
    filters.CopyFrom(query)
    filters.ClearField("page_size")
    filters.ClearField("page_token")
    about = query.DESCRIPTOR.full_name.encode() + filters.SerializeToString(deterministic=True)
    return blake2b(about + b"\0" + key, digest_size=_DIGEST).digest()

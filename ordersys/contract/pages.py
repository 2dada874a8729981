"""Page tokens for keyset pages (AIP-158): opaque, bound to the query they were given out for."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.errors import refuse

DEFAULT_SIZE = 50
MAXIMUM_SIZE = 500
# Half of what a gRPC client takes unless told otherwise.
MAXIMUM_BYTES = 2 * 1024 * 1024
_DIGEST = 8
K = TypeVar("K")
M = TypeVar("M", bound=Message)


class Query(Protocol):
    """A List request."""

    page_size: int
    page_token: str


def size(query: Query) -> int:
    """How many entries a page holds: the default for 0, lowered to the maximum."""
    return min(query.page_size or DEFAULT_SIZE, MAXIMUM_SIZE)


def fill(query: Query, found: Sequence[tuple[object, M]]) -> tuple[list[M], str]:
    """The entries of the page `query` asks for, and the token of the next page, empty when this is the last.

    `found` are keys with their entries, one more than the size of a page where there are more.
    """
    total = accumulate(entry.ByteSize() for _, entry in found)
    fitting = sum(size <= MAXIMUM_BYTES for size in total)
    taken = found[: min(size(query), max(fitting, 1))]
    more = token(query, str(taken[-1][0])) if len(taken) < len(found) else ""
    return [entry for _, entry in taken], more


def token(query: Any, last_key: str) -> str:
    """Asks for what follows `last_key` in the answer to `query`."""
    key = last_key.encode()
    return urlsafe_b64encode(_digest(query, key) + key).decode()


def last_key(query: Any, kind: Callable[[str], K]) -> K | None:
    """The key `query` wants to go on after, none for the first page.

    Raises Refused (PAGE_TOKEN_INVALID) for a token that was not given out for this query.
    """
    if not query.page_token:
        return None
    try:
        raw = urlsafe_b64decode(query.page_token.encode())
        digest, key = raw[:_DIGEST], raw[_DIGEST:]
        if digest == _digest(query, key):
            return kind(key.decode())
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

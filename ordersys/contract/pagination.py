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
_LARGEST_KEY = 2**63 - 1
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

    Raises Refused (PAGE_TOKEN_INVALID) for a token that is not, to the letter, one that was given out for this query:
    a key can be forged, and a database takes neither "1_0", which Python reads as 10, nor a number of 65 bits.
    """
    if not query.page_token:
        return None
    try:
        key = urlsafe_b64decode(query.page_token.encode())[_DIGEST:].decode()
        found = kind(key)
    except ValueError:  # not base64, no text, no key of this kind: refused like any other foreign token
        raise refuse(ErrorReason.PAGE_TOKEN_INVALID) from None
    if token(query, key) != query.page_token or str(found) != key or not _storable(found):
        raise refuse(ErrorReason.PAGE_TOKEN_INVALID)
    return found


def _storable(key: object) -> bool:
    """Whether a database takes a key: the number of a row, or a text without NUL."""
    return 0 <= key <= _LARGEST_KEY if isinstance(key, int) else "\0" not in str(key)


def _digest(query: Any, key: bytes) -> bytes:
    """Binds a key to the filters; guards against mistakes, not against forgery: it opens nothing."""
    filters = type(query)()
    filters.CopyFrom(query)
    filters.ClearField("page_size")
    filters.ClearField("page_token")
    about = query.DESCRIPTOR.full_name.encode() + filters.SerializeToString(deterministic=True)
    return blake2b(about + b"\0" + key, digest_size=_DIGEST).digest()

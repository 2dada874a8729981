"""Keyset pages and their tokens (AIP-158): opaque, and valid only for the query they were given out for."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.errors import status_error

# Entries of a page, as the contract says of each page_size.
DEFAULT_SIZE = 50
MAXIMUM_SIZE = 500
# Half of the 4 MiB that a gRPC client takes by default: room for framing and for what a newer release adds to an entry.
MAXIMUM_BYTES = 2 * 1024 * 1024
_DIGEST = 8  # bytes: enough against mistakes; a token takes at most 256 characters
_LARGEST_KEY = 2**63 - 1  # of SQLite's INTEGER
K = TypeVar("K")
M = TypeVar("M", bound=Message)


class Query(Protocol):
    """A List request."""

    page_size: int
    page_token: str


def size(query: Query) -> int:
    """The number of entries of a page: the default for 0, lowered to the maximum."""
    return min(query.page_size or DEFAULT_SIZE, MAXIMUM_SIZE)


def fill(query: Query, entries: Sequence[tuple[object, M]]) -> tuple[list[M], str]:
    """The entries of the page `query` asks for, and the token of the next page, empty when this is the last.

    `entries` have their keys; one more than the size of a page tells that there is a next page.
    """
    total = accumulate(entry.ByteSize() for _, entry in entries)
    fitting = sum(size <= MAXIMUM_BYTES for size in total)
    # At least one, however large: a page without entries would end the list.
    page = entries[: min(size(query), max(fitting, 1))]
    more = token(query, str(page[-1][0])) if len(page) < len(entries) else ""
    return [entry for _, entry in page], more


def token(query: Any, last_key: str) -> str:
    """The token of the page that begins after `last_key`."""
    key = last_key.encode()
    return urlsafe_b64encode(_digest(query, key) + key).decode()


def last_key(query: Any, parse: Callable[[str], K]) -> K | None:
    """The key that the page `query` asks for begins after, read by `parse`; None for the first page.

    Raises StatusError (PAGE_TOKEN_INVALID) for a token that is not, to the letter, one given out for this query.
    """
    if not query.page_token:
        return None
    try:
        key = urlsafe_b64decode(query.page_token.encode())[_DIGEST:].decode()
        last = parse(key)
    except ValueError:  # not base64, no text, no key of this kind: refused like any other foreign token
        raise status_error(ErrorReason.PAGE_TOKEN_INVALID) from None
    # A token can be forged: its key must be as it was written (Python reads "1_0" as 10) and fit into the database.
    if token(query, key) != query.page_token or str(last) != key or not _storable(last):
        raise status_error(ErrorReason.PAGE_TOKEN_INVALID)
    return last


def _storable(key: object) -> bool:
    """True for a key that the database takes: a row number of 63 bits, or a text without NUL."""
    return 0 <= key <= _LARGEST_KEY if isinstance(key, int) else "\0" not in str(key)


def _digest(query: Any, key: bytes) -> bytes:
    """The digest that binds a key to its filters. Without a secret: a forged token shows nothing a list would not."""
    filters = type(query)()
    filters.CopyFrom(query)
    filters.ClearField("page_size")
    filters.ClearField("page_token")
    about = query.DESCRIPTOR.full_name.encode() + filters.SerializeToString(deterministic=True)
    return blake2b(about + b"\0" + key, digest_size=_DIGEST).digest()

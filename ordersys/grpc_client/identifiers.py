"""Names for requests: new ones, and those that follow from what is asked."""

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence

from ordersys.grpc_client.order_input import OrderInput

# The namespace of the request ids of files; made once, for ever.
_FILES = uuid.UUID("b0a53a3c-2f0c-4b8e-9d35-6b6a0c0b3f57")


def new_request_id() -> str:
    """A UUID for a request that was never sent before (AIP-155)."""
    return str(uuid.uuid4())


def of_file(wishes: Sequence[OrderInput], batch: str | None = None) -> list[str]:
    """A request id for each of `wishes`, the same each time: a repeat of the file is a repeat of its requests.

    Each is the UUIDv5 of the JSON array [kind, key, count, customer_id, [[product_id, quantity], …]] without blanks,
    the items sorted; `count` is 1 for the first of equal entries, 2 for the next one. Without a batch, kind is
    "content" and key the SHA-256 of the JSON array of all entries, sorted; with one, kind is "batch" and key its name.
    Hence formatting, the order of entries and whatever is no part of a request do not count. An entry that brings a
    request_id keeps it, and does not count for the others.
    """
    forms = {index: _form(wish) for index, wish in enumerate(wishes) if not wish.request_id}
    kind, key = ("content", _digest(forms.values())) if batch is None else ("batch", batch)
    seen: Counter[str] = Counter()
    found = [wish.request_id for wish in wishes]
    for index, form in forms.items():
        seen[form] += 1
        found[index] = str(uuid.uuid5(_FILES, f"[{_json(kind)},{_json(key)},{seen[form]},{form[1:]}"))
    return found


def _form(wish: OrderInput) -> str:
    return _json([wish.customer_id, sorted([item.product_id, item.quantity] for item in wish.items)])


def _digest(forms: Iterable[str]) -> str:
    return hashlib.sha256(f"[{','.join(sorted(forms))}]".encode()).hexdigest()


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))

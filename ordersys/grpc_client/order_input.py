"""Orders somebody wants: from the command line, or from a JSON file, whose requests have ids that follow from it."""

import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.json_format import ParseDict, ParseError

from ordersys.api.product.v1.product_service_pb2 import ItemQuantity, PlaceOrderRequest
from ordersys.console import opening
from ordersys.console.parser import UsageError
from ordersys.contract import json_text
from ordersys.contract.validation import violations

STATIC_ORDERS = Path(__file__).parent.parent / "data" / "orders.json"
_MOST_DIGITS = 10
_MOST_MIB = 64  # some 600,000 orders
# Stands for the id of a request that has none yet.
_ANY_ID = "00000000-0000-4000-8000-000000000000"
# The namespace of the request ids of files; made once, for ever.
_FILES = uuid.UUID("b0a53a3c-2f0c-4b8e-9d35-6b6a0c0b3f57")


class OrderInput(NamedTuple):
    """An order somebody wants."""

    customer_id: str
    items: tuple[ItemQuantity, ...]
    request_id: str = ""
    """The request's own id in lower case, where the order has one."""


def items(words: Iterable[str]) -> list[ItemQuantity]:
    """PRODUCT=QUANTITY … Raises UsageError."""
    return [_item(word) for word in words]


def from_file(path: Path | str) -> list[OrderInput]:
    """The entries of a JSON array of PlaceOrderRequest; what else an entry has (an Order does) is passed over.

    Each keeps the rules of the contract. Raises UsageError, which names file, entry and key.
    """
    entries = _array(path)
    orders = [_order(f"{path}: entry {number}", entry) for number, entry in enumerate(entries, 1)]
    first: dict[str, int] = {}
    for number, order in enumerate(orders, 1):
        if order.request_id and first.setdefault(order.request_id, number) != number:
            earlier = first[order.request_id]
            raise UsageError(f"{path}: entry {number}: request_id: {order.request_id} is that of entry {earlier}, too")
    return orders


def request(order: OrderInput, request_id: str) -> PlaceOrderRequest:
    """The request for what is wanted."""
    return PlaceOrderRequest(request_id=request_id, customer_id=order.customer_id, items=order.items)


def request_ids(orders: Sequence[OrderInput], batch: str | None = None) -> list[str]:
    """A request id for each of `orders`, the same each time: a repeat of the file is a repeat of its requests.

    Each is the UUIDv5 of the JSON array [kind, key, count, customer_id, [[product_id, quantity], …]] without blanks,
    the items sorted; `count` is 1 for the first of equal entries, 2 for the next one. Without a batch, kind is
    "content" and key the SHA-256 of the JSON array of all entries, sorted; with one, kind is "batch" and key its name.
    Hence formatting, the order of entries and whatever is no part of a request do not count. An entry that brings a
    request_id keeps it, and does not count for the others.
    """
    forms = {index: _form(order) for index, order in enumerate(orders) if not order.request_id}
    kind, key = ("content", _digest(forms.values())) if batch is None else ("batch", batch)
    seen: Counter[str] = Counter()
    ids = [order.request_id for order in orders]
    for index, form in forms.items():
        seen[form] += 1
        ids[index] = str(uuid.uuid5(_FILES, f"[{_json(kind)},{_json(key)},{seen[form]},{form[1:]}"))
    return ids


def _array(path: Path | str) -> list[Any]:
    try:
        entries = json_text.parse(opening.read_any(_name(path), _MOST_MIB).decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}") from error
    if not isinstance(entries, list):
        raise UsageError(f"{path}: must be a JSON array of orders")
    return entries


def _name(path: Path | str) -> bytes:
    """The name of a file; in UTF-8 where the locale has no such letters."""
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:
        return str(path).encode()


def _item(word: str) -> ItemQuantity:
    product_id, _, quantity = word.partition("=")
    if not _is_text(product_id) or not _is_number(quantity) or int(quantity) >= 2**31:
        raise UsageError(f"{word!r} must be PRODUCT=QUANTITY, such as desk-lamp=2")
    return ItemQuantity(product_id=product_id, quantity=int(quantity))


def _is_number(text: str) -> bool:
    """Few enough digits to be read at all: Python refuses very many, in words of its own."""
    return text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS


def _is_text(value: str) -> bool:
    """True for text that can be sent: there is something, and it is Unicode (half a surrogate pair is none)."""
    return bool(value) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _order(where: str, entry: Any) -> OrderInput:
    if not isinstance(entry, dict):
        raise UsageError(f"{where}: must be an object with customer_id and items")
    members = _members(where, entry, PlaceOrderRequest)
    for key in ("customer_id", "items"):
        if key not in members:
            raise UsageError(f"{where}: {key} is missing")
    for key in ("customer_id", "request_id"):
        if key in members and not (isinstance(members[key], str) and _is_text(members[key])):
            raise UsageError(f"{where}: {key}: must be a string, and not empty")
    if not isinstance(members["items"], list):
        raise UsageError(f"{where}: items: must be an array of objects with product_id and quantity")
    wanted = tuple(_wanted(f"{where}: items[{index}]", item) for index, item in enumerate(members["items"]))
    order = OrderInput(members["customer_id"], wanted, members.get("request_id", "").lower())
    for broken in violations(request(order, order.request_id or _ANY_ID)):
        raise UsageError(f"{where}: {broken.field}: {broken.description}")
    return order


def _wanted(where: str, item: Any) -> ItemQuantity:
    if not isinstance(item, dict):
        raise UsageError(f"{where}: must be an object with product_id and quantity")
    members = _members(where, item, ItemQuantity)
    for key in ("product_id", "quantity"):
        if key not in members:
            raise UsageError(f"{where}: {key} is missing")
    try:
        return ParseDict(members, ItemQuantity())
    except (ParseError, ValueError) as error:
        raise UsageError(f"{where}: {str(error).splitlines()[0]}") from error


def _members(where: str, entry: dict[str, Any], kind: type[PlaceOrderRequest] | type[ItemQuantity]) -> dict[str, Any]:
    """The fields of a message that `entry` has, by their names; JSON has two spellings of each (ProtoJSON)."""
    members: dict[str, Any] = {}
    for field in kind.DESCRIPTOR.fields:
        given = [key for key in dict.fromkeys((field.name, field.json_name)) if key in entry]
        if len(given) > 1:
            raise UsageError(f"{where}: {' and '.join(given)} are one key; keep one of them")
        for key in given:
            members[field.name] = entry[key]
    return members


def _form(order: OrderInput) -> str:
    return _json([order.customer_id, sorted([item.product_id, item.quantity] for item in order.items)])


def _digest(forms: Iterable[str]) -> str:
    return hashlib.sha256(f"[{','.join(sorted(forms))}]".encode()).hexdigest()


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))

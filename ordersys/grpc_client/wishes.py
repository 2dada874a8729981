"""What a person wants to order: from the command line, or from a JSON file."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.json_format import ParseDict, ParseError

from ordersys.api.product.v1.product_service_pb2 import ItemQuantity

STATIC_ORDERS = Path(__file__).parent.parent / "data" / "orders.json"


_MOST_DIGITS = 10


class WrongUse(Exception):
    """What was typed, or stands in a file, can't be used; the text names it and says what can."""


class Wish(NamedTuple):
    """An order somebody wants."""

    customer_id: str
    items: tuple[ItemQuantity, ...]


def items(words: Iterable[str]) -> list[ItemQuantity]:
    """PRODUCT=QUANTITY … Raises WrongUse."""
    return [_item(word) for word in words]


def from_file(path: Path) -> list[Wish]:
    """The entries of a JSON array; of each, customer_id and its items' product_id and quantity. Raises WrongUse."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WrongUse(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise WrongUse(f"{path}: not JSON: {error}") from error
    if not isinstance(entries, list):
        raise WrongUse(f"{path}: must be a JSON array of orders")
    return [_wish(f"{path}: entry {number}", entry) for number, entry in enumerate(entries, 1)]


def _item(word: str) -> ItemQuantity:
    product_id, _, quantity = word.partition("=")
    if not _is_text(product_id) or not quantity.isdecimal() or len(quantity) > _MOST_DIGITS or int(quantity) >= 2**31:
        raise WrongUse(f"{word!r} must be PRODUCT=QUANTITY, such as desk-lamp=2")
    return ItemQuantity(product_id=product_id, quantity=int(quantity))


def _is_text(value: str) -> bool:
    """Whether it can be sent: there is something, and it is Unicode (half a surrogate pair is none)."""
    return bool(value) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _wish(where: str, entry: Any) -> Wish:
    if not isinstance(entry, dict) or not isinstance(entry.get("items"), list):
        raise WrongUse(f"{where}: must be an object with customer_id and items")
    customer_id = entry.get("customer_id")
    if not isinstance(customer_id, str) or not _is_text(customer_id):
        raise WrongUse(f"{where}: customer_id: must be a string, and not empty")
    wanted = [_wanted(f"{where}: items[{index}]", item) for index, item in enumerate(entry["items"])]
    return Wish(customer_id, tuple(wanted))


def _wanted(where: str, item: Any) -> ItemQuantity:
    if not isinstance(item, dict):
        raise WrongUse(f"{where}: must be an object with product_id and quantity")
    try:
        known = {key: item[key] for key in ("product_id", "quantity")}
        return ParseDict(known, ItemQuantity())
    except KeyError as missing:
        raise WrongUse(f"{where}: {missing.args[0]} is missing") from None
    except ParseError as error:
        raise WrongUse(f"{where}: {error}") from error

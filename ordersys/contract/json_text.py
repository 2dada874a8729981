"""JSON as people write it: read strictly, so that no entry is dropped without a word."""

import json
from typing import Any


def parse(text: str) -> Any:
    """The value that JSON `text` stands for. Raises ValueError, which says where the text is wrong.

    RFC 8259 §4 leaves open what a key that stands twice in one object means; `json` keeps the last value. Here it is an
    error, as are NaN and Infinity, which are no JSON.
    """
    return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise ValueError(f"the key {key!r} stands twice in one object")
        members[key] = value
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")

"""Golden messages: what clients and services wrote under a released contract, kept byte for byte in proto/released."""

import json
from pathlib import Path
from typing import Any, NamedTuple

RELEASED = Path(__file__).parents[3] / "proto" / "released"


class Golden(NamedTuple):
    """A message as it was written: its type, its fields by name, its bytes."""

    type: str
    says: dict[str, Any]
    body: bytes


def _read(path: Path) -> list[Golden]:
    entries = json.loads(path.read_text(encoding="utf-8"))
    return [Golden(entry["type"], entry["says"], bytes.fromhex(entry["bytes"])) for entry in entries]


GOLDEN = [golden for path in sorted(RELEASED.glob("*.golden.json")) for golden in _read(path)]


def case_name(value: object) -> str:
    """The name of a parameter in the id of a test."""
    return str(getattr(value, "type", None) or getattr(value, "name", value))

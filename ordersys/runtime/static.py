"""The JSON files a new database starts with, held against the contract like any request."""

import json
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from ordersys.contract.requests import normalise
from ordersys.contract.validation import violations

M = TypeVar("M", bound=Message)


class WrongFile(Exception):
    """A file with an error; the text names file, entry and field."""


def read(path: Path, kind: type[M]) -> list[M]:
    """The entries of the JSON array in `path`, each a message of `kind` with an id of its own. Raises WrongFile."""
    entries = [_entry(path, number, entry, kind) for number, entry in enumerate(_array(path), 1)]
    seen: set[str] = set()
    for number, entry in enumerate(entries, 1):
        if entry.id in seen:  # type: ignore[attr-defined]
            raise WrongFile(f"{path}: entry {number}: id: {entry.id!r} stands there twice")  # type: ignore[attr-defined]
        seen.add(entry.id)  # type: ignore[attr-defined]
    return entries


def _array(path: Path) -> list[Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WrongFile(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise WrongFile(f"{path}: not JSON: {error}") from error
    if not isinstance(read, list):
        raise WrongFile(f"{path}: must be a JSON array of objects")
    return read


def _entry(path: Path, number: int, entry: Any, kind: type[M]) -> M:
    where = f"{path}: entry {number}"
    if not isinstance(entry, dict):
        raise WrongFile(f"{where}: must be an object")
    try:
        message = ParseDict(entry, kind())
    except ParseError as error:
        raise WrongFile(f"{where}: {str(error).splitlines()[0]}") from error
    for broken in violations(message):
        raise WrongFile(f"{where} ({entry.get('id', 'no id')}): {broken.field}: {broken.description}")
    normalise(message)
    return message

"""The JSON files a new database starts with, held against the contract like any event.

An order in a file is an order as it is kept: nothing of it is folded, sorted or added up, so that what is wrong is said
before anything starts. Times are not compared with the present: a file that is valid stays so, whatever a clock says.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from ordersys.console import opening
from ordersys.contract import json_text
from ordersys.contract.json_text import Object
from ordersys.contract.validation import violations
from ordersys.runtime.base.errors import StartupError

M = TypeVar("M", bound=Message)
# A million orders would be loaded in one transaction: whoever has so many has a database to restore.
MAXIMUM_MIB = 64


class InvalidSeedFile(StartupError):
    """A file with an error; the text is one line that names the file and, within it, entry, id and field."""


def read(path: Path, kind: type[M]) -> list[M]:
    """The entries of the JSON array in `path`, each a message of `kind` with its own id. Raises InvalidSeedFile."""
    entries = [_entry(path, number, entry, kind) for number, entry in enumerate(_array(path), 1)]
    first: dict[str, int] = {}
    for number, entry in enumerate(entries, 1):
        entry_id: str = entry.id  # type: ignore[attr-defined]
        if entry_id in first:
            raise InvalidSeedFile(f"{path}: entry {number} ({entry_id}): id: stands in entry {first[entry_id]} already")
        first[entry_id] = number
    return entries


def _array(path: Path) -> list[Any]:
    try:
        entries = json_text.read(_text(path))
    except OSError as error:
        raise InvalidSeedFile(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidSeedFile(f"{path}: not JSON: {error}") from error
    if not isinstance(entries, list):
        raise InvalidSeedFile(f"{path}: must be a JSON array of objects")
    return entries


def _text(path: Path) -> str:
    """The content of a file. Raises OSError and ValueError."""
    try:
        return opening.read_regular(path, MAXIMUM_MIB).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is no UTF-8") from error


def _entry(path: Path, number: int, entry: Any, kind: type[M]) -> M:
    where = f"{path}: entry {number}"
    if not isinstance(entry, Object):
        raise InvalidSeedFile(f"{where}: must be an object")
    where = f"{where} ({_id(entry)})"
    fields: Any = kind.DESCRIPTOR.fields
    for key in _repeated(entry, fields, ""):
        raise InvalidSeedFile(f"{where}: {key}")
    try:
        message = ParseDict(entry, kind())
    except ParseError as error:
        raise InvalidSeedFile(f"{where}: {str(error).splitlines()[0]}") from error
    for broken in violations(message):
        raise InvalidSeedFile(f"{where}: {broken}")
    return message


def _id(entry: Object) -> str:
    entry_id = entry.get("id", "no id")
    return entry_id if isinstance(entry_id, str) and entry_id.isprintable() else ascii(entry_id)


def _repeated(entry: Object, fields: Iterable[FieldDescriptor], place: str) -> Iterator[str]:
    """Each field that has two values: its key twice, or once in each spelling that protobuf's JSON knows."""
    yield from (f"{place}{_key(key)}: stands there twice" for key in entry.twice)
    for field in fields:
        if field.name != field.json_name and field.name in entry and field.json_name in entry:
            yield f"{place}{field.name}: stands there twice, as {field.name} and as {field.json_name}"
        if field.message_type:
            for step, value in _values(entry.get(field.name, entry.get(field.json_name))):
                yield from _repeated(value, field.message_type.fields, f"{place}{field.name}{step}.")


def _values(value: Any) -> Iterator[tuple[str, Object]]:
    """The objects a field holds: itself, or the elements of its list with their steps of the path."""
    if isinstance(value, Object):
        yield "", value
    elif isinstance(value, list):
        yield from ((f"[{index}]", element) for index, element in enumerate(value) if isinstance(element, Object))


def _key(key: str) -> str:
    return key if key.isprintable() else ascii(key)

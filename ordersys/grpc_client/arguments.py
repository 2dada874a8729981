"""What is typed, held against what it can be, before anything is sent."""

import argparse
import os
import re
from collections.abc import Callable, Mapping, Sequence

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from buf.validate import validate_pb2
from ordersys.console.parser import UsageError
from ordersys.contract import addresses
from ordersys.contract.addresses import Address
from ordersys.contract.validation import violations

_LONGEST = 60
_MOST_DIGITS = 30
_A_DAY = 86_400
_INT32, _INT64 = 2**31 - 1, 2**63 - 1
MOST = _INT32
MOST_ORDERS = 1_000_000
_REQUEST_ID = "leave it out for a new request; for a repeat, give the one that was printed"


def decoded(words: Sequence[str]) -> list[str]:
    """The words that were typed, as text. Raises UsageError for one that is none.

    Python hands out bytes its locale can't read as halves of surrogate pairs (PEP 383). Where those bytes are UTF-8,
    as they are under LC_ALL=POSIX, they are read as such.
    """
    return [_decoded(number, word) for number, word in enumerate(words, 1)]


def request_id(text: str) -> str:
    """A UUID."""
    if not re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text.lower()):
        raise argparse.ArgumentTypeError(f"{quoted(text)} must be a UUID; {_REQUEST_ID}")
    return text.lower()


def some(text: str) -> str:
    """Anything but nothing."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def dead_letter(text: str) -> str:
    """The id of a dead letter."""
    if not re.fullmatch("[0-9a-f]{32}", text.lower()):
        raise argparse.ArgumentTypeError(f"{quoted(text)} must be 32 hexadecimal digits, as dead-letters lists them")
    return text.lower()


def seconds(text: str) -> float:
    """A time a call may take."""
    found = float(text) if re.fullmatch(r"\d{1,9}(\.\d{0,9})?|\.\d{1,9}", text, re.ASCII) else 0.0
    if not 0 < found <= _A_DAY:
        raise argparse.ArgumentTypeError(f"{quoted(text)} must be a number of seconds above 0, {_A_DAY:,} at most")
    return found


def between(least: int, most: int) -> Callable[[str], int]:
    """A whole number in a range."""

    def read(text: str) -> int:
        found = _whole(text)
        if found is None or not least <= found <= most:
            raise argparse.ArgumentTypeError(f"{quoted(text)} must be a whole number from {least:,} to {most:,}")
        return found

    return read


def within(field: FieldDescriptor) -> Callable[[str], int]:
    """A whole number as the rules of the contract want it for `field`."""
    least, most, excluded = _rules(field)

    def read(text: str) -> int:
        found = _whole(text)
        if found is None or not least <= found <= most or found in excluded:
            but = f", and not {', '.join(map(str, excluded))}" if excluded else ""
            raise argparse.ArgumentTypeError(f"{quoted(text)} must be a whole number from {least:,} to {most:,}{but}")
        return found

    return read


def most(field: FieldDescriptor) -> int:
    """The largest number the rules of the contract allow for `field`."""
    return _rules(field)[1]


def address(text: str) -> Address:
    """Where a service listens."""
    try:
        return addresses.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{quoted(text)} must be {error}") from error


def address_of(variable: str, port: int) -> Address:
    """Where a service listens, by the environment; on this machine where it says nothing. Raises UsageError."""
    text = os.environ.get(variable) or f"127.0.0.1:{port}"
    try:
        return addresses.parse(text)
    except ValueError as error:
        raise UsageError(f"{variable} is {quoted(text)} but must be {error}") from error


def check(request: Message, names: Mapping[str, str]) -> None:
    """Raises UsageError when `request` breaks a rule of the contract; `names` says how its fields are typed."""
    for broken in violations(request):
        raise UsageError(f"{names.get(broken.field, broken.field)}: {broken.description}")


def quoted(text: str) -> str:
    """What was typed, as far as it is needed to know it again."""
    return repr(text) if len(text) <= _LONGEST else f"{text[:_LONGEST]!r}…"


def _rules(field: FieldDescriptor) -> tuple[int, int, list[int]]:
    """The least and the largest number, and those between them that are none."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    kind, size = (rules.int64, _INT64) if rules.HasField("int64") else (rules.int32, _INT32)
    return kind.gte if kind.HasField("gte") else -size, kind.lte if kind.HasField("lte") else size, list(kind.not_in)


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(rf"[+-]?\d{{1,{_MOST_DIGITS}}}", text, re.ASCII) else None


def _decoded(number: int, word: str) -> str:
    if not any("\ud800" <= letter <= "\udfff" for letter in word):
        return word
    try:
        return os.fsencode(word).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"argument {number}, {quoted(word)}, is not UTF-8") from error

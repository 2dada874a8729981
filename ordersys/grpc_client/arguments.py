"""Values as they are typed, checked one by one before anything is sent. Imports nothing that takes time.

What only the contract knows about them is asked of it (`rules`) when such a value is typed, not before.
"""

import argparse
import os
import re
from collections.abc import Callable, Sequence

from ordersys.console.parser import UsageError
from ordersys.contract import addresses
from ordersys.contract.addresses import Address, Addresses

_LONGEST = 60
_MOST_DIGITS = 30
_A_DAY = 86_400
MOST = 2**31 - 1
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
    number = float(text) if re.fullmatch(r"\d{1,9}(\.\d{0,9})?|\.\d{1,9}", text, re.ASCII) else 0.0
    if not 0 < number <= _A_DAY:
        raise argparse.ArgumentTypeError(f"{quoted(text)} must be a number of seconds above 0, {_A_DAY:,} at most")
    return number


def limit(text: str) -> int:
    """The number to list: a whole number, or `all`, which is the largest."""
    number = MOST if text.lower() == "all" else whole(text)
    if number is None or not 1 <= number <= MOST:
        raise argparse.ArgumentTypeError(f"{quoted(text)} must be all, or a whole number from 1 to {MOST:,}")
    return number


def between(least: int, most: int) -> Callable[[str], int]:
    """A whole number in a range."""

    def read(text: str) -> int:
        number = whole(text)
        if number is None or not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{quoted(text)} must be a whole number from {least:,} to {most:,}")
        return number

    return read


def of_rule(message: str, field: str) -> Callable[[str], int]:
    """A whole number as the rules of the contract want it for a field of a request to the Product Service."""

    def read(text: str) -> int:
        from ordersys.grpc_client import rules  # noqa: PLC0415 - takes a fifth of a second, for numbers only

        allowed, value = rules.allowed(message, field), whole(text)
        if value is None or not allowed.least <= value <= allowed.most or value in allowed.excluded:
            but = f", and not {', '.join(map(str, allowed.excluded))}" if allowed.excluded else ""
            raise argparse.ArgumentTypeError(
                f"{quoted(text)} must be a whole number from {allowed.least:,} to {allowed.most:,}{but}"
            )
        return value

    return read


def address(text: str) -> Address | Addresses:
    """The address of a service, or those of its processes."""
    try:
        return addresses.parse_any(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{quoted(text)} must be {error}") from error


def quoted(text: str) -> str:
    """The word that was typed, as far as it is needed to know it again."""
    return repr(text) if len(text) <= _LONGEST else f"{text[:_LONGEST]!r}…"


def whole(text: str) -> int | None:
    """A whole number; None where `text` is none. Takes few enough digits to be read at all."""
    return int(text) if re.fullmatch(rf"[+-]?\d{{1,{_MOST_DIGITS}}}", text, re.ASCII) else None


def _decoded(number: int, word: str) -> str:
    if not any("\ud800" <= letter <= "\udfff" for letter in word):
        return word
    try:
        return os.fsencode(word).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"argument {number}, {quoted(word)}, is not UTF-8") from error

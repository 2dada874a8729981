"""The environment -> one frozen dataclass a process. A wrong value is one line that names its variable.

A setting is a field declared by one of the functions here: `grace_seconds: int = number(10, 0, 600, "…")` is read from
ORDERSYS_GRACE_SECONDS. `--help` and the table in docs/operations.md derive from the same declarations. The settings
themselves stand in `runtime.settings` and in the `settings` module of each service.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ordersys.contract import addresses
from ordersys.contract.addresses import Address
from ordersys.runtime.base import files
from ordersys.runtime.base.errors import StartupError

PREFIX = "ORDERSYS_"
_MAX_DIGITS = 20  # as many as 64 bits can have
_QUOTES = "'\""
_SIMILAR = 0.9  # of difflib: a letter more, less, or in another place; no setting is that near to another one's
_DIGITS = re.compile(r"\d+")


class InvalidSetting(StartupError):
    """A variable of the environment has a value that can't be used; the text names it and says what can."""


class Described(NamedTuple):
    """A setting as a person reads about it."""

    variable: str
    default: str
    meaning: str


S = TypeVar("S")


def read(kind: type[S], environment: Mapping[str, str]) -> S:
    """The settings of `kind` as `environment` has them. Raises InvalidSetting."""
    values = {f.name: _value(f, environment) for f in fields(kind)}  # type: ignore[arg-type]
    _check_distinct({PREFIX + name.upper(): value for name, value in values.items() if isinstance(value, Address)})
    return kind(**values)


def misspelt(kind: Any, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The variables of `environment` that look like a setting of `kind` and are none, each with that setting.

    A process is often given the variables of other services, too. It need not know them: none looks like one of its
    own but for a number, by which a service tells its instance from the others.
    """
    known = [_variable(f) for f in fields(kind)]
    for variable in sorted(environment):
        if variable.startswith(PREFIX) and variable not in known:
            for near in get_close_matches(variable, known, n=1, cutoff=_SIMILAR):
                if _DIGITS.sub("", variable) != _DIGITS.sub("", near):
                    yield variable, near


def _check_distinct(given: Mapping[str, Address]) -> None:
    """Two services can't listen on one address."""
    by_address: dict[Address, str] = {}
    for variable, address_ in given.items():
        other = by_address.setdefault(address_, variable)
        if other != variable:
            raise InvalidSetting(f"{other} and {variable} are both {address_} but must be different")


def described(kind: Any) -> Iterator[Described]:
    """The settings of `kind`, in order of declaration."""
    return (Described(_variable(f), f.metadata["default"], f.metadata["meaning"]) for f in fields(kind))


def _variable(declared: "Field[Any]") -> str:
    return PREFIX + declared.name.upper()


def _value(declared: "Field[Any]", environment: Mapping[str, str]) -> object:
    given = environment.get(_variable(declared), "").strip()
    if not given:
        return declared.default
    try:
        return declared.metadata["parse"](_unquoted(given))
    except ValueError as error:
        shown = "" if declared.metadata["secret"] else f" is {given!r} but"
        raise InvalidSetting(f"{_variable(declared)}{shown} must be {error}") from None


def _unquoted(text: str) -> str:
    """As it is; `docker --env-file` leaves quotes on a value, where they would be part of a path."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES:
        raise ValueError("without quotes around it")
    return text


def setting(
    default: Any, parse: Callable[[str], Any], meaning: str, secret: bool = False, written: str | None = None
) -> Any:
    """A setting for whatever `parse` reads: it raises ValueError with what a value must be.

    A `secret` is never shown. `written` is the default as a person would write it, where that is not its text.
    """
    described = written if written is not None else _text(default)
    return field(default=default, metadata={"parse": parse, "default": described, "meaning": meaning, "secret": secret})


def _text(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def address(default: str, meaning: str) -> Any:
    """A setting for a HOST:PORT."""
    return setting(addresses.parse(default), addresses.parse, meaning)


def path(default: Path, meaning: str) -> Any:
    """A setting for a file or a folder."""
    return setting(default, files.path, meaning)


def switch(default: bool, meaning: str) -> Any:
    """A setting that is true or false."""
    return setting(default, _boolean, meaning)


def number(default: int, low: int, high: int, meaning: str) -> Any:
    """A setting for a whole number from `low` to `high`."""
    return setting(default, _between(low, high), meaning)


def choice(default: str, choices: Sequence[str], meaning: str) -> Any:
    """A setting for one of some words."""
    return setting(default, _one_of(choices), meaning)


def _is_number(text: str) -> bool:
    """Few enough digits to be read at all: Python refuses very many, in words of its own."""
    return text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("true or false")
    return text.lower() == "true"


def _between(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (_is_number(text) and low <= int(text) <= high):
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return parse


def _one_of(choices: Sequence[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text.lower()

    return parse

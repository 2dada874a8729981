"""The environment -> one frozen dataclass a process. A wrong value is one line that names its variable.

A setting is a field declared by one of the functions here: `grace_seconds: int = number(10, 0, 600, "…")` is read from
ORDERSYS_GRACE_SECONDS; a secret may also stand in a file, which ORDERSYS_…_FILE names. `--help` and the table in
docs/operations.md derive from the same declarations. The settings themselves stand in `runtime.settings` and in the
`settings` module of each service.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ordersys.console.secret_files import Exposed, open_secret
from ordersys.contract import addresses
from ordersys.contract.addresses import Address, Addresses
from ordersys.runtime.base import files
from ordersys.runtime.base.errors import StartupError

PREFIX = "ORDERSYS_"
_FILE = "_FILE"
_MAX_SECRET = 65_536  # characters of a file; a secret is much shorter
_MAX_DIGITS = 20  # as many as 64 bits can have
_NONE = "none"
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
    _check_distinct(values)
    return kind(**values)


def misspelt(kind: Any, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The variables of `environment` that look like a setting of `kind` and are none, each with that setting.

    A process is often given the variables of other services, too. It need not know them: none looks like one of its
    own but for a number, by which a service tells its instance from the others.
    """
    known = [variable for f in fields(kind) for variable in _variables(f)]
    for variable in sorted(environment):
        if variable.startswith(PREFIX) and variable not in known:
            begun = [name for name in known if name.startswith(variable)]
            for near in get_close_matches(variable, known, n=1, cutoff=_SIMILAR) or begun[:1]:
                if _DIGITS.sub("", variable) != _DIGITS.sub("", near):
                    yield variable, near


def _check_distinct(values: Mapping[str, object]) -> None:
    """Two services can't listen on one address."""
    by_address: dict[Address, str] = {}
    for name, value in values.items():
        variable = PREFIX + name.upper()
        for address_ in _addresses(value):
            other = by_address.setdefault(address_, variable)
            if other != variable:
                raise InvalidSetting(f"{other} and {variable} are both {address_} but must be different")


def _addresses(value: object) -> Sequence[Address]:
    if isinstance(value, Addresses):
        return value.each
    return (value,) if isinstance(value, Address) else ()


def described(kind: Any) -> Iterator[Described]:
    """The settings of `kind`, in order of declaration."""
    return (Described(_variable(f), f.metadata["default"], f.metadata["meaning"]) for f in fields(kind))


def _variable(declared: "Field[Any]") -> str:
    return PREFIX + declared.name.upper()


def _variables(declared: "Field[Any]") -> Sequence[str]:
    """Its variable, and that which names a file with a secret in it."""
    variable = _variable(declared)
    return (variable, variable + _FILE) if declared.metadata["secret"] else (variable,)


def _given(declared: "Field[Any]", environment: Mapping[str, str]) -> str:
    """The value as it was given: by its variable, or, of a secret, in a file. Raises InvalidSetting."""
    given, *files_ = [(variable, environment.get(variable, "").strip()) for variable in _variables(declared)]
    for variable, file in files_:
        if file and given[1]:
            raise InvalidSetting(f"{given[0]} and {variable} are both given; leave one of them out")
        if file:
            return _secret(variable, file)
    return given[1]


def _secret(variable: str, file: str) -> str:
    """The text in a file, as container platforms mount secrets. Raises InvalidSetting."""
    try:
        with os.fdopen(open_secret(file), encoding="utf-8") as opened:
            text = opened.read(_MAX_SECRET).strip()
    except Exposed as error:
        raise InvalidSetting(f"{variable} is {file!r}, which {error.strerror}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise InvalidSetting(f"{variable} is {file!r}, which can't be read: {reason}; name a file of yours") from None
    if not text:  # a secret that was mounted too early, say: the default is not what somebody wants who names a file
        raise InvalidSetting(f"{variable} is {file!r}, which is empty; put the secret into it")
    return text


def _value(declared: "Field[Any]", environment: Mapping[str, str]) -> object:
    given = _given(declared, environment)
    if not given:
        return declared.default
    try:
        return declared.metadata["parse"](_unquoted(given))
    except ValueError as error:
        # A URL with a user in it may have a password as well, whatever setting it was given for.
        is_hidden = declared.metadata["secret"] or ("://" in given and "@" in given)
        shown = "" if is_hidden else f" is {given!r} but"
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


def optional_address(meaning: str) -> Any:
    """A setting for a HOST:PORT that need not be given."""
    return setting(None, _optional_address, meaning, written=_NONE)


def address_list(default: str, meaning: str) -> Any:
    """A setting for a HOST:PORT, or several with commas between them."""
    return setting(addresses.parse_list(default), addresses.parse_list, meaning)


def path(default: Path, meaning: str) -> Any:
    """A setting for a file or a folder."""
    return setting(default, files.path, meaning)


def optional_path(meaning: str) -> Any:
    """A setting for a file that need not be given."""
    return setting(None, _optional_path, meaning, written=_NONE)


def text(default: str, meaning: str) -> Any:
    """A setting for any text of printable characters."""
    return setting(default, _printable, meaning)


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


def _optional_address(given: str) -> Address | None:
    return None if given == _NONE else addresses.parse(given)


def _optional_path(given: str) -> Path | None:
    return None if given == _NONE else files.path(given)


def _printable(given: str) -> str:
    if not given.isprintable():
        raise ValueError("without control characters")
    return given


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

"""The environment -> one frozen dataclass a process. A wrong value is one line that names its variable.

Each setting is declared once, with its variable's name following from the field's: `grace_seconds` is read
from ORDERSYS_GRACE_SECONDS. `--help` and the table in docs/operations.md derive from the same declarations.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ordersys.contract import addresses
from ordersys.contract.addresses import Address
from ordersys.runtime.base import event_loop as loops
from ordersys.runtime.base import files
from ordersys.runtime.base.errors import StartupError
from ordersys.runtime.rabbitmq import urls
from ordersys.runtime.rabbitmq.urls import BrokerUrls

PREFIX = "ORDERSYS_"
_MOST_DIGITS = 20  # as many as 64 bits can have
_AMQP_URL = "amqp://guest:guest@127.0.0.1:5672/%2F"
_QUOTES = "'\""
PRODUCTS_FILE = Path(__file__).parent.parent / "data" / "products.json"
ORDERS_FILE = Path(__file__).parent.parent / "data" / "orders.json"


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
    found = {f.name: _value(f, environment) for f in fields(kind)}  # type: ignore[arg-type]
    _check_distinct({PREFIX + name.upper(): value for name, value in found.items() if isinstance(value, Address)})
    return kind(**found)


def misspelt(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The variables of `environment` that look like a setting and are none, each with the setting it looks like.

    A process is often given the variables of others, too, so that those of any service are known to each.
    """
    known = {_variable(f) for kind in (ProductSettings, NotificationSettings) for f in fields(kind)}
    for variable in sorted(environment):
        if variable.startswith(PREFIX) and variable not in known:
            for near in get_close_matches(variable, known, n=1, cutoff=0.9):
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


def _setting(
    default: Any, parse: Callable[[str], Any], meaning: str, secret: bool = False, written: str | None = None
) -> Any:
    """`written` is the default as a person would write it, where that is not its text."""
    described = written if written is not None else _text(default)
    return field(default=default, metadata={"parse": parse, "default": described, "meaning": meaning, "secret": secret})


def _text(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def address(default: str, meaning: str) -> Any:
    """A setting for a HOST:PORT."""
    return _setting(addresses.parse(default), addresses.parse, meaning)


def _is_number(text: str) -> bool:
    """Few enough digits to be read at all: Python refuses very many, in words of its own."""
    return text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS


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


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text.lower()

    return parse


@dataclass(frozen=True)
class Settings:
    """Settings of every service."""

    amqp_url: BrokerUrls = _setting(
        urls.parse(_AMQP_URL),
        urls.parse,
        "the RabbitMQ to use; of a cluster the URLs of its nodes, separated by commas",
        secret=True,
        written=_AMQP_URL,
    )
    data_dir: Path = _setting(
        Path("ordersys-data"), files.path, "the folder that holds the process's database; made if missing"
    )
    log_level: str = _setting(
        "info", _one_of("debug", "info", "warning", "error"), "the least urgent level that is logged"
    )
    reflection: bool = _setting(False, _boolean, "whether gRPC reflection is served")
    grace_seconds: int = _setting(10, _between(0, 600), "how long SIGTERM waits for calls under way")
    max_concurrent_calls: int = _setting(
        300,
        _between(1, 100_000),
        "calls served at a time, and, ten times as many, orders in batches; more are answered RESOURCE_EXHAUSTED",
    )
    max_connections: int = _setting(900, _between(1, 100_000), "clients connected at a time; more are sent away")
    max_memory_mib: int = _setting(
        256,
        _between(160, 1_048_576),
        "the memory clients can bring the process to, in MiB; who fills it for nothing is disconnected",
    )
    idle_seconds: int = _setting(300, _between(1, 86_400), "how long a connection may be without a call")
    # The least takes every request that is valid by itself: of 500 dead letters (17 KB), of a product (9 KB).
    max_message_bytes: int = _setting(4_194_304, _between(32_768, 67_108_864), "the largest request taken, in bytes")
    max_metadata_bytes: int = _setting(8192, _between(1024, 1_048_576), "the most metadata taken with a call, in bytes")
    event_loop: str = _setting(
        loops.AUTO,
        loops.choice,
        "uvloop or asyncio; auto is uvloop where it is installed, which takes less processor time",
    )
    request_retention_hours: int = _setting(48, _between(24, 8760), "how long a request_id is remembered, in hours")


@dataclass(frozen=True)
class OrderSettings(Settings):
    """Settings of the Order Service."""

    order_service_address: Address = address("127.0.0.1:50052", "where the Order Service listens")
    orders_file: Path = _setting(ORDERS_FILE, files.path, "the orders a new database starts with")
    publish_window: int = _setting(1000, _between(1, 100_000), "the most events on their way to the broker at a time")


@dataclass(frozen=True)
class ProductSettings(OrderSettings):
    """Settings of the Product Service."""

    product_service_address: Address = address("127.0.0.1:50051", "where the Product Service listens")
    products_file: Path = _setting(PRODUCTS_FILE, files.path, "the products a new database starts with")
    call_timeout_seconds: int = _setting(5, _between(1, 300), "how long a call to the Order Service may take")
    sweep_seconds: int = _setting(2, _between(1, 30), "how often sagas without an outcome are looked for")


@dataclass(frozen=True)
class NotificationSettings(Settings):
    """Settings of a notification service; its address has a variable of its own."""

    prefetch: int = _setting(
        500, _between(1, 10_000), "the most deliveries taken from the broker before they are acknowledged"
    )

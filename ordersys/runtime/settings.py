"""The environment -> one frozen dataclass a process. A wrong value is one line that names its variable.

Each setting is declared once, with its variable's name following from the field's: `grace_seconds` is read
from ORDERSYS_GRACE_SECONDS. `--help` and the README's table derive from the same declarations.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from ordersys.runtime.urls import each

PREFIX = "ORDERSYS_"
MAXIMUM_PORT = 65_535
_MOST_DIGITS = 20
_AN_AMQP_URL = "an AMQP URL, such as amqp://user:password@host:5672/%2F"
PRODUCTS_FILE = Path(__file__).parent.parent / "data" / "products.json"
ORDERS_FILE = Path(__file__).parent.parent / "data" / "orders.json"


class WrongSetting(Exception):
    """A variable of the environment has a value that can't be used; the text names it and says what can."""


class Described(NamedTuple):
    """A setting as a person reads about it."""

    variable: str
    default: str
    meaning: str


S = TypeVar("S")


def read(kind: type[S], environment: Mapping[str, str]) -> S:
    """The settings of `kind` as `environment` has them. Raises WrongSetting."""
    return kind(**{f.name: _value(f, environment) for f in fields(kind)})  # type: ignore[arg-type]


def described(kind: Any) -> Iterator[Described]:
    """The settings of `kind`, in order of declaration."""
    return (Described(_variable(f), _text(f.default), f.metadata["meaning"]) for f in fields(kind))


def _variable(declared: "Field[Any]") -> str:
    return PREFIX + declared.name.upper()


def _text(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _value(declared: "Field[Any]", environment: Mapping[str, str]) -> object:
    given = environment.get(_variable(declared), "").strip()
    if not given:
        return declared.default
    try:
        return declared.metadata["parse"](given)
    except ValueError as error:
        shown = "" if declared.metadata["secret"] else f" is {given!r} but"
        raise WrongSetting(f"{_variable(declared)}{shown} must be {error}") from None


def _setting(default: Any, parse: Callable[[str], Any], meaning: str, secret: bool = False) -> Any:
    return field(default=default, metadata={"parse": parse, "meaning": meaning, "secret": secret})


def address(default: str, meaning: str) -> Any:
    """A setting for a HOST:PORT."""
    return _setting(default, _address, meaning)


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if host and _is_number(port) and 0 < int(port) <= MAXIMUM_PORT:
        return text
    raise ValueError("HOST:PORT, such as 127.0.0.1:50051")


def _amqp_urls(text: str) -> str:
    """One, or one for each node of a cluster; says which is wrong, and not how it reads: it may hold a password."""
    urls = each(text)
    for number, url in enumerate(urls, 1):
        if not _is_amqp_url(url):
            which = f"; number {number} of {len(urls)} is none" if len(urls) > 1 else ""
            raise ValueError(f"{_AN_AMQP_URL}, or several with commas between them{which}")
    return text


def _is_amqp_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return bool(url.scheme in ("amqp", "amqps") and url.hostname and url.port != 0)
    except ValueError:
        return False


def _is_number(text: str) -> bool:
    """Few enough digits to be read at all: Python refuses very many, in words of its own."""
    return text.isdecimal() and len(text) <= _MOST_DIGITS


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
    """What every process takes."""

    amqp_url: str = _setting(
        "amqp://guest:guest@127.0.0.1:5672/%2F",
        _amqp_urls,
        "the RabbitMQ to use; of a cluster the URLs of its nodes, separated by commas",
        secret=True,
    )
    data_dir: Path = _setting(
        Path("ordersys-data"), Path, "the folder that holds the process's database; made if missing"
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
    max_message_bytes: int = _setting(4_194_304, _between(1024, 67_108_864), "the largest request taken, in bytes")
    max_metadata_bytes: int = _setting(8192, _between(1024, 1_048_576), "the most metadata taken with a call, in bytes")
    request_retention_hours: int = _setting(48, _between(24, 8760), "how long a request_id is remembered, in hours")


@dataclass(frozen=True)
class OrderSettings(Settings):
    """What the Order Service takes."""

    order_service_address: str = address("127.0.0.1:50052", "where the Order Service listens")
    orders_file: Path = _setting(ORDERS_FILE, Path, "the orders a new database starts with")
    publish_window: int = _setting(1000, _between(1, 100_000), "the most events on their way to the broker at a time")


@dataclass(frozen=True)
class ProductSettings(OrderSettings):
    """What the Product Service takes."""

    product_service_address: str = address("127.0.0.1:50051", "where the Product Service listens")
    products_file: Path = _setting(PRODUCTS_FILE, Path, "the products a new database starts with")
    call_timeout_seconds: int = _setting(5, _between(1, 300), "how long a call to the Order Service may take")
    sweep_seconds: int = _setting(2, _between(1, 30), "how often placements without an outcome are looked for")


@dataclass(frozen=True)
class NotificationSettings(Settings):
    """What a notification service takes; its address has a variable of its own."""

    prefetch: int = _setting(
        500, _between(1, 10_000), "the most deliveries taken from the broker before they are acknowledged"
    )

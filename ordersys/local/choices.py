"""The choices of whoever starts a system, and whether it can start with them."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec

from ordersys.contract.addresses import Address
from ordersys.contract.topology import subscriptions
from ordersys.local import ports, state
from ordersys.notification_service.settings import NotificationSettings
from ordersys.order_service.settings import OrderSettings
from ordersys.product_service.settings import ProductSettings
from ordersys.runtime.base import settings
from ordersys.runtime.base.files import UnusableFolder
from ordersys.runtime.rabbitmq.errors import BrokerUnavailable

# In the order they are started; any order works. A subscriber of the contract that has no package here runs elsewhere.
_SUBSCRIBERS = (subscription.consumer.replace("-", "_") for subscription in subscriptions())
SERVICES = ("order_service", "product_service", *(name for name in _SUBSCRIBERS if find_spec(f"ordersys.{name}")))
USUAL_PORTS = {
    "product_service": 50051,
    "order_service": 50052,
    "notification_service_1": 50053,
    "notification_service_2": 50054,
}
"""The defaults of the settings: where a client that was told nothing looks."""
USUAL_AMQP_PORT, USUAL_AMQPS_PORT = 5672, 5671
DATABASE_URL = "ORDERSYS_DATABASE_URL"
INSECURE = state.INSECURE
_SETTINGS = {"order_service": OrderSettings, "product_service": ProductSettings}


class CannotStart(Exception):
    """The system can't start with what it was given; the text names it and the way out."""


@dataclass(frozen=True)
class Choices:
    """The user's choices: a broker of theirs, or the number of private ones and their ports; addresses, programs.

    `programs` are run in the place of services of ours, in the same environment; of one process of several where the
    name is that of a process, such as `order_service-2`.
    """

    amqp_url: str | None = None
    amqp_ports: Sequence[int] = ()
    brokers: int = 1
    services: Sequence[str] = SERVICES
    programs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    database_url: str | None = None
    """The PostgreSQL of somebody else that holds the state, where it is not kept in files."""
    postgres: bool = False
    """True for a private PostgreSQL."""
    standby: bool = False
    """True for a standby of that, which has whatever was answered."""
    replicas: int = 1
    """The processes of each service; more than one need a PostgreSQL."""
    secure: bool = field(default_factory=state.secure_by_default)
    """False without identities: in clear, and everybody on this machine may do everything."""
    live: bool = False
    """True to serve the live page as well."""
    break_it: bool = False
    """True to have it broken on purpose, by its live page."""
    usual_ports: bool = False
    """True to take the usual ports where they are free; else any free ones are taken."""


def check(choices: Choices, addresses: Mapping[str, Address]) -> None:
    """Ports, programs and settings; what is wrong with them would end services one by one.

    `addresses` are those of the services, by module. Raises CannotStart.
    """
    _check_database(choices)
    _check_breaking(choices, addresses)
    _check_ports(choices, addresses)
    for module in choices.services:
        program = choices.programs.get(module)
        if program is None:
            _check_settings(module, {**os.environ, **choices.settings})
        elif shutil.which(program[0]) is None:
            quoting = f"--program {module}='\"/my path/x\" -v'"
            hint = f"; a path with a blank is quoted twice, as in {quoting}" if len(program) > 1 else ""
            raise CannotStart(f"{program[0]!r}, in the place of {module}, is no program that can be run{hint}")


def _check_database(choices: Choices) -> None:
    """Also that the driver is there: without it each service would end by itself."""
    if choices.standby and not choices.postgres:
        raise CannotStart("--standby is one of the private PostgreSQL; add --postgres")
    given = {**os.environ, **choices.settings}
    in_settings = given.get(DATABASE_URL, "none") != "none" or bool(given.get(f"{DATABASE_URL}_FILE"))
    with_database = choices.postgres or choices.database_url is not None or in_settings
    if choices.replicas > 1 and not with_database:
        raise CannotStart(
            f"--replicas {choices.replicas} needs a database that processes can share, while a SQLite file belongs to"
            f" one; add --postgres, or name a PostgreSQL with --database-url or in {DATABASE_URL}"
        )
    if with_database and find_spec("psycopg") is None:
        raise CannotStart(
            "PostgreSQL needs its driver, which is not installed: pip install 'ordersys[postgresql]', or from a clone"
            " pip install '.[postgresql]'"
        )


def _check_breaking(choices: Choices, addresses: Mapping[str, Address]) -> None:
    """Only what is private in every part, and on this machine alone, is broken on purpose."""
    if not choices.break_it:
        return
    given = {**os.environ, **choices.settings}
    in_settings = given.get(DATABASE_URL, "none") != "none" or bool(given.get(f"{DATABASE_URL}_FILE"))
    if choices.amqp_url is not None:
        raise CannotStart("--break-it is for a private RabbitMQ; leave --amqp-url out")
    if choices.database_url is not None or (in_settings and not choices.postgres):
        raise CannotStart(f"--break-it is for a private database; leave --database-url and {DATABASE_URL} out")
    if others := [name for name, address in addresses.items() if address.is_wildcard or not address.is_loopback]:
        raise CannotStart(f"--break-it is for this machine alone; have {others[0]} listen at {ports.LOOPBACK}")


def _check_ports(choices: Choices, addresses: Mapping[str, Address]) -> None:
    given = [("rabbitmq", port) for port in choices.amqp_ports]
    given += [(module, address.port) for module, address in addresses.items()]
    owners: dict[int, str] = {}
    for name, port in given:
        if port in owners:
            raise CannotStart(f"port {port} is given to {owners[port]} and to {name}; each needs one of its own")
        if trouble := ports.trouble(port):
            raise CannotStart(f"port {port} {trouble}; choose another for {name}, or none for a free one")
        owners[port] = name


def _check_settings(module: str, environment: Mapping[str, str]) -> None:
    """Addresses, broker, database and folder are chosen here. Raises CannotStart for all others."""
    chosen = ("_ADDRESS", "_AMQP_URL", "_AMQP_URL_FILE", "_DATA_DIR", "_DATABASE_URL")
    try:
        settings.read(
            _SETTINGS.get(module, NotificationSettings),
            {variable: value for variable, value in environment.items() if not variable.endswith(chosen)},
        )
    except settings.InvalidSetting as error:
        raise CannotStart(str(error)) from error


@contextmanager
def said_in_one_line(what: object) -> Iterator[None]:
    """Turns what the system says is wrong with a file or a folder into CannotStart; `what` where it names none."""
    try:
        yield
    except BrokerUnavailable:
        raise
    except UnusableFolder as error:
        raise CannotStart(str(error)) from error
    except OSError as error:
        raise CannotStart(f"{trouble(error, what)}; mend that, or name another folder with --data-dir") from error


def trouble(error: OSError, what: object) -> str:
    """The words for what the system says is wrong with a file; `what` where it names none."""
    return f"{error.filename or what} can't be used: {error.strerror or error}"

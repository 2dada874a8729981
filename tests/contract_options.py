"""The options of the contract suite, and how they are read. `contract_usage` refuses what can't be meant."""

from typing import NamedTuple

import pytest

from ordersys.contract.topology import subscriptions
from tests import virtual_host

ROLES = ("product-service", "order-service", *(subscription.consumer for subscription in subscriptions()))
POSTGRESQL = "postgresql"


class Command(NamedTuple):
    """ROLE=COMMAND, as it was given; without a role it is for every service that is judged."""

    role: str
    command: str


def add(parser: pytest.Parser) -> None:
    """The options of `nox -s contract`."""
    group = parser.getgroup("contract", "the contract suite: whom it judges (our own services when none is named)")
    for role in ROLES:
        group.addoption(
            f"--{role}",
            metavar="HOST:PORT",
            help=f"judge the {role} that listens there; several processes with commas between their addresses",
        )
    group.addoption("--amqp-url", metavar="URL", help="the RabbitMQ they use: a virtual host for the suite alone")
    group.addoption(
        "--amqp-proxy",
        metavar="HOST:PORT",
        help="where the suite listens as that RabbitMQ, for services that were told to find it there",
    )
    group.addoption(
        "--stand-in",
        metavar="HOST:PORT",
        help="where the suite listens as the Order Service, for a Product Service judged alone",
    )
    group.addoption(
        "--restart",
        action="append",
        default=[],
        metavar="[ROLE=]COMMAND",
        help="kills with SIGKILL the service that was named by its address, or all of them, and starts it again in the"
        " background: durability is judged; may be repeated",
    )
    group.addoption(
        "--program",
        action="append",
        default=[],
        metavar="ROLE=COMMAND",
        help="judge our system with this program in the place of a service; may be repeated",
    )
    group.addoption(
        "--database",
        metavar="postgresql",
        help="keep the state of our system in PostgreSQL: a private one, or that of ORDERSYS_TEST_DATABASE_URL",
    )
    group.addoption(
        "--replicas", default="1", metavar="N", help="processes of each of our services, with --database=postgresql (1)"
    )
    group.addoption(
        "--secure",
        action="store_true",
        help="judge our system with identities: encrypted, called by tokens and certificates; the laws of rights apply",
    )
    group.addoption("--name", metavar="TEXT", help="the name of what is judged, for the report")
    group.addoption("--service-version", metavar="TEXT", help="its version, for the report")
    group.addoption("--quick", action="store_true", help="fewer examples: about two minutes on two idle cores")
    group.addoption("--examples", metavar="N", help="examples a law (default 40, with --quick 8)")
    group.addoption("--seed", metavar="N", help="repeat a run")
    group.addoption(
        "--law", action="append", default=[], metavar="ID", help="only this law, by its id; may be repeated"
    )
    group.addoption("--no-shrink", action="store_true", help="show what fails as it was found")
    group.addoption("--patience", default="20", metavar="S", help="seconds a condition may take (20)")
    group.addoption(
        "--report",
        action="append",
        default=[],
        metavar="FILE",
        help="write what came out: FILE.json for programs, FILE.html for people, FILE.svg a badge; may be repeated",
    )
    group.addoption("--known-failures", metavar="FILE", help="laws known to fail, an id a line; one that passes fails")


def named(config: pytest.Config) -> dict[str, str]:
    """The services named by their addresses, by role; none when our own are judged."""
    by_role = {role: config.getoption(f"--{role}") for role in ROLES}
    return {role: address for role, address in by_role.items() if address}


def is_there_once(config: pytest.Config) -> bool:
    """True where what is judged, its broker or a place where the suite listens was named: no second run beside it."""
    places = map(config.getoption, ("--amqp-url", "--amqp-proxy", "--stand-in"))
    return bool(named(config) or any(places) or virtual_host.given())


def programs(config: pytest.Config) -> dict[str, str]:
    """The commands that are run in the place of ours, by role."""
    return {role: command for role, _, command in (text.partition("=") for text in config.getoption("--program"))}


def restarts(config: pytest.Config) -> dict[str, str]:
    """The commands that kill services and start them again, by role."""
    given = [restart_command(text) for text in config.getoption("--restart")]
    for_all = {role: command for of, command in given if not of for role in named(config)}
    return {**for_all, **{role: command for role, command in given if role}}


def restart_command(text: str) -> Command:
    """[ROLE=]COMMAND; what stands before a `=` and is no role is a part of the command."""
    role, equals, command = text.partition("=")
    return Command(role, command) if equals and role in ROLES else Command("", text)

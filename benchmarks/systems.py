"""The systems that are measured: real processes, a broker of their own, databases on disk or in a PostgreSQL."""

import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType

import psutil

from benchmarks import processor
from benchmarks.bench import Bench, Door
from benchmarks.observing import CONSUMERS, AnyReading, Reading, Records, SharedReading, Unsound
from benchmarks.processor import Meter
from benchmarks.seeding import Stored, fill
from ordersys.contract.permissions import contract_permissions
from ordersys.local.groups import group_of, members
from ordersys.local.listening import METRICS
from ordersys.local.postgresql import Server
from ordersys.local.rabbitmq import Node, NotStarted
from ordersys.local.rabbitmq_security import BrokerSecurity
from ordersys.local.service import Service
from ordersys.local.system import SERVICES, Choices, System
from ordersys.runtime.rabbitmq.tls import CA_FILE

BROKER, SERVER = "rabbitmq", "postgresql"
_TRIES = 3  # of a rabbitmqctl command: it may hang on a busy machine

UNOBSERVED = {METRICS: "none"}
"""A system by itself serves metrics, for which nothing else of these measurements has to pay."""


@dataclass(frozen=True)
class Measured:
    """A running system, its catalogue's size, and its broker, which may be shared with another; as may its server."""

    system: System
    catalogue: int
    node: Node
    server: Server | None = None
    """The PostgreSQL that holds its state; none where it is kept in files."""

    @property
    def door(self) -> Door:
        """The way to the processes of the Product Service; with identities as the operator, who orders for anybody."""
        target, identities = self.system.addresses["product_service"].target, self.system.identities
        return Door(target) if identities is None else Door(target, "product-service", identities.of_operator)

    def keep_identities(self) -> None:
        """Renews tokens before they end: a run may take longer than an hour. Raises Unsound."""
        identities = self.system.identities
        if identities is not None and (trouble := identities.keep()):
            raise Unsound(trouble)

    @property
    def records(self) -> Records:
        """The records of its notification services."""
        return Records([self._reading(consumer, consumer.replace("-", "_")) for consumer in CONSUMERS])

    def outbox(self) -> "AbstractContextManager[AnyReading]":
        """Reads the Order Service's database."""
        return closing(self._reading("order", "order_service"))

    def leader(self, module: str) -> Service:
        """The process of a service that has its lease. Raises Unsound where none has, and none of ours."""
        with closing(self._reading("", module)) as reading:
            holders = reading.texts("SELECT holder FROM leases WHERE until > clock_timestamp()")
        # A holder is HOST/PID/RANDOM.
        pids = {int(holder.rsplit("/", 2)[1]) for holder in holders}
        for service in self.system.services.values():
            if service.module == module and service.pid in pids:
                return service
        raise Unsound(f"no process of {module} has its lease")

    def meter(self, *names: str) -> Meter:
        """A meter of the processor time of these services (all when none is named), of the broker and the server.

        Of a service it is that of all its processes.
        """
        services = self.system.services.values()
        pids = {
            name: [service.pid for service in services if service.module == name and service.pid is not None]
            for name in names or SERVICES
        }
        if self.node.pid is not None:
            pids[BROKER] = [process.pid for process in members(group_of(self.node.pid))]
        server = None if self.server is None else self.server.pid

        def read() -> dict[str, float]:
            used = {name: processor.whole(of) for name, of in pids.items()}
            return used if server is None else {**used, SERVER: processor.family(server)}

        return read

    def url_of(self, user: str) -> str:
        """The URL of the private broker for the one whose certificate names this user."""
        if self.system.identities is None:
            raise Unsound("without identities nobody is known by a certificate")
        return BrokerSecurity(self.system.identities.layout).url_of(user, self.node.port)

    def _reading(self, file: str, schema: str) -> AnyReading:
        if self.server is None:
            return Reading(self.system.folder / "databases" / f"{file}.db")
        return SharedReading(self.system.database_url, schema)

    def resident_bytes(self) -> dict[str, int]:
        """The resident memory of each service."""
        return {name: psutil.Process(s.pid).memory_info().rss for name, s in self.system.services.items()}


@contextmanager
def running(bench: Bench, name: str, stored: Stored) -> Iterator[Measured]:
    """Starts a system with these contents and a broker of its own."""
    with _filled(bench, name, stored, Choices(secure=bench.secure, settings=UNOBSERVED)) as system:
        yield Measured(system, stored.products, system.nodes[0])


@contextmanager
def beside(
    bench: Bench,
    other: Measured,
    name: str,
    stored: Stored,
    programs: Mapping[str, Sequence[str]] = MappingProxyType({}),
    *,
    secure: bool | None = None,
    observed: Mapping[str, str] | None = None,
) -> Iterator[Measured]:
    """Starts another system, in a virtual host of its own on the broker of `other`.

    `secure` says whether it has identities; None is as all of the run. `observed` are the settings of traces, of a
    system that has metrics, too; None has neither, as all others.
    """
    secure = bench.secure if secure is None else secure
    identities, users = other.system.identities, ["guest"]
    settings = dict(UNOBSERVED if observed is None else observed)
    if identities is not None:
        # Its broker knows nobody but those who have a certificate of its authority: both systems have the same.
        shutil.copytree(identities.layout.folder, bench.folder / name / "identity")
        users = [permission.user for permission in contract_permissions()]
        settings[CA_FILE] = str(identities.layout.ca)
    url = virtual_host(other.node, name, users)
    choices = Choices(amqp_url=url, programs=programs, secure=secure, settings=settings)
    with _filled(bench, name, stored, choices) as system:
        yield Measured(system, stored.products, other.node)


@contextmanager
def _filled(bench: Bench, name: str, stored: Stored, choices: Choices) -> Iterator[System]:
    folder = bench.folder / name
    with bench.terminal.stage(f"fill {name}"):
        fill(folder / "databases", stored)
    with System(folder, bench.terminal.stage, choices) as system:
        yield system


def virtual_host(node: Node, name: str, users: Iterable[str] = ("guest",)) -> str:
    """Makes a virtual host on a broker, in which these users may do everything; its URL. Raises NotStarted."""
    _control(node, "add_vhost", name)
    for user in users:
        _control(node, "set_permissions", "-p", name, user, ".*", ".*", ".*")
    return node.url.replace("%2F", name)


def _control(node: Node, *command: str) -> None:
    """Runs a rabbitmqctl command, which may be repeated: on a busy machine it may hang. Raises NotStarted."""
    for _ in range(_TRIES):
        with suppress(subprocess.TimeoutExpired):
            node.control(*command)
            return
    raise NotStarted(f"rabbitmqctl {command[0]} did not answer {_TRIES} times")

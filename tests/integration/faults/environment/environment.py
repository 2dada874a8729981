"""The environment of a round: the real system, every connection through a link of ours, every start changeable.

What is done to it, `heal` undoes: links without faults, everything awake, running and healthy.
"""

import contextlib
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import grpc
import pika
import psutil

from ordersys.api.auth.v1.access_pb2 import Role
from ordersys.identity.layout import BROKER as BROKER_NAME
from ordersys.local.guard import Guard
from ordersys.local.rabbitmq import Node
from ordersys.local.service import NotHealthy, Service
from ordersys.local.system import SERVICES, Choices, System
from tests.contract.harness.client import ROLES
from tests.contract.harness.identity import Identity
from tests.integration.faults.environment.broker_user import BrokerUser
from tests.integration.faults.environment.network import LOOPBACK, Away, Condition, Link
from tests.integration.faults.environment.postgresql import ReplicatedDatabase
from tests.integration.faults.environment.setup import (
    BROKER,
    BROKERS,
    POSTGRESQL,
    SERVERS,
    USUAL,
    Setup,
    for_services,
    to_database,
    way,
)
from tests.integration.faults.environment.state import FileState, ServerState, State
from tests.integration.faults.workload.manner import CALLER

PROCESSES = (*SERVICES, BROKER)
"""One of each kind: where a service has several processes, its first."""
RECOVERY_SECONDS = 30.0
_OPEN_FILES = 100
_LONGEST_HOURS = 24  # that a token may last
RUN = "RUN"
"""The variable that names the program to run in place of one of our services."""
SABOTAGE = "-m tests.integration.faults.environment.sabotage"
_URL = f"amqp://guest:guest@{LOOPBACK}:{{port}}/%2F"
_SECURED_URL = f"amqps://{LOOPBACK}:{{port}}/%2F?server_name_indication={BROKER_NAME}"
_SETTINGS = {
    "ORDERSYS_CALL_TIMEOUT_SECONDS": "2",
    "ORDERSYS_SWEEP_SECONDS": "1",
    "ORDERSYS_LOG_LEVEL": "info",
}


class Environment:
    """Everything a fault may be done to. A context manager that starts it all and leaves nothing behind."""

    def __init__(
        self, folder: Path, numbers: Sequence[int], may_mount: bool = False, brokers: int = 1, setup: Setup = USUAL
    ) -> None:
        """On ports of these numbers, one for each of `setup.ports`."""
        self.folder = folder
        self.setup = setup
        self.may_mount = may_mount
        self.brokers = BROKERS[:brokers]
        self.ways = {name: way(name) for name in self.brokers}
        """The link that leads to each broker."""
        self.links: dict[str, Link] = {}
        self.database: ReplicatedDatabase | None = None
        """The servers that have the state; None where it is in files."""
        self.state: State
        self.system: System
        self._stack = ExitStack()
        self._ports = dict(zip(setup.ports, numbers, strict=True))
        self._saboteurs: dict[str, str] = {}
        self._identity: Identity | None = None
        self._broker_user: BrokerUser | None = None

    def __enter__(self) -> "Environment":
        with ExitStack() as started:
            (self.folder / "variables").mkdir(parents=True)
            self._start_database(started)
            for link, target in (*self.setup.links, *((w, broker) for broker, w in self.ways.items())):
                self._link(started, link, target)
            for name in self.processes:
                self.give(name)
            self.system = started.enter_context(System(self.folder, _quietly, self._choices()))
            if self.setup.secure:
                self._identity = Identity(Path(self.identities), "")
                self._identity.authority.write_token(CALLER, [Role.ROLE_OPERATOR], _LONGEST_HOURS)
                self._broker_user = BrokerUser(self._identity.authority.layout, self.folder, self.node)
            if self.database is not None:
                self.database.watch_leases()
            self._stack = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def processes(self) -> Sequence[str]:
        """The names of all service processes."""
        return self.setup.processes

    @property
    def addresses(self) -> dict[str, str]:
        """The addresses at which clients find the services, by role: a list where a service has several processes."""
        direct = {role: self._at(self.setup.of(role.replace("-", "_"))) for role in ROLES}
        return {**direct, "product-service": self._at(self._named("client"))}

    def channel(self, module: str, target: str = "", options: Sequence[tuple[str, int | str]] = ()) -> grpc.Channel:
        """A connection of a client to a service: an operator, where there are identities. By itself past every link."""
        target = target or self.service(module).address
        if self._identity is None:
            return grpc.insecure_channel(target, options)
        return self._identity.channel_of_operator(target, options, module.replace("_", "-"))

    @property
    def identities(self) -> str:
        """The folder of the identities; empty where all goes in clear."""
        return str(self.folder / "identity") if self.setup.secure else ""

    @property
    def node(self) -> Node:
        """The broker, or the first of several."""
        return self.broker(BROKER)

    @property
    def amqp(self) -> pika.connection.Parameters:
        """The broker itself, past every link, for a user who may do everything."""
        if self._broker_user is None:
            return pika.URLParameters(self.node.url)
        return self._broker_user.parameters(self.node.port)

    def broker(self, name: str) -> Node:
        """One of the brokers."""
        return self.system.nodes[self.brokers.index(name)]

    @property
    def databases(self) -> Path:
        """The folder of the databases."""
        return self.folder / "databases"

    @property
    def all_ports(self) -> list[int]:
        """Every port anything of this environment listens on."""
        return list(self._ports.values())

    @property
    def servers(self) -> ReplicatedDatabase:
        """The servers that have the state. Only for faults of them: where it is in files there are none."""
        assert self.database is not None
        return self.database

    def links_of(self, *kinds: str) -> list[Link]:
        """All links of these kinds: client, internal, amqp, database, or a process: those to its database."""
        return [link for name, link in self.links.items() if _kinds(name) & {*kinds}]

    def reset(self, kind: str) -> None:
        """Breaks every connection on links of that kind."""
        for link in self.links_of(kind):
            link.reset()

    @contextmanager
    def weather(self, condition: Callable[[], Condition], *kinds: str) -> Iterator[None]:
        """Puts all links of these kinds under a condition for a while; where nobody is reached connections break."""
        links = self.links_of(*kinds)
        for link in links:
            link.condition = condition()
            if isinstance(link.condition, Away):
                link.reset()
        yield
        for link in links:
            link.clear()

    def service(self, name: str) -> Service:
        """One of the service processes."""
        return self.system.services[name]

    @contextmanager
    def sabotaged(self, service: str, sabotage: str) -> Iterator[None]:
        """Has all processes of a service run with something wrong on purpose, for a while."""
        names = self.setup.of(service)
        self._saboteurs.update(dict.fromkeys(names, f"{SABOTAGE} {sabotage}"))
        try:
            self._start_anew(names)
            yield
        finally:
            for name in names:
                del self._saboteurs[name]
            self._start_anew(names)

    def give(self, name: str, **variables: str) -> None:
        """Lets a process have this in its environment from its next start on, and nothing else of the kind."""
        url = _SECURED_URL if self.setup.secure else _URL
        urls = [url.format(port=self._ports[way]) for way in self.ways.values()]
        given = {"ORDERSYS_AMQP_URL": ",".join(urls), **variables}
        if name in self._saboteurs:
            given[RUN] = self._saboteurs[name]
        internal = "ORDERSYS_ORDER_SERVICE_INTERNAL_ADDRESS" if self.setup.secure else "ORDERSYS_ORDER_SERVICE_ADDRESS"
        if name in self.setup.of("product_service"):
            given[internal] = self._at(self._named("internal"))
        if name in self.setup.of("order_service") and self.setup.secure:
            given[internal] = self._at([for_services(name)])
        if self.database is not None:
            given["ORDERSYS_DATABASE_URL"] = self.database.address(
                [self._ports[to_database(name, server)] for server in SERVERS]
            )
        lines = (f"export {variable}={shlex.quote(value)}\n" for variable, value in given.items())
        self._variables_file(name).write_text("".join(lines))

    def kill(self, name: str) -> None:
        """Kills a process at once."""
        (self.broker(name) if name in self.brokers else self.service(name)).kill()

    def stop(self, name: str) -> None:
        """Ends a process in good order."""
        (self.broker(name) if name in self.brokers else self.service(name)).stop()

    def start(self, name: str) -> None:
        """Starts what was killed or has ended."""
        if name in self.processes and not self.service(name).running:
            self.service(name).start()
        elif name in self.brokers and not self.broker(name).running:
            self.broker(name).start()

    @contextmanager
    def asleep(self, name: str) -> Iterator[None]:
        """Stops a process with all its children in the middle of whatever they do, for a while."""
        self._signal(name, signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(name, signal.SIGCONT)

    def fallen(self) -> dict[str, int]:
        """The services that have ended by themselves, neither stopped nor killed, with their exit status."""
        ended = {name: self.service(name).exit_status for name in self.processes}
        return {name: status for name, status in ended.items() if status not in (None, 0, -signal.SIGKILL)}

    def heal(self) -> list[str]:
        """Undoes whatever was done, and returns when all services say that they work: those that had to be helped."""
        for link in self.links.values():
            link.clear()
        if self.database is not None:
            self.database.heal()
        self.system.start_brokers()
        for name in self.processes:
            self._signal(name, signal.SIGCONT)
            self.start(name)
        return [name for name in self.processes if not self._recovers(name)]

    def _start_anew(self, names: Sequence[str]) -> None:
        for name in names:
            self.give(name)
            self.kill(name)
        for service in {name.partition("-")[0] for name in names} if self.database is not None else ():
            self.state.change(service, "DELETE FROM leases")  # else those that were killed lead for 10 s yet
        for name in names:
            self.start(name)
        for name in names:
            self.service(name).wait_healthy()

    def _recovers(self, name: str) -> bool:
        """True if a service works again by itself; one that does not is started anew."""
        try:
            self.service(name).wait_healthy(RECOVERY_SECONDS)
        except NotHealthy:
            self.kill(name)
            self.start(name)
            self.service(name).wait_healthy()
            return False
        return True

    def excess(self) -> dict[str, int]:
        """Files and sockets the services hold open beyond what any of them needs, by name."""
        held = {name: psutil.Process(self.pid(name)).num_fds() for name in self.processes}
        return {f"files and sockets of {name} too many": max(0, count - _OPEN_FILES) for name, count in held.items()}

    def pid(self, name: str) -> int:
        """The process of a service, or the one that leads a broker's group."""
        number = self.broker(name).pid if name in self.brokers else self.service(name).pid
        assert number is not None
        return number

    def _signal(self, name: str, number: signal.Signals) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            leader = psutil.Process(self.pid(name))
            for process in (*leader.children(recursive=True), leader):
                process.send_signal(number)

    def _choices(self) -> Choices:
        addresses = {name: f"{LOOPBACK}:{self._ports[name]}" for name in self.processes}
        programs = {name: self._program(name) for name in self.processes}
        return Choices(
            brokers=len(self.brokers),
            amqp_ports=[self._ports[name] for name in self.brokers],
            addresses=addresses,
            programs=programs,
            settings=_SETTINGS,
            database_url=None if self.database is None else self.database.primary.url,
            replicas=self.setup.replicas,
            secure=self.setup.secure,
        )

    def _start_database(self, started: ExitStack) -> None:
        if self.setup.database != POSTGRESQL:
            self.state = FileState(self.databases)
            return
        folder = self.folder / "postgresql"
        folder.mkdir()
        guard = started.enter_context(closing(Guard(folder)))
        self.database = ReplicatedDatabase(folder, [self._ports[server] for server in SERVERS], guard)
        started.callback(self.database.stop)
        self.database.start()
        self.state = ServerState(self.database)

    def _named(self, kind: str) -> list[str]:
        return [name for name in self._ports if kind in _kinds(name)]

    def _at(self, names: Sequence[str]) -> str:
        return ",".join(f"{LOOPBACK}:{self._ports[name]}" for name in names)

    def _program(self, name: str) -> list[str]:
        """The service, in the environment it is given at each start."""
        variables, python = shlex.quote(str(self._variables_file(name))), shlex.quote(sys.executable)
        run = f". {variables}; exec {python} ${{{RUN}:--m ordersys.{name.partition('-')[0]}}}"
        return ["/bin/sh", "-c", run]

    def _variables_file(self, name: str) -> Path:
        return self.folder / "variables" / name

    def _link(self, started: ExitStack, name: str, target: str) -> None:
        self.links[name] = started.enter_context(closing(Link(name, self._ports[name], self._ports[target])))


def _kinds(link: str) -> set[str]:
    """The kinds of a link of that name."""
    first, *others = link.split()
    return {first.partition("-")[0], *others}


@contextmanager
def _quietly(name: str) -> Iterator[Callable[[str], None]]:
    yield lambda word: None

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

import psutil

from ordersys.local.rabbitmq import Node
from ordersys.local.service import NotHealthy, Service
from ordersys.local.system import SERVICES, Choices, System
from tests.contract.harness.client import ROLES
from tests.integration.faults.environment.network import LOOPBACK, Link

BROKER = "rabbitmq"
BROKERS = (BROKER, "rabbitmq-2", "rabbitmq-3")
PROCESSES = (*SERVICES, BROKER)


def _way(broker: str) -> str:
    return broker.replace(BROKER, "amqp")


PORTS = (*SERVICES, *BROKERS, "client", "internal", *map(_way, BROKERS))
"""Everything that has a port: every process, and every link."""
RECOVERY_SECONDS = 30.0
_OPEN_FILES = 100
RUN = "RUN"
"""The variable that names the program to run in place of one of our services."""
SABOTAGE = "-m tests.integration.faults.environment.sabotage"
_SETTINGS = {
    "ORDERSYS_CALL_TIMEOUT_SECONDS": "2",
    "ORDERSYS_SWEEP_SECONDS": "1",
    "ORDERSYS_LOG_LEVEL": "info",
}


class Environment:
    """Everything a fault may be done to. A context manager that starts it all and leaves nothing behind."""

    def __init__(self, folder: Path, numbers: Sequence[int], may_mount: bool = False, brokers: int = 1) -> None:
        """On ports of these numbers, one for each of PORTS."""
        self.folder = folder
        self.may_mount = may_mount
        self.brokers = BROKERS[:brokers]
        self.ways = {name: _way(name) for name in self.brokers}
        """The link that leads to each broker."""
        self._stack = ExitStack()
        self._ports = dict(zip(PORTS, numbers, strict=True))
        self.system = System(folder, _quietly, self._choices())
        self.links: dict[str, Link] = {}
        self._saboteurs: dict[str, str] = {}

    def __enter__(self) -> "Environment":
        with ExitStack() as started:
            (self.folder / "variables").mkdir(parents=True)
            self._link(started, "client", "product_service")
            self._link(started, "internal", "order_service")
            for broker, way in self.ways.items():
                self._link(started, way, broker)
            for name in SERVICES:
                self.give(name)
            started.enter_context(self.system)
            self._stack = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def addresses(self) -> dict[str, str]:
        """The addresses at which clients find the services, by role."""
        direct = {role: f"{LOOPBACK}:{self._ports[role.replace('-', '_')]}" for role in ROLES}
        return {**direct, "product-service": f"{LOOPBACK}:{self._ports['client']}"}

    @property
    def node(self) -> Node:
        """The broker, or the first of several."""
        return self.broker(BROKER)

    @property
    def amqp_url(self) -> str:
        """The broker itself, past every link."""
        return self.node.url

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

    def service(self, name: str) -> Service:
        """One of the services."""
        return self.system.services[name]

    @contextmanager
    def sabotaged(self, name: str, sabotage: str) -> Iterator[None]:
        """Has a service run with something wrong on purpose, for a while."""
        self._saboteurs[name] = f"{SABOTAGE} {sabotage}"
        try:
            self._start_anew(name)
            yield
        finally:
            del self._saboteurs[name]
            self._start_anew(name)

    def give(self, name: str, **variables: str) -> None:
        """Lets a service have this in its environment from its next start on, and nothing else of the kind."""
        internal = f"{LOOPBACK}:{self._ports['internal']}"
        urls = [f"amqp://guest:guest@{LOOPBACK}:{self._ports[way]}/%2F" for way in self.ways.values()]
        given = {"ORDERSYS_AMQP_URL": ",".join(urls), **variables}
        if name in self._saboteurs:
            given[RUN] = self._saboteurs[name]
        if name == "product_service":
            given["ORDERSYS_ORDER_SERVICE_ADDRESS"] = internal
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
        if name in SERVICES and not self.service(name).running:
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

    def heal(self) -> list[str]:
        """Undoes whatever was done, and returns when all services say that they work: those that had to be helped."""
        for link in self.links.values():
            link.clear()
        self.system.start_brokers()
        for name in SERVICES:
            self.start(name)
        return [name for name in SERVICES if not self._recovers(name)]

    def _start_anew(self, name: str) -> None:
        self.give(name)
        self.kill(name)
        self.start(name)
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
        held = {name: psutil.Process(self.pid(name)).num_fds() for name in SERVICES}
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
        addresses = {name: f"{LOOPBACK}:{self._ports[name]}" for name in SERVICES}
        programs = {name: self._program(name) for name in SERVICES}
        return Choices(
            brokers=len(self.brokers),
            amqp_ports=[self._ports[name] for name in self.brokers],
            addresses=addresses,
            programs=programs,
            settings=_SETTINGS,
        )

    def _program(self, name: str) -> list[str]:
        """The service, in the environment it is given at each start."""
        variables, python = shlex.quote(str(self._variables_file(name))), shlex.quote(sys.executable)
        run = f". {variables}; exec {python} ${{{RUN}:--m ordersys.{name}}}"
        return ["/bin/sh", "-c", run]

    def _variables_file(self, name: str) -> Path:
        return self.folder / "variables" / name

    def _link(self, started: ExitStack, name: str, target: str) -> None:
        self.links[name] = started.enter_context(closing(Link(name, self._ports[name], self._ports[target])))


@contextmanager
def _quietly(name: str) -> Iterator[Callable[[str], None]]:
    yield lambda word: None

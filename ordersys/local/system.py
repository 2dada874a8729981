"""The whole system in a folder: a broker, the services, and whoever watches over them."""

import asyncio
import fcntl
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

from ordersys.local import ports
from ordersys.local.cluster import Cluster
from ordersys.local.guard import Guard, end_leftovers
from ordersys.local.packages import Installation, provision
from ordersys.local.rabbitmq import Node
from ordersys.local.service import Program, Service, ours
from ordersys.runtime.reconnect import declare
from ordersys.runtime.urls import place

# In the order they are started; any order works.
SERVICES = ("order_service", "product_service", "notification_service_1", "notification_service_2")
_RESTART_PAUSE = 1.0
_MOST_PAUSE = 30.0

Stage = Callable[[str], AbstractContextManager[Callable[[str], None]]]
"""Shows a stage while it happens; what it yields takes a word about how it went."""


class CannotStart(Exception):
    """The system can't start with what it was given; the text names it and the way out."""


@dataclass(frozen=True)
class Choices:
    """What the user wants otherwise: a broker of theirs, or how many private ones and their ports; addresses, programs.

    `programs` are run in the place of services of ours, in the same environment.
    """

    amqp_url: str | None = None
    amqp_ports: Sequence[int] = ()
    brokers: int = 1
    services: Sequence[str] = SERVICES
    programs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)


class System:
    """A running system: a context manager that starts everything and leaves nothing behind."""

    def __init__(self, folder: Path, stage: Stage, choices: Choices) -> None:
        self.folder = folder
        self.cluster: Cluster | None = None
        self.services: dict[str, Service] = {}
        self._stage = stage
        self._choices = choices
        self._addresses = dict(choices.addresses)
        self._stack = ExitStack()
        self._not_before: dict[str, float] = {}
        self._pause: dict[str, float] = {}

    @property
    def nodes(self) -> Sequence[Node]:
        """The private brokers."""
        return self.cluster.nodes if self.cluster is not None else ()

    @property
    def amqp_url(self) -> str:
        """Where the brokers answer."""
        return self.cluster.url if self.cluster is not None else self._choices.amqp_url or ""

    @property
    def environment(self) -> dict[str, str]:
        """The settings by which services and clients find each other."""
        found = {f"ORDERSYS_{module.upper()}_ADDRESS": address for module, address in self._addresses.items()}
        return {**found, "ORDERSYS_AMQP_URL": self.amqp_url, "ORDERSYS_DATA_DIR": str(self.folder / "databases")}

    @property
    def exports(self) -> Sequence[str]:
        """The lines that let a shell talk to it. The URL of somebody else's broker may hold a password."""
        shown = [name for name in self.environment if name.endswith("_ADDRESS")]
        shown += ["ORDERSYS_AMQP_URL"] if self.cluster is not None else []
        return [f"export {name}={self.environment[name]}" for name in shown]

    def __enter__(self) -> "System":
        """Starts everything. Raises CannotStart, NoRabbitMQ, NotStarted, NotHealthy or BrokerUnavailable."""
        with ExitStack() as started:
            self._start(started)
            self._stack = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def start_brokers(self) -> None:
        """Starts the private brokers that do not run, and returns when all answer. Raises NotStarted."""
        if self.cluster is not None:
            self.cluster.start()

    def watch(self, say: Callable[[str], None]) -> None:
        """Starts again whatever has ended by itself; to be called now and then."""
        for node in self.nodes:
            if not node.running and self._due(node.name):
                say(f"rabbitmq ended; starting it again (log: {node.log})")
                node.kill()  # what is left of it
                node.launch()
        for name, service in self.services.items():
            if not service.running and self._due(name):
                say(f"{name} ended with status {service.exit_status}; starting it again (log: {service.log})")
                service.start()

    def _start(self, started: ExitStack) -> None:
        self._prepare_folder(started)
        guard = started.enter_context(closing(Guard(self.folder)))
        self._start_broker(started, guard)
        if self._choices.services:
            self._declare()
            self._start_services(started, guard)

    def _prepare_folder(self, started: ExitStack) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = started.enter_context((self.folder / "lock").open("w"))
        except OSError as error:
            raise CannotStart(f"{self.folder} can't be used: {error.strerror}; name another with --data-dir") from error
        _take(lock, self.folder)
        end_leftovers(self.folder)

    def _start_broker(self, started: ExitStack, guard: Guard) -> None:
        if self._choices.amqp_url is not None:
            return
        with self._stage("provision") as note:
            installation = provision()
            note(_described(installation))
        folder, choices = self.folder / "rabbitmq", self._choices
        self.cluster = Cluster(folder, installation, guard, choices.brokers, choices.amqp_ports)
        started.callback(self.cluster.stop)
        with self._stage("boot") as note:
            self.start_brokers()
            note(f"RabbitMQ answers at {place(self.amqp_url)}")

    def _declare(self) -> None:
        with self._stage("declare") as note:
            asyncio.run(declare(self.amqp_url))
            note("exchanges, queues and bindings of the contract")

    def _start_services(self, started: ExitStack, guard: Guard) -> None:
        self._choose_addresses()
        environment = {**os.environ, **self.environment, **self._choices.settings}
        with self._stage("healthy") as note:
            for module in self._choices.services:
                program = Program(self._choices.programs.get(module) or ours(module), environment)
                self.services[module] = Service(module, self._addresses[module], program, self.folder, guard)
                started.callback(self.services[module].stop)
                self.services[module].start()
            for service in self.services.values():
                service.wait_healthy()
            note(f"{len(self.services)} services")

    def _choose_addresses(self) -> None:
        for address in self._addresses.values():
            _check_free(address)
        missing = [module for module in self._choices.services if module not in self._addresses]
        for module, port in zip(missing, ports.free(len(missing)), strict=True):
            self._addresses[module] = f"{ports.LOOPBACK}:{port}"

    def _due(self, name: str) -> bool:
        """Whether it may be started again now: after growing pauses, so that a service that can't run does not spin."""
        if time.monotonic() < self._not_before.get(name, 0.0):
            return False
        self._pause[name] = min(self._pause.get(name, _RESTART_PAUSE / 2) * 2, _MOST_PAUSE)
        self._not_before[name] = time.monotonic() + self._pause[name]
        return True


def _described(installation: Installation) -> str:
    where = "unpacked in the cache" if installation.library_path else "installed"
    return f"RabbitMQ {installation.version} ({where}: {installation.programs})"


def _check_free(address: str) -> None:
    port = int(address.rpartition(":")[2])
    if not ports.is_free(port):
        raise CannotStart(f"port {port} is in use; choose another, or none for a free one")


def _take(lock: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CannotStart(f"{folder} is in use by another system; stop that one or name another folder") from None

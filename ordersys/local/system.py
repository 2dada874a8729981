"""The whole system in a folder: a broker, the services, and whoever watches over them."""

import asyncio
import fcntl
import os
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO

from ordersys.console.opening import open_regular
from ordersys.contract import addresses
from ordersys.contract.addresses import Address
from ordersys.contract.topology import subscriptions
from ordersys.local import ports, state
from ordersys.local.cluster import Cluster, Size
from ordersys.local.guard import Guard, end_leftovers
from ordersys.local.packages import Installation
from ordersys.local.rabbitmq import Node, NotStarted
from ordersys.local.rabbitmq_container import Image, provide
from ordersys.local.service import NotHealthy, Program, Service, ours
from ordersys.notification_service.settings import NotificationSettings
from ordersys.order_service.settings import OrderSettings
from ordersys.product_service.settings import ProductSettings
from ordersys.runtime.base import settings
from ordersys.runtime.base.files import UnusableFolder, make_private, write_whole
from ordersys.runtime.rabbitmq import urls
from ordersys.runtime.rabbitmq.errors import BrokerUnavailable
from ordersys.runtime.rabbitmq.reconnecting import declare, opened
from ordersys.runtime.rabbitmq.urls import BrokerUrls, shown
from ordersys.runtime.rpc.server import CANNOT_LISTEN

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
USUAL_AMQP_PORT = 5672
_MOST_TRIES = 3  # to find ports that nobody takes before the services do; the second try hardly ever fails
_SETTINGS = {"order_service": OrderSettings, "product_service": ProductSettings}
_RESTART_PAUSE = 1.0
_CLOSE_TIMEOUT_SECONDS = 5.0
# RabbitMQ's scripts break at quotes; Erlang takes the others for a pattern when it looks for the logs of its queues
# (filelib:wildcard), and finds none.
_NOT_FOR_A_BROKER = frozenset("'\"`{}[]*?\\")
_MOST_PAUSE = 30.0
_SOUND_SECONDS = 60.0  # what has run for so long is started again at once

Stage = Callable[[str], AbstractContextManager[Callable[[str], None]]]
"""Shows a stage while it happens; what it yields takes a word about how it went."""


class CannotStart(Exception):
    """The system can't start with what it was given; the text names it and the way out."""


@dataclass(frozen=True)
class Choices:
    """The user's choices: a broker of theirs, or the number of private ones and their ports; addresses, programs.

    `programs` are run in the place of services of ours, in the same environment.
    """

    amqp_url: str | None = None
    amqp_ports: Sequence[int] = ()
    brokers: int = 1
    services: Sequence[str] = SERVICES
    programs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    usual_ports: bool = False
    """True to take the usual ports where they are free; else any free ones are taken."""


class System:
    """A running system: a context manager that starts everything and leaves nothing behind."""

    def __init__(self, folder: Path, stage: Stage, choices: Choices) -> None:
        """Raises ValueError when an address or a URL among the choices is none."""
        self.folder = folder
        self.cluster: Cluster | None = None
        self.services: dict[str, Service] = {}
        self._stage = stage
        self._choices = choices
        self._given = {module: addresses.parse(text) for module, text in choices.addresses.items()}
        self._addresses = dict(self._given)
        self._broker_urls: BrokerUrls = () if choices.amqp_url is None else urls.parse(choices.amqp_url)
        self._stack = ExitStack()
        self._not_before: dict[str, float] = {}
        self._pause: dict[str, float] = {}
        self._complaints: dict[str, str] = {}
        self._unstarted: dict[str, str] = {}

    @property
    def nodes(self) -> Sequence[Node]:
        """The private brokers."""
        return self.cluster.nodes if self.cluster is not None else ()

    @property
    def amqp_url(self) -> str:
        """The URLs of the brokers. That of somebody else's broker may hold a password."""
        return self.cluster.url if self.cluster is not None else self._choices.amqp_url or ""

    @property
    def broker_urls(self) -> BrokerUrls:
        """The URLs of the brokers, fit to be used and shown."""
        return urls.parse(self.cluster.url) if self.cluster is not None else self._broker_urls

    @property
    def environment(self) -> dict[str, str]:
        """The settings by which services and clients find each other."""
        by_variable = {f"ORDERSYS_{module.upper()}_ADDRESS": str(at) for module, at in self._addresses.items()}
        return {**by_variable, "ORDERSYS_AMQP_URL": self.amqp_url, "ORDERSYS_DATA_DIR": str(self.folder / "databases")}

    @property
    def exports(self) -> Sequence[str]:
        """The lines that let a shell talk to it. The URL of somebody else's broker may hold a password."""
        shown = [name for name in self.environment if name.endswith("_ADDRESS")]
        shown += ["ORDERSYS_AMQP_URL"] if self.cluster is not None else []
        return [f"export {name}={shlex.quote(self.environment[name])}" for name in shown]

    def __enter__(self) -> "System":
        """Starts everything.

        Raises CannotStart, before the first process runs; NoRabbitMQ, NotStarted, NotHealthy or BrokerUnavailable.
        """
        with ExitStack() as started:
            with said_in_one_line(self.folder):
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
                if node.name not in self._unstarted:
                    say(f"rabbitmq ended; starting it again (log: {node.log})")
                node.kill()  # what is left of it
                self._try(node.name, node.launch, say)
        for name, service in self.services.items():
            if not service.running and self._due(name):
                if name not in self._unstarted:
                    self._tell(service, say)
                self._try(name, service.start, say)
                with suppress(OSError):  # a full disk costs clients nothing: the addresses stay as they are
                    self._write_state()

    def _try(self, name: str, start: Callable[[], None], say: Callable[[str], None]) -> None:
        """Starts something; what keeps it from that, such as a full disk, may pass, and is said once."""
        try:
            start()
        except OSError as error:
            trouble = _trouble(error, self.folder)
            if trouble != self._unstarted.get(name):
                say(f"{name} can't be started and is tried again now and then: {trouble}")
            self._unstarted[name] = trouble
        else:
            self._unstarted.pop(name, None)

    def _tell(self, service: Service, say: Callable[[str], None]) -> None:
        """Says how a service has ended; what it can't start with is said once, however often it is tried."""
        complaint = service.last_line() if service.misused else ""
        if not complaint:
            say(f"{service.module} ended with status {service.exit_status}; starting it again (log: {service.log})")
        elif complaint != self._complaints.get(service.module):
            say(f"{service.module} can't start and is tried again now and then: {complaint} (log: {service.log})")
        self._complaints[service.module] = complaint

    def _start(self, started: ExitStack) -> None:
        self._check_choices()
        self._prepare_folder(started)
        guard = started.enter_context(closing(Guard(self.folder)))
        self._start_broker(started, guard)
        if self._choices.services:
            self._declare()
            self._start_services(started, guard)
            self._publish_state(started)

    def _check_choices(self) -> None:
        """Ports, programs and settings; what is wrong with them would end services one by one. Raises CannotStart."""
        self._check_ports()
        for module in self._choices.services:
            program = self._choices.programs.get(module)
            if program is None:
                _check_settings(module, {**os.environ, **self._choices.settings})
            elif shutil.which(program[0]) is None:
                quoting = f"--program {module}='\"/my path/x\" -v'"
                hint = f"; a path with a blank is quoted twice, as in {quoting}" if len(program) > 1 else ""
                raise CannotStart(f"{program[0]!r}, in the place of {module}, is no program that can be run{hint}")

    def _check_ports(self) -> None:
        given = [("rabbitmq", port) for port in self._choices.amqp_ports]
        given += [(module, address.port) for module, address in self._addresses.items()]
        owners: dict[int, str] = {}
        for name, port in given:
            if port in owners:
                raise CannotStart(f"port {port} is given to {owners[port]} and to {name}; each needs one of its own")
            if trouble := ports.trouble(port):
                raise CannotStart(f"port {port} {trouble}; choose another for {name}, or none for a free one")
            owners[port] = name

    def _prepare_folder(self, started: ExitStack) -> None:
        if not str(self.folder).isprintable():  # Erlang takes neither line ends nor octets that are not UTF-8
            raise CannotStart(f"{str(self.folder)!r} can't be used; name a folder in UTF-8 with --data-dir")
        if self._choices.amqp_url is None and (odd := _NOT_FOR_A_BROKER.intersection(str(self.folder))):
            signs = " ".join(sorted(odd))
            raise CannotStart(
                f"{self.folder} can't hold a RabbitMQ, for its {signs}; name another folder with --data-dir"
            )
        make_private(self.folder)
        make_private(self.folder / "databases")
        make_private(self.folder / "log")
        for module in self._choices.services:  # what is no file is better known before the first process runs
            os.close(open_regular(self.folder / "log" / f"{module}.log", os.O_WRONLY | os.O_CREAT))
        descriptor = open_regular(self.folder / "lock", os.O_WRONLY | os.O_CREAT)
        _lock(started.enter_context(os.fdopen(descriptor, "w")), self.folder)
        end_leftovers(self.folder)
        (self.folder / state.FILE).unlink(missing_ok=True)

    def _start_broker(self, started: ExitStack, guard: Guard) -> None:
        if self._choices.amqp_url is not None:
            return
        with self._stage("provision") as note:
            broker = provide()
            note(_described(broker))
        reserved = {address.port for address in self._given.values()}
        usual = USUAL_AMQP_PORT if self._choices.usual_ports and not self._choices.amqp_ports else None
        if self._choices.usual_ports:
            reserved.update(USUAL_PORTS.values())
        wanted = Size(self._choices.brokers, self._choices.amqp_ports, reserved, usual)
        # Of one kind the other could not read the data: the version is another, and paths are.
        folder = self.folder / ("rabbitmq" if isinstance(broker, Installation) else "rabbitmq-container")
        cluster = Cluster(folder, broker, guard, wanted)
        cluster.prepare()
        self.cluster = cluster
        started.callback(self.cluster.stop)
        with self._stage("boot") as note:
            self._run_brokers(cluster)
            note(f"RabbitMQ answers at {shown(self.broker_urls)}")

    def _run_brokers(self, cluster: Cluster) -> None:
        """Starts all nodes, at other ports where somebody took one since it was chosen. Raises NotStarted."""
        for tries_left in reversed(range(_MOST_TRIES)):
            try:
                self.start_brokers()
            except NotStarted:
                if not tries_left or not cluster.move():
                    raise
            else:
                return

    def _declare(self) -> None:
        with self._stage("declare") as note:
            asyncio.run(declare(self.broker_urls))
            note("exchanges, queues and bindings of the contract")
        self._check_alone(set(self._choices.services), 0)

    def _check_alone(self, modules: Collection[str], ours: int) -> None:
        """On a broker of somebody else's there may be another system. Raises CannotStart.

        Looks at the queues of `modules`, from each of which `ours` consumers are known to take. One that has just ended
        may be known to the broker for a moment.
        """
        if self.cluster is not None:
            return
        own = [subscription for subscription in subscriptions() if subscription.consumer.replace("-", "_") in modules]
        queues = [queue for subscription in own for queue in (subscription.queue, subscription.dead_letter_queue)]
        until = time.monotonic() + _CLOSE_TIMEOUT_SECONDS
        while busy := asyncio.run(_crowded(self.broker_urls, queues, ours)):
            if time.monotonic() > until:
                raise CannotStart(
                    f"another system runs at {shown(self.broker_urls)}: {busy} has its consumer, and of two systems"
                    " each would get a part of the events; stop that one, or name another virtual host with --amqp-url"
                )
            time.sleep(_RESTART_PAUSE / 4)

    def _start_services(self, started: ExitStack, guard: Guard) -> None:
        self._at_usual_ports = self._choose_addresses(self._choices.usual_ports)
        with self._stage("healthy") as note:
            self._run_services(started, guard)
            note(f"{len(self.services)} services")
            if self._choices.usual_ports and not self._at_usual_ports:
                note("(not at the usual ports, of which some are in use)")
        # Another system may have begun at the same time; programs of others may consume in a way of their own.
        self._check_alone({*self.services} - {*self._choices.programs}, 1)

    def _run_services(self, started: ExitStack, guard: Guard) -> None:
        """Starts all, and returns when all are healthy. Raises NotHealthy.

        Between the choice of a port and a service that listens there somebody may take it: then all get new ones, since
        each was told the addresses of the others.
        """
        for tries_left in reversed(range(_MOST_TRIES)):
            environment = {**os.environ, **self.environment, **self._choices.settings}
            for module in self._choices.services:
                program = Program(self._choices.programs.get(module) or ours(module), environment)
                self.services[module] = Service(module, str(self._addresses[module]), program, self.folder, guard)
                started.callback(self.services[module].stop)
                self.services[module].start()
            try:
                for service in self.services.values():
                    service.wait_healthy()
            except NotHealthy:
                if not tries_left or not self._has_lost_port():
                    raise
            else:
                return
            for service in self.services.values():
                service.stop()
            self._at_usual_ports = self._choose_addresses(usual=False)

    def _has_lost_port(self) -> bool:
        """True where a service has ended since it could not listen at the port that was chosen for it.

        Ours say so, which counts also where the port is free by now: another system that was just starting may have
        given it up.
        """
        ended = [service for module, service in self.services.items() if service.misused and module not in self._given]
        return any(
            CANNOT_LISTEN in service.last_line() or ports.trouble(addresses.parse(service.address).port)
            for service in ended
        )

    def _choose_addresses(self, usual: bool) -> bool:
        """Chooses a port for each service that was given none; whether they are the usual ones.

        All or none: with half of them a client that was told nothing would talk to two systems.
        """
        missing = [module for module in self._choices.services if module not in self._given]
        reserved = {address.port for address in self._given.values()}
        reserved.update(node.port for node in self.nodes)
        chosen = [USUAL_PORTS[module] for module in missing]
        usual = usual and all(port not in reserved and ports.is_free(port) for port in chosen)
        if not usual:
            chosen = ports.free(len(missing), reserved)
        self._addresses.update({m: Address(ports.LOOPBACK, p) for m, p in zip(missing, chosen, strict=True)})
        return usual

    def _publish_state(self, started: ExitStack) -> None:
        """Lets clients that know the folder find the services, until the first of them is stopped."""
        self._write_state()
        started.callback(_remove, self.folder / state.FILE)

    def _write_state(self) -> None:
        groups = {module: service.group for module, service in self.services.items()}
        running = {module: group for module, group in groups.items() if group is not None}
        write_whole(self.folder / state.FILE, state.text(self._addresses, running))

    def _due(self, name: str) -> bool:
        """True once it may be started again. With jittered backoff: a service that can't run does not spin."""
        now = time.monotonic()
        if now < self._not_before.get(name, 0.0):
            return False
        if now > self._not_before.get(name, 0.0) + _SOUND_SECONDS:
            self._pause.pop(name, None)
        self._pause[name] = min(self._pause.get(name, _RESTART_PAUSE / 2) * 2, _MOST_PAUSE)
        self._not_before[name] = now + self._pause[name]
        return True


async def _crowded(urls: BrokerUrls, queues: Sequence[str], most: int) -> str:
    """The first of these queues with more consumers, empty when there is none. Raises BrokerUnavailable."""
    async with opened(urls, "launcher") as session:
        for queue in queues:
            if await session.consumers(queue) > most:
                return queue
    return ""


def _described(broker: Installation | Image) -> str:
    if isinstance(broker, Image):
        return f"RabbitMQ in a container ({broker.engine.name}: {broker.name})"
    where = "unpacked in the cache" if broker.library_path else "installed"
    return f"RabbitMQ {broker.version} ({where}: {broker.programs})"


def _check_settings(module: str, environment: Mapping[str, str]) -> None:
    """Addresses, broker and folder are chosen here. Raises CannotStart for all others."""
    chosen = ("_ADDRESS", "_AMQP_URL", "_DATA_DIR")
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
        raise CannotStart(f"{_trouble(error, what)}; mend that, or name another folder with --data-dir") from error


def _trouble(error: OSError, what: object) -> str:
    return f"{error.filename or what} can't be used: {error.strerror or error}"


def _remove(file: Path) -> None:
    with suppress(OSError):  # a file system that is read-only by now; the file names a process that has ended
        file.unlink(missing_ok=True)


def _lock(lock: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CannotStart(f"{folder} is in use by another system; stop that one or name another folder") from None

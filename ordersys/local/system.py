"""The whole system in a folder: a broker, the services, and whoever watches over them."""

import asyncio
import fcntl
import os
import shlex
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

from ordersys.console.opening import open_regular
from ordersys.console.secret_files import keep_out_of_git
from ordersys.contract import addresses
from ordersys.contract.addresses import Address, Addresses
from ordersys.identity import layout
from ordersys.local import listening, ports, state
from ordersys.local.alone import check_alone
from ordersys.local.breaking.breaking import Breaking
from ordersys.local.breaking.wiring import check_loopback, over_links, world
from ordersys.local.choices import (
    DATABASE_URL,
    INSECURE,
    SERVICES,
    USUAL_AMQP_PORT,
    USUAL_AMQPS_PORT,
    USUAL_PORTS,
    CannotStart,
    Choices,
    check,
    said_in_one_line,
)
from ordersys.local.cluster import Cluster, Size
from ordersys.local.database import POSTGRESQL_FOLDER, PrivateDatabase, unused_state
from ordersys.local.declaring import Declaring
from ordersys.local.guard import Guard, end_leftovers
from ordersys.local.inherited import passed_on
from ordersys.local.listening import METRICS, Listening
from ordersys.local.live import LivePage
from ordersys.local.live import check as check_live
from ordersys.local.packages import Installation
from ordersys.local.postgresql import Server
from ordersys.local.rabbitmq import Node, NotStarted
from ordersys.local.rabbitmq_container import Image, provide
from ordersys.local.rabbitmq_security import BrokerSecurity
from ordersys.local.rolling import Rolling
from ordersys.local.service import NotHealthy, Program, Service, ours
from ordersys.local.supervision import Supervision
from ordersys.local.url_files import UrlFiles, without
from ordersys.notification_service.settings import ANY, AUTO
from ordersys.runtime.base import settings
from ordersys.runtime.base.files import make_private, write_whole
from ordersys.runtime.rabbitmq import urls
from ordersys.runtime.rabbitmq.reconnecting import declare
from ordersys.runtime.rabbitmq.tls import CA_FILE, CERTIFICATE_FILE, KEY_FILE, Files
from ordersys.runtime.rabbitmq.urls import AMQP_URL, BrokerUrls, shown
from ordersys.runtime.rpc.server import CANNOT_LISTEN
from ordersys.runtime.settings import Settings

if TYPE_CHECKING:
    from ordersys.local.identities import Identities

__all__ = [
    "SERVICES",
    "USUAL_AMQPS_PORT",
    "USUAL_AMQP_PORT",
    "USUAL_PORTS",
    "CannotStart",
    "Choices",
    "System",
    "said_in_one_line",
]

_PUBLISHER_USERS = "ORDERSYS_PUBLISHER_USERS"
_SHOWN = ("_ADDRESS", layout.CA_FILE, layout.TOKEN_FILE)
_FILES = (CA_FILE, CERTIFICATE_FILE, KEY_FILE)
_MOST_TRIES = 3  # to find ports that nobody takes before the services do; the second try hardly ever fails
_STEP_SECONDS = 0.1  # between two looks while processes are restarted
# RabbitMQ's scripts break at quotes; Erlang takes the others for a pattern when it looks for the logs of its queues
# (filelib:wildcard), and finds none.
_NOT_FOR_A_BROKER = frozenset("'\"`{}[]*?\\")
Stage = Callable[[str], AbstractContextManager[Callable[[str], None]]]
"""Shows a stage while it happens; what it yields takes a word about how it went."""


class System:
    """A running system: a context manager that starts everything and leaves nothing behind."""

    def __init__(self, folder: Path, stage: Stage, choices: Choices) -> None:
        """Raises ValueError when an address or a URL among the choices is none."""
        self.folder = folder
        self.cluster: Cluster | None = None
        self.services: dict[str, Service] = {}
        self._stage = stage
        self._choices = choices
        self.database: PrivateDatabase | None = None
        self._listening = Listening(choices)
        self._broker_urls: BrokerUrls = () if choices.amqp_url is None else urls.parse(choices.amqp_url)
        self._stack = ExitStack()
        self._supervision = Supervision(folder)
        self._rolls: list[str] = []
        self.identities: Identities | None = None
        self._declaring: Declaring | None = None
        self._url_files = UrlFiles(folder, {})
        self.live: LivePage | None = None
        self._breaking: Breaking | None = None

    @property
    def nodes(self) -> Sequence[Node]:
        """The private brokers."""
        return self.cluster.nodes if self.cluster is not None else ()

    @property
    def servers(self) -> Sequence[Server]:
        """The private database servers."""
        return self.database.servers if self.database is not None else ()

    @property
    def amqp_url(self) -> str:
        """The URLs of the brokers, as services have them. That of somebody else's broker may hold a password."""
        return self.cluster.url if self.cluster is not None else self._choices.amqp_url or ""

    @property
    def broker_urls(self) -> BrokerUrls:
        """The URLs of the brokers, fit to be used and shown: of a private one for the user that may declare."""
        return urls.parse(self.cluster.url_of_declarer) if self.cluster is not None else self._broker_urls

    @property
    def environment(self) -> dict[str, str]:
        """The settings by which services and clients find each other."""
        database = {DATABASE_URL: self.database_url} if self.database_url else {}
        folder = str(self.folder / "databases")
        secured: dict[str, str] = {}
        if self.identities is not None:
            secured = {**self.identities.of_operator, **self._listening.found_by_services}
            if self.cluster is not None:
                secured[CA_FILE] = str(self.identities.layout.ca)
        return {**self._listening.found_by, AMQP_URL: self.amqp_url, state.DATA_DIR: folder, **database, **secured}

    @property
    def believes_anybody(self) -> bool:
        """True where subscribers take events from whoever may publish, though there are identities."""
        # By a certificate each service is the user of its own name; a user in the URL is that of them all.
        shared = not all(url.is_external for url in self.broker_urls)
        chosen = {**os.environ, **self._choices.settings}.get(_PUBLISHER_USERS, "").strip().lower() or AUTO
        return self.identities is not None and (chosen == ANY or (chosen == AUTO and shared))

    @property
    def addresses(self) -> dict[str, Address | Addresses]:
        """The address of each service, by module: a list where it has several processes."""
        return self._listening.by_module

    @property
    def metrics(self) -> Mapping[str, Address]:
        """The addresses at which the processes of ours serve their metrics, by name."""
        return self._listening.metrics

    @property
    def database_url(self) -> str:
        """The URL of the PostgreSQL, empty where the state is kept in files. It may hold a password."""
        return self.database.url if self.database is not None else self._choices.database_url or ""

    @property
    def exports(self) -> Sequence[str]:
        """The lines that let a shell talk to it. The URL of somebody else's broker may hold a password."""
        shown = [name for name in self.environment if name.endswith(_SHOWN)]
        values = {name: self.environment[name] for name in shown}
        if self.cluster is not None:
            values[AMQP_URL] = self.cluster.url_of_declarer
        return [f"export {name}={shlex.quote(value)}" for name, value in values.items()]

    def __enter__(self) -> "System":
        """Starts everything.

        Raises CannotStart, before the first process runs; NoPostgreSQL, ServerNotStarted, NoRabbitMQ, NotStarted,
        NotHealthy or BrokerUnavailable.
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

    def watch(self, say: Callable[[str], None], besides: str = "") -> None:
        """Starts again whatever has ended by itself, `besides` the service of that name; to be called now and then."""
        if self.identities is not None and self.identities.is_due:
            self._renew(self.identities, say)
        if self._declaring is not None:
            self._supervision.watch_topology(self._declaring.refusal, say)
        for node in self.nodes:
            self._supervision.watch_node(node, say)
        for server in self.servers:
            self._supervision.watch_database(server, say)
        for name, service in self.services.items():
            if name != besides and self._supervision.watch_service(name, service, say):
                self._write_state_if_it_can()
        if self.live is not None:
            self._supervision.watch_service("live", self.live.service, say)
        for line in self._breaking.said() if self._breaking is not None else ():
            say(line)

    def hold(self, name: str, seconds: float) -> None:
        """Has a service, or a node of the broker, that ends now started again after so many seconds, not before."""
        self._supervision.hold(name, seconds)

    def _renew(self, identities: "Identities", say: Callable[[str], None]) -> None:
        if trouble := identities.keep():
            say(trouble)
        if self.cluster is not None:
            with suppress(OSError):  # what there is lasts for days, and this is tried again
                self.cluster.renew()

    def roll(self, say: Callable[[str], None], also: Callable[[], None] = lambda: None) -> None:
        """Starts the processes of all services again, one at a time, each when the one before is healthy.

        One that does not get healthy ends it. Blocks for some seconds a process, while it watches over everything else
        and does what is to be done `also`, and writes how it went into the state file.
        """
        rolling = Rolling(self.services, self._choices.replicas > 1, self._write_state_if_it_can)
        for _ in rolling.steps(say):
            self.watch(say, besides=rolling.under_way)
            also()
            time.sleep(_STEP_SECONDS)
        self._rolls.append(rolling.trouble)
        self._write_state_if_it_can()

    def _start(self, started: ExitStack) -> None:
        check(self._choices, self._listening.given)
        if self._choices.live:
            check_live()
        self._prepare_folder(started)
        if self._choices.secure:
            from ordersys.local.identities import Identities  # noqa: PLC0415 - its libraries take a while

            with self._stage("identity") as note:
                self.identities = Identities(self.folder / "identity")
                note(f"certificates and tokens in {self.identities.layout.folder}")
        self._know_broker()
        guard = started.enter_context(closing(Guard(self.folder)))
        self._start_database(started, guard)
        self._start_broker(started, guard)
        if self._choices.services:
            self._declare()
            self._keep_declared(started)
            given = {AMQP_URL: self._choices.amqp_url, DATABASE_URL: self.database_url}
            are_ours = {*self._choices.services} - {*self._choices.programs}
            self._url_files = UrlFiles(self.folder, {name: url for name, url in given.items() if url and are_ours})
            started.enter_context(self._url_files.written())
            self._prepare_live(guard)
            self._start_services(started, guard)
            self._publish_state(started)
            self._open_breaking(started)
            self._start_live(started)

    def _know_broker(self) -> None:
        """Has the URL of somebody else's broker know its files: those of the declarer, if there are identities."""
        given = {**os.environ, **self._choices.settings}
        try:
            read = settings.read(Settings, {name: given[name] for name in _FILES if name in given})
            files = Files(read.amqp_ca_file, read.tls_certificate_file, read.tls_key_file)
            if self.identities is not None:
                files = BrokerSecurity(self.identities.layout).declarer._replace(authorities=files.authorities)
            self._broker_urls = urls.identified(self._broker_urls, files)
        except settings.InvalidSetting as error:
            raise CannotStart(str(error)) from error
        except ValueError as error:
            raise CannotStart(f"--amqp-url {error}") from None

    def _prepare_folder(self, started: ExitStack) -> None:
        if not str(self.folder).isprintable():  # Erlang takes neither line ends nor octets that are not UTF-8
            raise CannotStart(f"{str(self.folder)!r} can't be used; name a folder in UTF-8 with --data-dir")
        if self._choices.amqp_url is None and (odd := _NOT_FOR_A_BROKER.intersection(str(self.folder))):
            signs = " ".join(sorted(odd))
            raise CannotStart(
                f"{self.folder} can't hold a RabbitMQ, for its {signs}; name another folder with --data-dir"
            )
        make_private(self.folder)
        if not any(self.folder.iterdir()):  # git is not to pass over the things of somebody else
            keep_out_of_git(self.folder)
        make_private(self.folder / "databases")
        make_private(self.folder / "log")
        for name in self._listening.processes:  # what is no file is better known before the first process runs
            os.close(open_regular(self.folder / "log" / f"{name}.log", os.O_WRONLY | os.O_CREAT))
        descriptor = open_regular(self.folder / state.LOCK, os.O_WRONLY | os.O_CREAT)
        _lock(started.enter_context(os.fdopen(descriptor, "w")), self.folder)
        end_leftovers(self.folder)
        (self.folder / state.FILE).unlink(missing_ok=True)

    def _start_database(self, started: ExitStack, guard: Guard) -> None:
        if not self._choices.postgres:
            return
        with self._stage("database") as note:
            database = PrivateDatabase(self.folder / POSTGRESQL_FOLDER, guard, self._choices.standby)
            database.start(started)
            self.database = database
            note(str(database.programs))

    def _start_broker(self, started: ExitStack, guard: Guard) -> None:
        if self._choices.amqp_url is not None:
            return
        with self._stage("provision") as note:
            broker = provide()
            note(_described(broker))
        reserved = {address.port for address in self._listening.given.values()}
        of_kind = USUAL_AMQP_PORT if self.identities is None else USUAL_AMQPS_PORT
        usual = of_kind if self._choices.usual_ports and not self._choices.amqp_ports else None
        if self._choices.usual_ports:
            reserved.update(USUAL_PORTS.values())
        wanted = Size(self._choices.brokers, self._choices.amqp_ports, reserved, usual)
        # Of one kind the other could not read the data: the version is another, and paths are.
        folder = self.folder / ("rabbitmq" if isinstance(broker, Installation) else "rabbitmq-container")
        security = None if self.identities is None else BrokerSecurity(self.identities.layout)
        cluster = Cluster(folder, broker, guard, wanted, security)
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

    def _keep_declared(self, started: ExitStack) -> None:
        """Declares again every few seconds where services may not; elsewhere each of them does."""
        if self.cluster is not None and self.identities is not None:
            self._declaring = Declaring(self.broker_urls)
            self._declaring.start()
            started.callback(self._declaring.stop)

    def _check_alone(self, modules: Collection[str], ours: int) -> None:
        if self.cluster is None:  # a private broker has no other system
            check_alone(self.broker_urls, modules, ours)

    def _start_services(self, started: ExitStack, guard: Guard) -> None:
        if self._choices.break_it:
            self._breaking = Breaking(self.folder)
            self._breaking.start()
            started.callback(self._breaking.stop)
        self._choose_addresses(self._choices.usual_ports)
        with self._stage("healthy") as note:
            self._run_services(started, guard)
            note(f"{len(self.services)} {'services' if self._choices.replicas == 1 else 'processes'}")
            if unused := unused_state(self.folder, in_files=not self.database_url):
                note(f"(not with the state in {unused}, which is kept otherwise)")
            if self._choices.usual_ports and not self._listening.at_usual_ports:
                note("(not at the usual ports, of which some are in use)")
        # Another system may have begun at the same time; programs of others may consume in a way of their own.
        self._check_alone({*self.services} - {*self._choices.programs}, 1)

    def _run_services(self, started: ExitStack, guard: Guard) -> None:
        """Starts all, and returns when all are healthy. Raises NotHealthy.

        Between the choice of a port and a service that listens there somebody may take it: then all get new ones, since
        each was told the addresses of the others.
        """
        for tries_left in reversed(range(_MOST_TRIES)):
            for name in self._listening.processes:
                self.services[name] = self._service(name, guard)
                started.callback(self.services[name].stop)
                self.services[name].start()
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
            self._choose_addresses(usual=False)

    def _service(self, name: str, guard: Guard) -> Service:
        """Listens at one address, and asks the other services at all of theirs."""
        module = name.partition("-")[0]
        own = self._listening.settings_of(name)
        own[INSECURE] = str(self.identities is None).lower()
        own |= {} if self.identities is None else self.identities.of_service(module)
        if self._breaking is not None:
            own = {**over_links(self._breaking, module, self.nodes, self._listening), **own}
        if self.believes_anybody:
            own[_PUBLISHER_USERS] = ANY
        command = listening.program(self._choices, name)
        found_by = self._url_files.in_place(self.environment) if command is None else self.environment
        theirs = without(passed_on(os.environ), self.environment, (AMQP_URL, DATABASE_URL))
        environment = {**theirs, **found_by, **own, **self._choices.settings}
        if self.live is not None:
            environment |= self.live.telemetry(environment)
        program = Program(command or ours(module), environment)
        return Service(name, str(self._listening.addresses[name]), program, self.folder, guard)

    def _has_lost_port(self) -> bool:
        """True where a service has ended since it could not listen at the port that was chosen for it.

        Ours say so, which counts also where the port is free by now: another system that was just starting may have
        given it up.
        """
        ended = [service for service in self.services.values() if service.misused]
        given = self._listening.given
        chosen = [service for service in ended if service.name not in given or METRICS in service.last_line()]
        return any(
            CANNOT_LISTEN in service.last_line() or ports.trouble(addresses.parse(service.address).port)
            for service in chosen
        )

    def _choose_addresses(self, usual: bool) -> None:
        in_use = [*(node.port for node in self.nodes), *(server.port for server in self.servers)]
        in_use += [] if self.live is None else [self.live.address.port]
        self._listening.choose(usual, in_use, self.identities is not None)

    def _publish_state(self, started: ExitStack) -> None:
        """Lets clients that know the folder find the services, until the first of them is stopped."""
        self._write_state()
        started.callback(_remove, self.folder / state.FILE)

    def _open_breaking(self, started: ExitStack) -> None:
        if self._breaking is not None:
            check_loopback(self.services.values())
            started.callback(self._breaking.mend)
            self._breaking.open(world(self))

    def _prepare_live(self, guard: Guard) -> None:
        """Chooses its address: services are told it, and send their spans there."""
        if self._choices.live:
            self.live = LivePage(self.folder, self.environment_of_observer, guard, self._choices.break_it)

    def _start_live(self, started: ExitStack) -> None:
        if self.live is None:
            return
        with self._stage("live page"):
            started.callback(_remove, self.live.traces_key_file)
            started.callback(self.live.service.stop)
            self.live.start()

    @property
    def environment_of_observer(self) -> dict[str, str]:
        """The environment of whoever shows this system: a private broker stands in the state file."""
        return passed_on(os.environ) | ({} if self.cluster is not None else self._of_observer)

    @property
    def _of_observer(self) -> dict[str, str]:
        """The settings by which somebody may look at queues. The URL of somebody else's broker may hold a password."""
        if self.identities is None:
            return {AMQP_URL: self.amqp_url}
        files = BrokerSecurity(self.identities.layout).observer
        return {AMQP_URL: self.amqp_url, **{name: str(file) for name, file in zip(_FILES, files, strict=True)}}

    def _write_state_if_it_can(self) -> None:
        with suppress(OSError):  # a full disk costs clients nothing: the addresses stay as they are
            self._write_state()

    def _write_state(self) -> None:
        groups = {module: service.group for module, service in self.services.items()}
        running = {module: group for module, group in groups.items() if group is not None}
        operator = {} if self.identities is None else self.identities.of_operator
        broker = {} if self.cluster is None else self._of_observer
        known = state.Known(operator, broker, {} if self.live is None else self.live.known)
        text = state.text(self.addresses, running, self._rolls, known, self.metrics)
        write_whole(self.folder / state.FILE, text)


def _described(broker: Installation | Image) -> str:
    if isinstance(broker, Image):
        return f"RabbitMQ in a container ({broker.engine.name}: {broker.name})"
    where = "unpacked in the cache" if broker.library_path else "installed"
    return f"RabbitMQ {broker.version} ({where}: {broker.programs})"


def _remove(file: Path) -> None:
    with suppress(OSError):  # a file system that is read-only by now; the file names a process that has ended
        file.unlink(missing_ok=True)


def _lock(lock: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CannotStart(f"{folder} is in use by another system; stop that one or name another folder") from None

"""The whole system in a folder: a broker, the services, and whoever watches over them."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ordersys.contract.addresses import Address, Addresses
from ordersys.local import state
from ordersys.local.breaking.breaking import Breaking
from ordersys.local.breaking.wiring import check_loopback, world
from ordersys.local.broker import Broker, provided
from ordersys.local.choices import (
    SERVICES,
    USUAL_AMQP_PORT,
    USUAL_AMQPS_PORT,
    USUAL_PORTS,
    CannotStart,
    Choices,
    check,
    said_in_one_line,
)
from ordersys.local.database import POSTGRESQL_FOLDER, PrivateDatabase, unused_state
from ordersys.local.guard import Guard
from ordersys.local.listening import Listening
from ordersys.local.live import LivePage
from ordersys.local.live import check as check_live
from ordersys.local.parties import Parties
from ordersys.local.postgresql import Server
from ordersys.local.rabbitmq import Node
from ordersys.local.rolling import Rolling
from ordersys.local.service import Service
from ordersys.local.starting import Starting
from ordersys.local.supervision import Supervision
from ordersys.local.system_folder import locked
from ordersys.runtime.base.files import write_whole
from ordersys.runtime.rabbitmq.urls import BrokerUrls, shown

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

_STEP_SECONDS = 0.1  # between two looks while processes are restarted
Stage = Callable[[str], AbstractContextManager[Callable[[str], None]]]
"""Shows a stage while it happens; what it yields takes a word about how it went."""


class System:
    """A running system: a context manager that starts everything and leaves nothing behind."""

    def __init__(self, folder: Path, stage: Stage, choices: Choices) -> None:
        """Raises ValueError when an address or a URL among the choices is none."""
        self.folder = folder
        self.services: dict[str, Service] = {}
        self.database: PrivateDatabase | None = None
        self.identities: Identities | None = None
        self.live: LivePage | None = None
        self._stage = stage
        self._choices = choices
        self._listening = Listening(choices)
        self._broker = Broker(folder, choices)
        self._breaking: Breaking | None = None
        self._supervision = Supervision(folder)
        self._rolls: list[str] = []
        self._stack = ExitStack()

    @property
    def nodes(self) -> Sequence[Node]:
        """The private brokers."""
        return self._broker.nodes

    @property
    def servers(self) -> Sequence[Server]:
        """The private database servers."""
        return self.database.servers if self.database is not None else ()

    @property
    def amqp_url(self) -> str:
        """The URLs of the brokers, as services have them. That of somebody else's broker may hold a password."""
        return self._broker.url

    @property
    def broker_urls(self) -> BrokerUrls:
        """The URLs of the brokers, fit to be used and shown: of a private one for the user that may declare."""
        return self._broker.urls

    @property
    def environment(self) -> dict[str, str]:
        """The settings by which services and clients find each other."""
        return self._parties.shared

    @property
    def believes_anybody(self) -> bool:
        """True where subscribers take events from whoever may publish, though there are identities."""
        return self._parties.believes_anybody

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
        return self._parties.exports

    @property
    def environment_of_observer(self) -> dict[str, str]:
        """The environment of whoever shows this system: a private broker stands in the state file."""
        return self._parties.of_observer

    @property
    def _parties(self) -> Parties:
        """Those of the system as far as it has come: their settings follow from its parts."""
        return Parties(self.folder, self._choices, self._listening, self._broker, self.identities, self.database_url)

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
        self._broker.start()

    def watch(self, say: Callable[[str], None], besides: str = "") -> None:
        """Starts again whatever has ended by itself, `besides` the service of that name; to be called now and then."""
        if self.identities is not None and self.identities.is_due:
            self._renew(self.identities, say)
        self._supervision.watch_topology(self._broker.refusal, say)
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
        with suppress(OSError):  # what there is lasts for days, and this is tried again
            self._broker.renew()

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
        started.enter_context(locked(self.folder, self._listening.processes, self._broker.is_private))
        if self._choices.secure:
            from ordersys.local.identities import Identities  # noqa: PLC0415 - its libraries take a while

            with self._stage("identity") as note:
                self.identities = Identities(self.folder / "identity")
                note(f"certificates and tokens in {self.identities.layout.folder}")
        self._broker.identify(self.identities)
        guard = started.enter_context(closing(Guard(self.folder)))
        self._start_database(started, guard)
        self._start_broker(started, guard)
        if self._choices.services:
            self._declare()
            self._broker.keep_declared(started)
            started.enter_context(self._parties.url_files.written())
            self._prepare_live(guard)
            self._start_services(started, guard)
            self._publish_state(started)
            self._open_breaking(started)
            self._start_live(started)

    def _start_database(self, started: ExitStack, guard: Guard) -> None:
        if not self._choices.postgres:
            return
        with self._stage("database") as note:
            database = PrivateDatabase(self.folder / POSTGRESQL_FOLDER, guard, self._choices.standby)
            database.start(started)
            self.database = database
            note(str(database.programs))

    def _start_broker(self, started: ExitStack, guard: Guard) -> None:
        if not self._broker.is_private:
            return
        with self._stage("provision") as note:
            program, description = provided()
            note(description)
        self._broker.prepare(program, guard, {address.port for address in self._listening.given.values()})
        started.callback(self._broker.stop)
        with self._stage("boot") as note:
            self._broker.boot()
            note(f"RabbitMQ answers at {shown(self.broker_urls)}")

    def _declare(self) -> None:
        with self._stage("declare") as note:
            self._broker.declare()
            note("exchanges, queues and bindings of the contract")
        self._broker.check_alone(set(self._choices.services), 0)

    def _start_services(self, started: ExitStack, guard: Guard) -> None:
        if self._choices.break_it:
            self._breaking = Breaking(self.folder)
            self._breaking.start()
            started.callback(self._breaking.stop)
        in_use = [*(node.port for node in self.nodes), *(server.port for server in self.servers)]
        in_use += [] if self.live is None else [self.live.address.port]
        starting = Starting(self._parties, guard, in_use, self._breaking, self.live)
        self.services = starting.services
        starting.choose_addresses(self._choices.usual_ports)
        with self._stage("healthy") as note:
            starting.run(started)
            note(f"{len(self.services)} {'services' if self._choices.replicas == 1 else 'processes'}")
            if unused := unused_state(self.folder, in_files=not self.database_url):
                note(f"(not with the state in {unused}, which is kept otherwise)")
            if self._choices.usual_ports and not self._listening.at_usual_ports:
                note("(not at the usual ports, of which some are in use)")
        # Another system may have begun at the same time; programs of others may consume in a way of their own.
        self._broker.check_alone({*self.services} - {*self._choices.programs}, 1)

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

    def _write_state_if_it_can(self) -> None:
        with suppress(OSError):  # a full disk costs clients nothing: the addresses stay as they are
            self._write_state()

    def _write_state(self) -> None:
        groups = {module: service.group for module, service in self.services.items()}
        running = {module: group for module, group in groups.items() if group is not None}
        known = self._parties.known({} if self.live is None else self.live.known)
        text = state.text(self.addresses, running, self._rolls, known, self.metrics)
        write_whole(self.folder / state.FILE, text)


def _remove(file: Path) -> None:
    with suppress(OSError):  # a file system that is read-only by now; the file names a process that has ended
        file.unlink(missing_ok=True)

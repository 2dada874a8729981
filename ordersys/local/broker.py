"""The RabbitMQ of a system: a private cluster in its folder, or one of somebody else, known by its URL."""

import asyncio
import os
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ordersys.local.alone import check_alone
from ordersys.local.choices import USUAL_AMQP_PORT, USUAL_AMQPS_PORT, USUAL_PORTS, CannotStart, Choices
from ordersys.local.cluster import Cluster, Size
from ordersys.local.declaring import Declaring
from ordersys.local.guard import Guard
from ordersys.local.packages import Installation
from ordersys.local.rabbitmq import Node, NotStarted
from ordersys.local.rabbitmq_container import Image, provide
from ordersys.local.rabbitmq_security import BrokerSecurity
from ordersys.runtime.base import settings
from ordersys.runtime.rabbitmq import urls
from ordersys.runtime.rabbitmq.reconnecting import declare
from ordersys.runtime.rabbitmq.tls import CA_FILE, CERTIFICATE_FILE, KEY_FILE, Files
from ordersys.runtime.rabbitmq.urls import BrokerUrls
from ordersys.runtime.settings import Settings

if TYPE_CHECKING:
    from ordersys.local.identities import Identities

FILES = (CA_FILE, CERTIFICATE_FILE, KEY_FILE)
"""The variables that name the files of `Files`, in their order."""
_MOST_TRIES = 3  # to find ports that nobody takes before the nodes do; the second try hardly ever fails


class Broker:
    """The broker. A private one does not run until `prepare` and `boot`."""

    def __init__(self, folder: Path, choices: Choices) -> None:
        """`folder` is that of the system. Raises ValueError when the URL among the choices is none."""
        self._folder, self._choices = folder, choices
        self._given: BrokerUrls = () if choices.amqp_url is None else urls.parse(choices.amqp_url)
        self._security: BrokerSecurity | None = None
        self._cluster: Cluster | None = None
        self._declaring: Declaring | None = None

    @property
    def is_private(self) -> bool:
        """True for one that belongs to this system alone."""
        return self._choices.amqp_url is None

    @property
    def nodes(self) -> Sequence[Node]:
        """Those of a private one."""
        return self._cluster.nodes if self._cluster is not None else ()

    @property
    def url(self) -> str:
        """Its URLs, as services have them. That of somebody else's may hold a password."""
        return self._cluster.url if self._cluster is not None else self._choices.amqp_url or ""

    @property
    def url_of_declarer(self) -> str:
        """Its URLs for the user that may declare; those of somebody else's as they were given."""
        return self._cluster.url_of_declarer if self._cluster is not None else self.url

    @property
    def urls(self) -> BrokerUrls:
        """Its URLs, fit to be used and shown: of a private one for the user that may declare."""
        return self._given if self._cluster is None else urls.parse(self.url_of_declarer)

    @property
    def refusal(self) -> str:
        """The reason for which a declaration is refused, which only a person can change; empty where none is."""
        return "" if self._declaring is None else self._declaring.refusal

    def identify(self, identities: "Identities | None") -> None:
        """Has the URL of somebody else's know its files: those of the declarer, if there are identities.

        Raises CannotStart.
        """
        self._security = None if identities is None else BrokerSecurity(identities.layout)
        given = {**os.environ, **self._choices.settings}
        try:
            read = settings.read(Settings, {name: given[name] for name in FILES if name in given})
            files = Files(read.amqp_ca_file, read.tls_certificate_file, read.tls_key_file)
            if self._security is not None:
                files = self._security.declarer._replace(authorities=files.authorities)
            self._given = urls.identified(self._given, files)
        except settings.InvalidSetting as error:
            raise CannotStart(str(error)) from error
        except ValueError as error:
            raise CannotStart(f"--amqp-url {error}") from None

    def prepare(self, program: Installation | Image, guard: Guard, given: Collection[int]) -> None:
        """Makes what a private one needs to boot, at none of the ports `given` to others. Raises NotStarted, OSError.

        `program` runs its nodes.
        """
        choices = self._choices
        of_kind = USUAL_AMQP_PORT if self._security is None else USUAL_AMQPS_PORT
        usual = of_kind if choices.usual_ports and not choices.amqp_ports else None
        reserved = {*given, *(USUAL_PORTS.values() if choices.usual_ports else ())}
        # Of one kind the other could not read the data: the version is another, and paths are.
        folder = self._folder / ("rabbitmq" if isinstance(program, Installation) else "rabbitmq-container")
        wanted = Size(choices.brokers, choices.amqp_ports, reserved, usual)
        cluster = Cluster(folder, program, guard, wanted, self._security)
        cluster.prepare()
        self._cluster = cluster

    def boot(self) -> None:
        """Starts all nodes, at other ports where somebody took one since it was chosen. Raises NotStarted."""
        for tries_left in reversed(range(_MOST_TRIES)):
            try:
                self.start()
            except NotStarted:
                if not tries_left or self._cluster is None or not self._cluster.move():
                    raise
            else:
                return

    def start(self) -> None:
        """Starts the nodes that do not run, where they are, and returns when all answer. Raises NotStarted."""
        if self._cluster is not None:
            self._cluster.start()

    def stop(self) -> None:
        """Stops the nodes in good order."""
        if self._cluster is not None:
            self._cluster.stop()

    def renew(self) -> None:
        """Takes over a certificate that was renewed. Raises OSError."""
        if self._cluster is not None:
            self._cluster.renew()

    def declare(self) -> None:
        """Declares the topology of the contract. Raises BrokerUnavailable."""
        asyncio.run(declare(self.urls))

    def keep_declared(self, started: ExitStack) -> None:
        """Declares again every few seconds, until `started` ends, where services may not; elsewhere each does."""
        if self.is_private and self._security is not None:
            self._declaring = Declaring(self.urls)
            self._declaring.start()
            started.callback(self._declaring.stop)

    def check_alone(self, modules: Collection[str], ours: int) -> None:
        """Raises CannotStart where another system takes from the queues of `modules`; `ours` take from each."""
        if not self.is_private:  # a private one has no other system
            check_alone(self.urls, modules, ours)


def provided() -> tuple[Installation | Image, str]:
    """The program of a private broker, and words that tell which it is. Raises NoRabbitMQ."""
    program = provide()
    if isinstance(program, Image):
        return program, f"RabbitMQ in a container ({program.engine.name}: {program.name})"
    where = "unpacked in the cache" if program.library_path else "installed"
    return program, f"RabbitMQ {program.version} ({where}: {program.programs})"

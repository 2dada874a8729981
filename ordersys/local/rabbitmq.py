"""A private RabbitMQ node in a folder: no root, loopback only, its own Erlang cookie.

The folder is the node: stopped, killed and started again on it, it has the same queues and messages. A node runs as
processes of an installed RabbitMQ (`rabbitmq_installed`), or as a container (`rabbitmq_container`).
"""

import errno
import json
import math
import socket
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ordersys.console.opening import read_regular
from ordersys.identity.layout import BROKER
from ordersys.local import ports
from ordersys.local.child import Child, last_lines, not_started
from ordersys.local.groups import Group
from ordersys.local.guard import Guard
from ordersys.local.rabbitmq_security import PLUGINS, BrokerSecurity, opened_again
from ordersys.runtime.base.files import write_whole

_BOOT_SECONDS = 90.0
_MOST_PORT = 65_535
_POLL = 0.1
_GONE_SECONDS = 1.0  # in which the port of a server that was killed is free
_TAIL = 15  # lines of its log
_STOP_SECONDS = 30.0
_GREETING = b"AMQP\0\0\x09\x01"
_METHOD_FRAME = b"\x01"
# Of a cluster cut in two, the smaller part stops working: what it would confirm could be lost.
_OF_A_CLUSTER = """\
cluster_formation.peer_discovery_backend = classic_config
cluster_partition_handling = pause_minority
"""


class NotStarted(Exception):
    """The node did not start; the text says why, and where its log is."""


class Membership(NamedTuple):
    """The identity of a node, and what it shares with the others of its cluster."""

    name: str
    """That of its data too; a port may change."""
    port: int | None
    """The port it was given, none where any free one will do."""
    names: Sequence[str]
    cookie: str
    reserved: set[int]
    """Ports that are meant for somebody."""
    usual: int | None = None
    """The port it takes if that is free, and if it had no other before."""
    security: BrokerSecurity | None = None
    """None where everything goes in clear, and guest may do everything."""

    @property
    def configuration(self) -> str:
        """The part of its configuration about its cluster: a new node joins those before it, the first nobody."""
        if len(self.names) == 1:
            return ""
        known = self.names[: self.names.index(self.name) + 1]
        lines = (f"cluster_formation.classic_config.nodes.{n} = {name}\n" for n, name in enumerate(known, 1))
        return "".join([_OF_A_CLUSTER, *lines])


class Node(ABC):
    """A RabbitMQ node. Not running until `start`."""

    _port_count = 1
    _in_use: Sequence[str] = ()
    """Words of the log that say that a port is somebody else's."""

    def __init__(self, folder: Path, guard: Guard, membership: Membership) -> None:
        self._folder = folder
        self._guard = guard
        self._membership = membership
        self._child: Child | None = None
        self.name = membership.name
        self.port = membership.port or 0
        self.log = folder / "log" / "rabbitmq.log"
        self._ports_file = folder / "ports.json"
        self._first_start = folder / "first-start"
        """There while the node starts for the first time."""
        self._lost_port = False
        self._answered = False
        self._has_to_answer_by = math.inf
        self._ports: Sequence[int] = ()
        """The first is for clients; none before it was prepared."""

    @property
    def url(self) -> str:
        """Its URL: of the user every RabbitMQ has on loopback, or, where it is secured, of the one in a certificate."""
        if self._membership.security is not None:
            return self._membership.security.url(self.port)
        return f"amqp://guest:guest@{ports.LOOPBACK}:{self.port}/%2F"

    @property
    def running(self) -> bool:
        """True while its server runs."""
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int | None:
        """The process that leads its server's group, None while it does not run."""
        return self._child.pid if self._child is not None and self._child.running else None

    @property
    def group(self) -> Group | None:
        """Its server's process group, None before it was launched."""
        return None if self._child is None else self._child.group

    @property
    def new(self) -> bool:
        """True until it was started: it has no data."""
        data = self._folder / "db"
        return not data.is_dir() or not any(data.iterdir())

    def start(self) -> None:
        """Starts the node and returns when it answers. Raises NotStarted."""
        self.launch()
        self.wait()

    @property
    def deaf(self) -> bool:
        """True for one that runs, and has not answered though it had the time: nobody will ever reach it.

        RabbitMQ goes on without its listener for TLS where somebody else has the port.
        """
        if not self.running:
            return False
        self._answered = self._answered or self._answers()
        return not self._answered and (time.monotonic() > self._has_to_answer_by or self._listens_in_vain())

    def launch(self) -> None:
        """Starts the node; in a cluster it may need others that are started to get ready."""
        self.prepare()
        self._answered = False
        self._has_to_answer_by = time.monotonic() + _BOOT_SECONDS
        self._child = self._run()

    def relaunch(self) -> None:
        """Starts it again where its clients know it to be. Raises NotStarted; OSError while its port is in use."""
        until = time.monotonic() + _GONE_SECONDS
        while in_the_way := ports.trouble(self.port):
            if time.monotonic() > until:
                raise OSError(errno.EADDRINUSE, in_the_way, f"port {self.port}")
            time.sleep(_POLL)
        self.launch()

    @abstractmethod
    def prepare(self) -> None:
        """Makes anew whatever is missing, or of no use, of what the node needs to start. Raises OSError."""

    @abstractmethod
    def control(self, *command: str) -> str:
        """Has `rabbitmqctl` do something with the running node; what it prints. Raises CalledProcessError."""

    @abstractmethod
    def _run(self) -> Child:
        """Starts its server, once it is prepared."""

    def wait(self) -> None:
        """Returns when the node answers. Raises NotStarted."""
        while not self._answers():
            if not (running := self.running) or self.deaf:
                in_vain = self._listens_in_vain()
                self.kill()
                lines = last_lines(self.log)[-_TAIL:]
                self._lost_port = in_vain or any(words in line for line in lines for words in self._in_use)
                raise NotStarted(not_started("RabbitMQ", self.log, lines, _BOOT_SECONDS if running else None))
            time.sleep(_POLL)
        self._first_start.unlink(missing_ok=True)

    def stop(self) -> None:
        """Stops it in good order; one that does not answer is killed: RabbitMQ's scripts can't stop it as it boots."""
        if self._child is not None:
            if self._answers():
                self._child.stop(_STOP_SECONDS)
            else:
                self._child.kill()
            self._child = None

    def kill(self) -> None:
        """Kills it at once, as a crash would."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def move(self) -> bool:
        """Chooses other ports for one that did not start since somebody took its port meanwhile; whether it was so.

        False where the port was given: whoever gave it expects it there. Erlang's word counts also where the port is
        free by now: another system that was just starting may have given it up.
        """
        lost = self._lost_port or not ports.is_free(self.port)
        if self._membership.port is not None or self.running or not lost:
            return False
        self._lost_port = False
        self._ports = ()
        return True

    def _answers(self) -> bool:
        """True where it is this node that answers: somebody else may have taken the port since it was free."""
        return self._greets() and self._child is not None and self._child.listens(self.port)

    def _listens_in_vain(self) -> bool:
        """True where its own log says that it could not listen."""
        return False

    def _greets(self) -> bool:
        """True where somebody at its port speaks AMQP, and is a broker of this system where that is secured."""
        security = self._membership.security
        try:
            return answers(self.port, context=None if security is None else security.context)
        except OSError:  # certificates that can't be read
            return False

    def renew(self) -> None:
        """Takes over a certificate that was renewed. Raises OSError."""
        if self._membership.security is not None:
            self._membership.security.renew(self._folder)

    def _secured(self, listen: str, in_clear: str, seen_as: str, version: str = "") -> str:
        """The part of its configuration about who comes in and how, once the files that it names are written.

        `listen` is where with TLS, `in_clear` the line without; `seen_as` is the folder as the node sees it.
        """
        security = self._membership.security
        write_whole(self._folder / "enabled_plugins", "[].\n" if security is None else PLUGINS)
        if security is None:
            return in_clear + opened_again(self._folder, seen_as)
        security.write(self._folder, self.new)
        return security.configuration(listen, seen_as, version)

    def _settle_ports(self) -> None:
        """Keeps those it has: clients of a node that has run know where it is."""
        self._ports = self._ports or self._choose_ports()
        self.port = self._ports[0]

    def _choose_ports(self) -> Sequence[int]:
        """Those of the last start where they are free still. Of several nodes only one starts a port mapper."""
        given, reserved, usual = self._membership.port, self._membership.reserved, self._membership.usual
        chosen = self._last_ports()
        if any(port in reserved or not ports.is_free(port) for port in chosen):
            chosen = []
        if not chosen:
            chosen = ports.free(self._port_count, reserved)
            if usual is not None and usual not in reserved and ports.is_free(usual):
                chosen[0] = usual
        if given is not None:
            chosen[0] = given
        reserved.update(chosen)
        write_whole(self._ports_file, json.dumps(chosen))
        return chosen

    def _last_ports(self) -> list[int]:
        """None where there was no start, or nothing of use is left of it."""
        try:
            recorded = json.loads(read_regular(self._ports_file))
        except (OSError, ValueError, RecursionError):
            return []
        is_ours = isinstance(recorded, list) and all(type(port) is int and 0 < port <= _MOST_PORT for port in recorded)
        return recorded if is_ours and len(set(recorded)) == len(recorded) == self._port_count else []


def answers(port: int, host: str = ports.LOOPBACK, context: ssl.SSLContext | None = None) -> bool:
    """True where somebody there speaks AMQP 0-9-1 (§4.2.2: the server answers the greeting with a method frame).

    With a `context` for TLS only somebody who is the broker by his certificate does.
    """
    try:
        with socket.create_connection((host, port), timeout=2) as connection:
            connection.settimeout(2)
            if context is None:
                return _is_answered(connection)
            with context.wrap_socket(connection, server_hostname=BROKER) as encrypted:
                return _is_answered(encrypted)
    except OSError:
        return False


def _is_answered(connection: socket.socket) -> bool:
    connection.sendall(_GREETING)
    return connection.recv(1) == _METHOD_FRAME

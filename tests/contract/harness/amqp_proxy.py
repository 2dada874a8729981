"""An AMQP proxy between services and RabbitMQ: passes everything on, and can lose, refuse or watch what passes.

What a service sees is what a broken connection or a broker in trouble would show it. One rule at a time.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from urllib.parse import urlsplit, urlunsplit

from tests.contract.harness.amqp_frames import (
    BrokerStream,
    Confirm,
    ConfirmTags,
    Delivery,
    Publication,
    ServiceStream,
    Settlement,
    nack,
    returned,
)

_CHUNK = 65_536
_ACCEPT_SECONDS = 0.1
_LOOPBACK = "127.0.0.1"
_AMQP_PORT = 5672


class Verdict(Enum):
    """The fate of a frame on its way."""

    PASS = "pass"
    LOSE = "lose"
    RETURN = "return"
    """The broker says that no queue took it. Publications only."""
    NACK = "nack"
    """The broker says that it could not keep it. Publications only."""


class Rule:
    """A verdict on each frame that passes; this one lets everything pass. Called in the threads of the connections."""

    def published(self, publication: Delivery) -> Verdict:
        """A service publishes."""
        return Verdict.PASS

    def confirmed(self) -> Verdict:
        """The broker confirms, or refuses, publications."""
        return Verdict.PASS

    def acknowledged(self, queue: str, deliveries: list[Delivery]) -> Verdict:
        """A service acknowledges what it got from a queue."""
        return Verdict.PASS


class AmqpProxy:
    """Listens until it is closed."""

    def __init__(self, url: str, listen: tuple[str, int] = (_LOOPBACK, 0)) -> None:
        parts = urlsplit(url)
        self._broker = (parts.hostname or _LOOPBACK, parts.port or _AMQP_PORT)
        self._listener = socket.create_server(listen)
        self._listener.settimeout(_ACCEPT_SECONDS)
        self._closed = threading.Event()
        self._connections: set[_Connection] = set()
        self._lock = threading.Lock()
        self._away = False
        self.rule = Rule()
        host, port = self._listener.getsockname()[:2]
        user, at, _ = parts.netloc.rpartition("@")
        self.url = urlunsplit(parts._replace(netloc=f"{user}{at}{host}:{port}"))
        """The URL at which services find it: the broker's with another address."""
        self._thread = threading.Thread(target=self._accept, name="proxy")
        self._thread.start()

    @contextmanager
    def ruled(self, rule: Rule) -> Iterator[None]:
        """Lets `rule` decide, then cuts the connections on which it lost something: that is lost for good.

        The others stay: a service that was cut off often in a short time takes its time to come back.
        """
        self.rule = rule
        try:
            yield
        finally:
            self.rule = Rule()
            for connection in self._connected():
                if connection.lossy:
                    connection.close()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Lets nobody in, as if there were no broker."""
        self._away = True
        self.cut()
        try:
            yield
        finally:
            self._away = False

    def cut(self) -> None:
        """Breaks every connection there is."""
        for connection in self._connected():
            connection.close()

    def close(self) -> None:
        """Stops listening and breaks every connection."""
        self._closed.set()
        self._thread.join()
        self._listener.close()
        self.cut()

    def _connected(self) -> list["_Connection"]:
        with self._lock:
            return list(self._connections)

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                service, _ = self._listener.accept()
            except TimeoutError:
                continue
            self._connect(service)

    def _connect(self, service: socket.socket) -> None:
        try:
            if self._away:
                raise ConnectionRefusedError
            broker = socket.create_connection(self._broker)
        except OSError:
            service.close()  # there is no broker
            return
        connection = _Connection(self, service, broker)
        with self._lock:
            self._connections.add(connection)
        connection.start(self._forget)

    def _forget(self, connection: "_Connection") -> None:
        with self._lock:
            self._connections.discard(connection)


class _Connection:
    """One connection of a service, and the one to the broker that goes with it."""

    def __init__(self, proxy: AmqpProxy, service: socket.socket, broker: socket.socket) -> None:
        self._proxy = proxy
        self._service = service
        self._broker = broker
        self._from_service = ServiceStream()
        self._from_broker = BrokerStream()
        self._tags = ConfirmTags()
        self._sending = threading.Lock()
        self._spoiled = False
        self.lossy = False
        """True once something was kept from either side."""

    def start(self, ended: Callable[["_Connection"], None]) -> None:
        """Passes on in both directions until one side ends; then says so."""
        for name, source, take in (
            ("service", self._service, self._take_from_service),
            ("broker", self._broker, self._take_from_broker),
        ):
            threading.Thread(target=self._pump, name=f"proxy {name}", args=(source, take, ended), daemon=True).start()

    def close(self) -> None:
        """Breaks it, to both sides."""
        for side in (self._service, self._broker):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it was gone already

    def _pump(
        self, source: socket.socket, take: Callable[[bytes], None], ended: Callable[["_Connection"], None]
    ) -> None:
        try:
            while chunk := source.recv(_CHUNK):
                take(chunk)
        except OSError:
            pass  # the other side is gone, or it was cut
        finally:
            self.close()
            source.close()
            ended(self)

    def _take_from_service(self, chunk: bytes) -> None:
        self._broker.sendall(b"".join(self._passing(part) for part in self._from_service.feed(chunk)))

    def _take_from_broker(self, chunk: bytes) -> None:
        parts = self._from_broker.feed(chunk)
        self._answer(b"".join(self._confirmed(part) if isinstance(part, Confirm) else part for part in parts))

    def _passing(self, part: bytes | Publication | Settlement) -> bytes:
        """The part of it that the broker gets."""
        if isinstance(part, Publication):
            return self._published(part)
        return self._settled(part) if isinstance(part, Settlement) else part

    def _published(self, publication: Publication) -> bytes:
        """A refused one may come again on the same connection. Once one was lost no other passes: as if it broke."""
        rule = self._proxy.rule
        verdict = Verdict.LOSE if self._spoiled else rule.published(publication.delivery)
        if verdict is Verdict.PASS:
            self._tags.passed(publication)
            return publication.raw
        self._tags.kept(publication)
        if verdict is Verdict.LOSE:
            self._spoiled = True
            self._lost_by(rule)
        else:
            self._answer(returned(publication) if verdict is Verdict.RETURN else nack(publication))
        return b""

    def _settled(self, settlement: Settlement) -> bytes:
        queue = self._from_service.queue(settlement.channel)
        deliveries = self._from_broker.settled(settlement)
        rule = self._proxy.rule
        if self._spoiled or rule.acknowledged(queue, deliveries) is not Verdict.PASS:
            self._spoiled = True
            self._lost_by(rule)
            return b""
        return settlement.raw

    def _confirmed(self, confirm: Confirm) -> bytes:
        rule = self._proxy.rule
        if rule.confirmed() is Verdict.PASS:
            return self._tags.translated(confirm)
        self._lost_by(rule)
        return b""

    def _lost_by(self, rule: Rule) -> None:
        """Takes note that a rule lost something; one that is over by now has cut what it knew of before."""
        self.lossy = True
        if self._proxy.rule is not rule:
            self.close()

    def _answer(self, raw: bytes) -> None:
        with self._sending:
            self._service.sendall(raw)

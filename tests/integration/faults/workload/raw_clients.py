"""Raw clients: connections to a service on which any bytes may be sent, valid or not."""

import contextlib
import random
import selectors
import socket
import ssl
import struct
import time
from collections.abc import Iterable, Mapping
from types import TracebackType

from tests import http2
from tests.integration.faults.workload.manner import Manner

_BYTES = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time: closing sends RST
_SECONDS = 1.0
_POLL = 0.1


class RawClient:
    """One connection. It says as much as the service takes: that may well have enough of it."""

    def __init__(self, peer: tuple[str, int], buffer: int | None, manner: Manner | None = None) -> None:
        self._socket = socket.socket()
        self._socket.settimeout(_SECONDS)
        self._heard = bytearray()
        self._next = 1
        self._unanswered: set[int] = set()
        self._greeted = False
        self._fields = manner.fields if manner is not None else ()
        self.connected = True
        if buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        try:
            self._socket.connect(peer)
            if manner is not None:
                self._socket = manner.tls.wrap_socket(self._socket, server_hostname=peer[0])
        except OSError:
            self.connected = False

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    def say(self, octets: bytes) -> None:
        """Says it."""
        with contextlib.suppress(OSError):
            self._socket.sendall(octets)

    def greet(self, settings: Mapping[int, int] | None = None) -> "RawClient":
        """Begins as HTTP/2 wants it."""
        self._greeted = True
        self.say(http2.greeting(settings or {}))
        return self

    def call(self, path: str, more: Iterable[tuple[str, str]] = (), flags: int = http2.END_HEADERS) -> int:
        """Begins a call, whose stream it is."""
        stream, self._next = self._next, self._next + 2
        self._unanswered.add(stream)
        self.say(http2.headers(stream, path, [*self._fields, *more], flags))
        return stream

    def leave(self, rudely: bool = False) -> None:
        """Closes the connection, or breaks it off."""
        if rudely:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._socket.close()

    def hear(self) -> bool:
        """Takes what comes; whether there is still something the service has to end: a call, or all that is said."""
        try:
            octets = self._received()
        except ssl.SSLWantReadError:  # a record that is not there as a whole, or has none of what is said in it
            return True
        except OSError:
            return False
        self._heard += octets
        for frame in http2.frames(self._heard):
            if self._greeted:
                self.say(http2.answer_to(frame))
            if frame.ends:
                self._unanswered.discard(frame.stream)
        return bool(octets) and (self._next == 1 or bool(self._unanswered))

    def _received(self) -> bytes:
        """As much as there is. Of an encrypted connection that may be nothing, although something came."""
        if not isinstance(self._socket, ssl.SSLSocket):
            return self._socket.recv(_BYTES)
        self._socket.settimeout(0)
        try:
            octets = self._socket.recv(_BYTES)
            while self._socket.pending():
                octets += self._socket.recv(self._socket.pending())
            return octets
        finally:
            self._socket.settimeout(_SECONDS)


class RawClients:
    """Connections to one address: a context manager that closes them."""

    def __init__(self, address: str, dice: random.Random, manner: Manner | None = None) -> None:
        """They speak in that manner, where one is given, else in clear and as nobody."""
        host, _, port = address.rpartition(":")
        self._peer = (host, int(port))
        self._boors: list[RawClient] = []
        self._manner = manner
        self.dice = dice

    def __enter__(self) -> "RawClients":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for client in self._boors:
            client.leave()

    def connect(self, buffer: int | None = None) -> RawClient:
        """One more, with so small a buffer for what it hears, when given."""
        client = RawClient(self._peer, buffer, self._manner)
        self._boors.append(client)
        return client

    def borne_after(self, seconds: float) -> int:
        """The number of connections that the service has not ended in that time."""
        until = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            for client in self._boors:
                if client.connected and client.fileno() >= 0:
                    selector.register(client, selectors.EVENT_READ)
            while selector.get_map() and time.monotonic() < until:
                for key, _ in selector.select(_POLL):
                    client = key.fileobj  # type: ignore[assignment]
                    if not client.hear():
                        selector.unregister(client)
            return len(selector.get_map())

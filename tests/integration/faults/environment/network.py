"""A TCP link between two processes: everything passes through here, under the condition it is given."""

import contextlib
import socket
import struct
import threading
import time

_CHUNK = 65_536
_ACCEPT_SECONDS = 0.1
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time: closing sends RST
LOOPBACK = "127.0.0.1"
_COMMITTED = b"C\0\0\0\x0bCOMMIT\0"  # CommandComplete of the protocol


class Condition:
    """The condition of a link: what happens to bytes on their way; here they pass."""

    def connects(self) -> bool:
        """True if a new connection comes about."""
        return True

    def there(self, chunk: bytes) -> list[bytes]:
        """The pieces that arrive of a chunk sent to the server."""
        return [chunk]

    def back(self, chunk: bytes) -> list[bytes]:
        """The pieces that arrive of its answer."""
        return [chunk]


class Away(Condition):
    """Nobody is reached."""

    def connects(self) -> bool:
        return False


class HalfOpen(Condition):
    """Everything stays open, and nothing arrives."""

    def there(self, chunk: bytes) -> list[bytes]:
        return []

    def back(self, chunk: bytes) -> list[bytes]:
        return []


class RepliesLost(Condition):
    """The request goes through, the reply does not."""

    def back(self, chunk: bytes) -> list[bytes]:
        return []


class RequestsLost(Condition):
    """Nothing goes through any more; what was asked before is answered."""

    def there(self, chunk: bytes) -> list[bytes]:
        return []


class CommitRepliesLost(Condition):
    """PostgreSQL has committed; its answer is lost, with the connection or, `silently`, with all that comes after."""

    def __init__(self, silently: bool) -> None:
        self.lost = 0
        """The number of answers lost."""
        self._silently = silently

    def back(self, chunk: bytes) -> list[bytes]:
        if _COMMITTED not in chunk:
            return [] if self._silently and self.lost else [chunk]
        self.lost += 1
        if not self._silently:
            raise ConnectionResetError
        return []


class Slow(Condition):
    """Everything takes its time, in both directions."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def there(self, chunk: bytes) -> list[bytes]:
        time.sleep(self._seconds)
        return [chunk]

    back = there


class Dribble(Condition):
    """One byte at a time."""

    def there(self, chunk: bytes) -> list[bytes]:
        return [chunk[at : at + 1] for at in range(len(chunk))]

    back = there


class Link:
    """Listens on `port` and passes on to the port `target`, until it is closed."""

    def __init__(self, name: str, port: int, target: int) -> None:
        self.name = name
        self.port = port
        self.condition = Condition()
        self._target = target
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._broken: set[socket.socket] = set()
        self._listener = socket.create_server((LOOPBACK, port))
        self._listener.settimeout(_ACCEPT_SECONDS)
        self._thread = threading.Thread(target=self._accept, name=name)
        self._thread.start()

    @property
    def used(self) -> int:
        """The number of connections that pass through it."""
        with self._lock:
            return len(self._sockets) // 2

    def reset(self) -> None:
        """Breaks every connection there is, with RST to both sides."""
        with self._lock:
            sockets = list(self._sockets)
            self._broken.update(sockets)
        for side in sockets:
            with contextlib.suppress(OSError):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                side.shutdown(socket.SHUT_RD)

    def clear(self) -> None:
        """The normal condition again, on new connections: what was lost is lost for good."""
        bad, self.condition = self.condition, Condition()
        if type(bad) is not Condition:
            self.reset()

    def close(self) -> None:
        """Stops listening and breaks every connection."""
        self._closed.set()
        self._thread.join()
        self._listener.close()
        self.reset()

    def _accept(self) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(OSError):  # nobody came, or nobody is there
                self._connect(self._listener.accept()[0])

    def _connect(self, client: socket.socket) -> None:
        try:
            if not self.condition.connects():
                raise ConnectionRefusedError
            server = socket.create_connection((LOOPBACK, self._target))
        except OSError:
            client.close()
            return
        with self._lock:
            self._sockets |= {client, server}
        for name, source, sink in (("there", client, server), ("back", server, client)):
            source.settimeout(None)
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pump, name=name, args=(name, source, sink), daemon=True).start()

    def _pump(self, direction: str, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(_CHUNK):
                for piece in getattr(self.condition, direction)(chunk):
                    sink.sendall(piece)
        with self._lock:
            broken = source in self._broken
            self._sockets.discard(source)
            self._broken.discard(source)
        for side in () if broken else (source, sink):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
        source.close()

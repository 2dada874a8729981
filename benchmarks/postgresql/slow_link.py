"""A TCP link that delays what passes it, a process of its own: `python -m benchmarks.postgresql.slow_link PORT TARGET`.

Each chunk goes on so long after it has come, whatever else is on its way: a delay as of a distance, not of a narrow
line. Threads that sleep are precise to some 0.1 ms; an event loop would round to its clock.
"""

import socket
import sys
import threading
import time
from contextlib import suppress
from queue import SimpleQueue

from benchmarks.children import answer_all
from ordersys.local.ports import LOOPBACK

_CHUNK = 65_536


class SlowLink:
    """Listens on `port` and passes on to the port `target`, for as long as the process runs."""

    def __init__(self, port: int, target: int) -> None:
        self._target = target
        self._seconds = 0.0
        self._listener = socket.create_server((LOOPBACK, port))
        threading.Thread(target=self._accept, daemon=True).start()

    def answer(self, seconds: float) -> bool:
        """Delays each way by so much from now on."""
        self._seconds = seconds
        return True

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            try:
                server = socket.create_connection((LOOPBACK, self._target))
            except OSError:
                client.close()
                continue
            for source, sink in ((client, server), (server, client)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                passing: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
                threading.Thread(target=self._take, args=(source, passing), daemon=True).start()
                threading.Thread(target=_pass_on, args=(passing, sink), daemon=True).start()

    def _take(self, source: socket.socket, passing: "SimpleQueue[tuple[float, bytes]]") -> None:
        chunk = b"-"
        while chunk:
            try:
                chunk = source.recv(_CHUNK)
            except OSError:
                chunk = b""
            passing.put((time.perf_counter() + self._seconds, chunk))


def _pass_on(passing: "SimpleQueue[tuple[float, bytes]]", sink: socket.socket) -> None:
    """Until the other side has said all: nothing more is said to this one then."""
    while True:
        due, chunk = passing.get()
        if (wait := due - time.perf_counter()) > 0:
            time.sleep(wait)
        try:
            if not chunk:
                sink.shutdown(socket.SHUT_WR)
                return
            sink.sendall(chunk)
        except OSError:
            with suppress(OSError):
                sink.close()
            return


if __name__ == "__main__":
    answer_all(SlowLink(*map(int, sys.argv[1:])).answer)

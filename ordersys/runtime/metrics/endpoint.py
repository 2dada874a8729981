"""The HTTP server that answers who reads metrics. Imported only where there is one: its libraries take a megabyte."""

import logging
import socket
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Lock
from typing import Any

from ordersys.runtime.metrics.instruments import Binder

PATH = "/metrics"
_log = logging.getLogger(__name__)
_MOST_CLIENTS = 8  # at a time; Prometheus is one, or two
_SILENT_SECONDS = 5.0  # of a client that sends nothing or reads nothing
_SOON = 0.5  # in which there is room again when somebody was hung up on


class Server(ThreadingHTTPServer):
    """A thread for each of a few clients. When there are more, who has not asked for longest is hung up on."""

    daemon_threads = True
    request_queue_size = 2 * _MOST_CLIENTS
    block_on_close = False  # who reads slowly does not keep the process from ending

    def __init__(self, family: int, place: Any, binder: Binder) -> None:
        self.address_family = family
        self.binder = binder
        self._room = BoundedSemaphore(_MOST_CLIENTS)
        self._silent: dict[socket.socket, None] = {}
        self._silent_lock = Lock()
        super().__init__(place, _Handler)

    def end(self) -> None:
        """Listens no more."""
        self.shutdown()
        self.server_close()

    def server_bind(self) -> None:
        """Binds, without the name of the machine, which the base class would ask the network for."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hangs up where too many are being answered."""
        if not self._room.acquire(blocking=False) and not (
            self._hang_up_on_one() and self._room.acquire(timeout=_SOON)
        ):
            self.shutdown_request(request)
            return
        with self._silent_lock:
            self._silent[request] = None
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers a client."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.asks(request)
            self._room.release()

    def asks(self, request: socket.socket) -> None:
        """Notes that a client has asked: it is not hung up on any more."""
        with self._silent_lock:
            self._silent.pop(request, None)

    def _hang_up_on_one(self) -> bool:
        """True where there was somebody who has not asked yet."""
        with self._silent_lock:
            first = next(iter(self._silent), None)
            if first is None:
                return False
            del self._silent[first]
            with suppress(OSError):  # it has gone by itself
                first.shutdown(socket.SHUT_RDWR)
            return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says what went wrong where somebody looks for it; a client that hangs up is no error."""
        _log.debug("a scrape of metrics failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD of one path; one request a connection (HTTP/1.0)."""

    server: Server
    timeout = _SILENT_SECONDS
    server_version, sys_version = "ordersys", ""

    def parse_request(self) -> bool:
        """Reads the rest of what a client asks."""
        is_whole = super().parse_request()
        self.server.asks(self.connection)
        return is_whole

    def do_GET(self) -> None:
        """Answers with the metrics."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answers with what GET would say of them."""
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        if self.path.partition("?")[0] != PATH:
            self.send_error(404, explain=f"metrics are at {PATH}")
            return
        content_type, body = self.server.binder.exposed(self.headers.get("Accept", ""))
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class has that name
        """Says nothing: a scrape every few seconds is no news."""

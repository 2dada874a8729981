"""A collector of traces that takes all spans and keeps none: `python -m benchmarks.collector`.

Requests are lines of JSON.
"""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from benchmarks.children import answer_all
from ordersys.local.ports import LOOPBACK


class _Taken(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class Answers:
    """Serves the requests of the benchmark about the collector."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer((LOOPBACK, 0), _Taken)
        Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, do: str) -> Any:
        """Calls the method named `do`; its result."""
        return getattr(self, do)()

    def endpoint(self) -> str:
        """The endpoint, as OTEL_EXPORTER_OTLP_ENDPOINT has it."""
        return f"http://{LOOPBACK}:{self._server.server_port}"


if __name__ == "__main__":
    answer_all(Answers().answer)

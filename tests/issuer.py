"""An issuer of tokens outside the system: a server of https on this machine that publishes keys as it is told."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ordersys.identity import issuing


def key_set(*keys: Mapping[str, object]) -> bytes:
    """A key set, as it is published."""
    return json.dumps({"keys": keys}).encode()


@dataclass
class Answer:
    """The answer of the issuer to each request, until it is told another."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[], object] = lambda: None
    pause: float = 0
    """Seconds before each octet of the body."""
    head: bytes = b""
    """Sent instead of any other, with the same pauses."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Says nothing of a client that goes away, or that trusts nobody here."""


class Issuer:
    """A server of https on this machine that publishes keys, and counts who asks."""

    def __init__(self, folder: Path, answer: Answer) -> None:
        self.answer = answer
        self.paths: list[str] = []
        self._goes_on = threading.Event()
        self.ca_file = folder / "ca.pem"
        key = issuing.new_key()
        self.authority = issuing.Pair(issuing.authority(key, datetime.now(UTC)), key)
        self.ca_file.write_bytes(issuing.certificate_pem(self.authority.certificate))
        self._folder = folder
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certify(self.authority)
        self._server.socket = self.context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )

    @property
    def port(self) -> int:
        """The port it listens on, of 127.0.0.1."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The URL of its keys."""
        return f"https://localhost:{self.port}/keys"

    def held(self) -> None:
        """Holds an answer until `let_go`, a minute at most."""
        self._goes_on.wait(60)

    def let_go(self) -> None:
        """Gives the answers that are held."""
        self._goes_on.set()

    def certify(self, authority: issuing.Pair, now: datetime | None = None) -> None:
        """Shows a new certificate of this authority from the next connection on."""
        self.show(issuing.leaf(authority, "order-service", now or datetime.now(UTC), 1))

    def show(self, pair: issuing.Pair) -> None:
        """Shows this certificate from the next connection on."""
        file = self._folder / "server.pem"
        file.write_bytes(issuing.certificate_pem(pair.certificate) + issuing.key_pem(pair.key))
        self.context.load_cert_chain(file)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.paths.append(self.path)
                answer = issuer.answer
                answer.before()
                if answer.head:
                    self._drip(answer.head, answer.pause)
                    return
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if answer.pause:
                    self._drip(answer.body, answer.pause)
                else:
                    self.wfile.write(answer.body)

            def _drip(self, octets: bytes, pause: float) -> None:
                for octet in octets:
                    threading.Event().wait(pause)
                    self.wfile.write(bytes([octet]))

            def log_message(self, *arguments: object) -> None:
                """Nothing."""

        return Handler

    @contextmanager
    def running(self) -> Iterator["Issuer"]:
        """Answers until the context is left."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

"""Metrics as the page and the terminal fetch them: what is too long, or never ends, is given up."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ordersys.live.scraping import scraped

SECONDS = 0.5


@contextmanager
def serving(part: bytes, times: int, pause: float) -> Iterator[str]:
    """The address of a server that answers with a part, so many times, and a pause behind each."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answers."""
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                for _ in range(times):
                    self.wfile.write(part)
                    time.sleep(pause)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def test_metrics_are_read_whole() -> None:
    """However many parts they come in."""
    with serving(b'rpc_server_call_duration_seconds_count{rpc_method="a/B"} 1\n', 2000, 0.0) as address:
        assert scraped(address, 30.0).calls == {"a/B": 2000.0}


def test_what_is_too_long_is_given_up() -> None:
    """A process that hangs in its metrics fills no memory of others."""
    with serving(b"x" * 1_000_000, 10, 0.0) as address, pytest.raises(ValueError, match="more than"):
        scraped(address, 30.0)


def test_what_dribbles_is_given_up_in_time() -> None:
    """Though each part comes in time."""
    with serving(b"x", 1000, SECONDS / 5) as address, pytest.raises(TimeoutError):
        scraped(address, SECONDS)


def test_nobody_there_is_an_error_of_the_system() -> None:
    """The caller takes it for a process that is away."""
    with pytest.raises(OSError, match="refused"):
        scraped("127.0.0.1:1", SECONDS)

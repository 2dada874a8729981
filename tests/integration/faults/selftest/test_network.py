"""A link is the network it says it is: what faults are made of is tried on an echo first."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from ordersys.local import ports
from tests.integration.faults.environment.network import (
    LOOPBACK,
    Away,
    CommitRepliesLost,
    Dribble,
    HalfOpen,
    Link,
    RepliesLost,
    Slow,
)

_SECONDS = 5.0
_BRIEFLY = 0.2
_SENT = b"hello"


class Echo:
    """Answers what it is told, and remembers it."""

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = int(self._listener.getsockname()[1])
        self.closed = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Takes no more connections."""
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with closing(client):
            try:
                while chunk := client.recv(1024):
                    self.closed.set()
                    client.sendall(chunk)
            except OSError:
                return


@pytest.fixture
def echo() -> Iterator[Echo]:
    """Somebody to talk to."""
    with closing(Echo()) as echo_server:
        yield echo_server


@pytest.fixture
def link(echo: Echo) -> Iterator[Link]:
    """The way there."""
    with closing(Link("test", ports.free(1)[0], echo.port)) as new_link:
        yield new_link


def connect(link: Link) -> socket.socket:
    """A connection through the link."""
    return socket.create_connection((LOOPBACK, link.port), timeout=_SECONDS)


def said(connection: socket.socket) -> bytes:
    """The echo of a word."""
    connection.sendall(_SENT)
    answer = b""
    while len(answer) < len(_SENT) and (chunk := connection.recv(1024)):
        answer += chunk
    return answer


def test_good_weather_passes_everything(link: Link) -> None:
    """In both directions."""
    with connect(link) as connection:
        assert said(connection) == _SENT


@pytest.mark.parametrize("condition", [Dribble(), Slow(0.01)], ids=["one byte at a time", "slow"])
def test_hard_weather_passes_everything_in_the_end(link: Link, condition: Dribble | Slow) -> None:
    """Nothing is lost on the way."""
    link.condition = condition
    with connect(link) as connection:
        assert said(connection) == _SENT


def test_a_lost_reply_is_one_to_a_request_that_went_through(link: Link, echo: Echo) -> None:
    """The other side has heard it."""
    link.condition = RepliesLost()
    with connect(link) as connection:
        connection.sendall(_SENT)
        assert echo.closed.wait(_SECONDS)
        connection.settimeout(_BRIEFLY)
        with pytest.raises(TimeoutError):
            connection.recv(1)


@pytest.mark.parametrize("silently", [True, False])
def test_the_reply_to_a_commit_is_lost_and_others_are_not(link: Link, echo: Echo, silently: bool) -> None:
    """With the connection, or without a word; the server has done it either way."""
    link.condition = condition = CommitRepliesLost(silently)
    with connect(link) as connection:
        connection.sendall(b"C\0\0\0\x0aBEGIN\0")
        assert connection.recv(100)
        connection.sendall(b"C\0\0\0\x0bCOMMIT\0")
        connection.settimeout(_BRIEFLY)
        if silently:
            with pytest.raises(TimeoutError):
                connection.recv(1)
        else:
            connection.settimeout(_SECONDS)
            assert connection.recv(1) == b""
    assert condition.lost == 1


def test_on_a_half_open_connection_nothing_arrives(link: Link, echo: Echo) -> None:
    """And nobody is told."""
    with connect(link) as connection:
        link.condition = HalfOpen()
        connection.sendall(_SENT)
        assert not echo.closed.wait(_BRIEFLY)


def test_a_reset_is_seen_by_the_client(link: Link) -> None:
    """Not an orderly end."""
    with connect(link) as connection:
        assert said(connection) == _SENT
        link.reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_after_bad_weather_new_connections_are_good(link: Link) -> None:
    """And the old ones are gone, with all that was lost on them."""
    with connect(link) as old:
        assert said(old) == _SENT
        link.condition = HalfOpen()
        link.clear()
        with pytest.raises(ConnectionResetError):
            old.recv(1)
    with connect(link) as connection:
        assert said(connection) == _SENT


def test_nobody_is_reached_who_is_away(link: Link) -> None:
    """The connection ends at once."""
    link.condition = Away()
    with connect(link) as connection:
        assert connection.recv(1) == b""

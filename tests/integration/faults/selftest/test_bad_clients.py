"""What a crowd says and hears, at a server that does not put an end to anything, and at one that does."""

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.faults.checkers.observations import Kind
from tests.integration.faults.faults.bad_clients import unended
from tests.integration.faults.workload import http2
from tests.integration.faults.workload.raw_clients import Crowd

_SOON = 0.3
_CONNECTIONS = 3


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def crowd(listening: socket.socket) -> Iterator[Crowd]:
    with Crowd("{}:{}".format(*listening.getsockname()), random.Random(1)) as crowd:
        yield crowd


def serve(listening: socket.socket, said: bytes, kept: ExitStack) -> None:
    """Says this to each of them; nothing, and the connection is closed."""
    for _ in range(_CONNECTIONS):
        connection, _ = listening.accept()
        connection.recv(1000)
        connection.sendall(said)
        if said:
            kept.enter_context(connection)
        else:
            connection.close()


def test_a_service_that_bears_everything_is_found_out(crowd: Crowd) -> None:
    """Connections that say nothing, and calls that are never answered."""
    for _ in range(_CONNECTIONS - 1):
        crowd.connect()
    crowd.connect().greet().call("/a/b")
    borne = crowd.borne_after(_SOON)
    assert borne == _CONNECTIONS
    assert [found.kind for found in unended(borne)] == [Kind.UNRECOVERED]


@pytest.mark.parametrize("said", [b"", http2.frame(http2.RST_STREAM, 0, 1, b"\0\0\0\1")], ids=["closed", "reset"])
def test_what_is_ended_is_borne_no_more(listening: socket.socket, crowd: Crowd, said: bytes) -> None:
    """The connection, or each of its calls."""
    for _ in range(_CONNECTIONS):
        crowd.connect().greet().call("/a/b")
    with ExitStack() as kept:
        serving = threading.Thread(target=serve, args=(listening, said, kept))
        serving.start()
        assert crowd.borne_after(10) == 0
        serving.join()
    assert list(unended(0)) == []

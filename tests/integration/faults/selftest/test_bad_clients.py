"""Raw clients at a server that does not put an end to anything, and at one that does."""

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests import http2
from tests.integration.faults.checkers.observations import Kind
from tests.integration.faults.faults.bad_clients import unended
from tests.integration.faults.workload.raw_clients import RawClients

_SOON = 0.3
_CONNECTIONS = 3


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def raw_clients(listening: socket.socket) -> Iterator[RawClients]:
    with RawClients("{}:{}".format(*listening.getsockname()), random.Random(1)) as raw_clients:
        yield raw_clients


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


def test_a_service_that_bears_everything_is_found_out(raw_clients: RawClients) -> None:
    """Connections that say nothing, and calls that are never answered."""
    for _ in range(_CONNECTIONS - 1):
        raw_clients.connect()
    raw_clients.connect().greet().call("/a/b")
    borne = raw_clients.borne_after(_SOON)
    assert borne == _CONNECTIONS
    assert [finding.kind for finding in unended(borne)] == [Kind.UNRECOVERED]


@pytest.mark.parametrize("said", [b"", http2.frame(http2.RST_STREAM, 0, 1, b"\0\0\0\1")], ids=["closed", "reset"])
def test_what_is_ended_is_borne_no_more(listening: socket.socket, raw_clients: RawClients, said: bytes) -> None:
    """The connection, or each of its calls."""
    for _ in range(_CONNECTIONS):
        raw_clients.connect().greet().call("/a/b")
    with ExitStack() as kept:
        serving = threading.Thread(target=serve, args=(listening, said, kept))
        serving.start()
        assert raw_clients.borne_after(10) == 0
        serving.join()
    assert list(unended(0)) == []

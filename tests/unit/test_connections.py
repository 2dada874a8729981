"""The connections of this process to a port, as the system sees them."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.runtime.rpc.connections import connections, end
from ordersys.runtime.rpc.memory_guard import MemoryGuard
from tests.unit.test_server import REQUEST, serving

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="elsewhere none are seen")
_SECONDS = 20.0
_HOSTS = ["127.0.0.1", *(["::1"] if socket.has_ipv6 and Path("/proc/net/if_inet6").exists() else [])]


class Line:
    """A port of this process, and clients of it, in this process as well."""

    def __init__(self, host: str) -> None:
        self._stack = ExitStack()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = self._stack.enter_context(socket.create_server((host, 0), family=family))
        self.port = self._listening.getsockname()[1]

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """A client's socket, and the server's."""
        client = self._stack.enter_context(socket.create_connection(self._listening.getsockname()[:2], _SECONDS))
        served = self._stack.enter_context(self._listening.accept()[0])
        served.settimeout(_SECONDS)
        return client, served


@pytest.fixture(params=_HOSTS)
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    with Line(request.param) as opened:
        yield opened


def test_each_connection_is_seen_once_with_what_it_has_sent(line: Line) -> None:
    """And no other socket: neither the one that listens, nor the clients', nor those of another port."""
    some = [line.connect() for _ in range(3)]
    with Line("127.0.0.1") as other:
        other.connect()
        for number, (client, served) in enumerate(some):
            client.sendall(bytes(1000 * number + 1))
            served.recv(1, socket.MSG_PEEK)
        seen = connections(line.port)
    assert sorted(connection.received for connection in seen) == [1, 1001, 2001]
    assert {int(connection.peer.rpartition(":")[2]) for connection in seen} == {c.getsockname()[1] for c, _ in some}


def test_a_connection_that_is_ended_takes_nothing_more_and_the_others_stay(line: Line) -> None:
    """Bytes that have come and were not read are thrown away with it."""
    (bad, served), (good, spared) = line.connect(), line.connect()
    bad.sendall(b"x" * 1000)
    served.recv(1, socket.MSG_PEEK)
    ended = [connection for connection in connections(line.port) if connection.received]
    end(line.port, {connection.peer for connection in ended})
    with pytest.raises(OSError, match=r"reset|closed|Broken"):
        bad.recv(1)
    good.sendall(b"y")
    assert spared.recv(1) == b"y"
    assert [connection.received for connection in connections(line.port)] == [1]


def test_a_descriptor_that_has_become_something_else_is_left_alone(line: Line) -> None:
    """Between the look and the end of a connection its number may go to another one."""
    client, served = line.connect()
    (seen,) = connections(line.port)
    other, server_end = line.connect()
    number = served.fileno()
    os.dup2(server_end.fileno(), number)
    seen.end()
    other.sendall(b"z")
    assert server_end.recv(1) == b"z"
    assert client.recv(1) == b""  # its own end, at dup2


async def test_a_client_has_the_name_that_grpc_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name in the notes of its calls and the name of its connection are one and the same."""
    noted: list[str] = []
    monkeypatch.setattr(MemoryGuard, "account", lambda _, peer, octets: noted.append(peer))
    async with serving() as (server, channel):
        await OrderServiceStub(channel).GetOrder(REQUEST)
        seen = connections(int(server.address.rpartition(":")[2]))
        assert set(noted) == {connection.peer for connection in seen}

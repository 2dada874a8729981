"""Memory guard: the connections that are ended when a process grows, and those that stay."""

import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ordersys.runtime.rpc import memory_guard
from ordersys.runtime.rpc.connections import Connection, connections
from ordersys.runtime.rpc.memory_guard import MemoryGuard, resident_bytes
from tests.unit.test_connections import Line

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="elsewhere nothing is watched")
_MIB = 1024 * 1024
_MOST = 256 * _MIB
_MUCH, _LESS, _LITTLE = 150_000, 70_000, 10_000


class House:
    """A guard of a line, in a process that seems to have the size it is told."""

    def __init__(self, line: Line, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.line = line
        self.now = time.monotonic()
        self.has(80)
        self.guard = MemoryGuard(line.port, _MOST)

    def has(self, mib: float) -> None:
        self._patch.setattr(memory_guard, "resident_bytes", lambda: int(mib * _MIB))

    def client(self, sent: int) -> str:
        """One more client, which has sent so much: its name."""
        before = {connection.peer for connection in connections(self.line.port)}
        client, served = self.line.connect()
        served.setblocking(False)
        for _ in range(sent // 1000):
            client.sendall(bytes(1000))
            served.recv(1000)
        (name,) = {connection.peer for connection in connections(self.line.port)} - before
        return name

    def ended(self, after: float = 0.01) -> int:
        """The number of connections it ends at the next look."""
        self.now += after
        before = len(connections(self.line.port))
        self.guard._look(self.now)
        return before - len(connections(self.line.port))

    def pause(self) -> float:
        """The time it does not look after the last look."""
        return self.guard._pause(self.now, 0.0)


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(memory_guard, "free", lambda: None)
    with ExitStack() as stack:
        yield House(stack.enter_context(Line("127.0.0.1")), monkeypatch)


def test_its_own_size_is_seen_when_no_descriptor_is_left() -> None:
    """Clients may have used up all of them."""
    assert resident_bytes() > 0
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            Path("/proc/self/statm").read_bytes()
        size = resident_bytes()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert size > 0


@pytest.mark.parametrize("delay", [0.0, 0.001, 0.01, 0.02, 0.03, 0.039])
def test_a_flood_is_met_when_it_has_filled_what_is_borne(house: House, delay: float) -> None:
    """One of 200 MiB a second fills no more than comes in 10 ms besides, however long after a look it begins."""
    house.client(_MUCH)
    assert house.ended() == 0
    calm, borne, come = 80, _MOST / 16 / _MIB, 0.0
    began = house.now + delay
    while house.ended(house.pause()) == 0:
        come = 200 * max(0.0, house.now + house.pause() - began)  # by the next look
        house.has(calm + come)
    assert borne < come <= borne + 2.001


def test_it_looks_as_often_as_it_has_to(house: House) -> None:
    """Seldom while nothing comes, since it costs as much when a process is idle; often in a flood."""
    house.client(_MUCH)
    house.ended()
    calm = house.pause()
    house.has(85)
    house.ended()
    jittered_backoff = house.pause()
    house.has(120)
    assert house.ended() == 1
    assert house.pause() < jittered_backoff < calm
    house.has(80)
    house.ended(after=2)
    assert house.pause() == calm


@pytest.mark.parametrize("mib", [97, 120, 180], ids=["grown", "growing", "short"])
def test_who_sends_much_and_calls_nobody_is_sent_away_when_the_process_grows(house: House, mib: int) -> None:
    """At the next look, and nobody else."""
    house.client(_LITTLE)
    house.client(_MUCH)
    assert house.ended() == 0
    house.has(mib)
    assert house.ended() == 1


def test_the_longer_it_goes_on_the_less_is_borne(house: House) -> None:
    """Those who begin later in a flood are sent away sooner; when it is over as much is borne as before."""
    house.client(_MUCH)
    house.client(_LESS)
    house.has(120)
    assert [house.ended(), house.ended(), house.ended()] == [1, 1, 0]
    house.client(_LESS)
    house.has(80)
    assert house.ended(after=2) == 0
    house.has(120)
    assert house.ended() == 0


def test_who_calls_stays_while_memory_is_not_short(house: House) -> None:
    """The bytes a call carries count for it: held for a good reason."""
    caller = house.client(_MUCH)
    house.guard.call(caller)
    house.guard.account(caller, _MUCH)
    house.client(_MUCH)
    house.has(120)
    assert house.ended() == 1
    assert [connection.peer for connection in connections(house.line.port)] == [caller]


def test_who_calls_while_the_guard_looks_around_is_not_forgotten(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard has a thread of its own: who came behind its look at the connections is not one who has gone."""

    def seen_before_he_came(port: int) -> list[Connection]:
        seen = connections(port)
        caller = house.client(_MUCH)
        house.guard.call(caller)
        house.guard.account(caller, _MUCH)
        return seen

    with monkeypatch.context() as patch:
        patch.setattr(memory_guard, "connections", seen_before_he_came)
        assert house.ended(after=2) == -1  # one more than before
    house.has(120)
    assert house.ended() == 0


@pytest.mark.parametrize("own", [60, 110, 150])
def test_what_a_process_has_by_itself_is_not_what_clients_fill(house: House, own: int) -> None:
    """However much that is, one that has not grown since it serves sends nobody away."""
    house.has(own)
    house.guard = MemoryGuard(house.line.port, _MOST)
    house.client(_MUCH)
    house.guard.call(house.client(_MUCH))
    house.ended()
    assert (house.ended(), house.ended(after=2), house.ended()) == (0, 0, 0)
    for _ in range(3):
        house.has(own + 8)
        assert house.ended() == 0


def test_when_memory_is_short_whoever_sent_most_for_nothing_is_sent_away(house: House) -> None:
    """Also one who has called."""
    for octets in (_MUCH, 0):
        caller = house.client(_MUCH)
        house.guard.call(caller)
        house.guard.account(caller, octets)
    house.has(200)
    assert house.ended() == 1
    assert [connection.peer for connection in connections(house.line.port)] != [caller]


def test_a_process_that_has_grown_for_long_is_no_flood(house: House) -> None:
    """Memory it has had for a second is its own."""
    house.has(97)
    assert house.ended(after=2) == 0
    house.client(_MUCH)
    assert house.ended() == 0


def test_a_flood_is_told_of_once_a_second(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """And everybody who was sent away is counted."""
    for _ in range(3):
        house.client(_MUCH)
        house.has(120)
        house.ended()
    house.ended(after=2)
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 2
    assert [int(text.partition("ended ")[2].split()[0]) for text in texts] == [1, 2]

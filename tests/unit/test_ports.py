"""Ports that are chosen free stay free until somebody listens on them."""

import socket

import pytest

from ordersys.local import ports


def test_free_ports_are_different_and_can_be_listened_on() -> None:
    """At once, each."""
    chosen = ports.free(20)
    assert len(set(chosen)) == 20
    assert [port for port in chosen if not ports.is_free(port)] == []


def test_no_outgoing_connection_gets_a_port_that_was_chosen() -> None:
    """The system gives those of its ephemeral range to whoever connects; none of these is chosen."""
    assert max(ports.free(100)) < ports.ephemeral_floor()
    with socket.socket() as given:
        given.bind((ports.LOOPBACK, 0))
        assert given.getsockname()[1] >= ports.ephemeral_floor()


def test_a_port_that_is_used_or_ruled_out_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again with another; where all are taken, an error says so."""
    busy, ruled_out, free = ports.free(3)
    choices = iter([busy, ruled_out, free])
    monkeypatch.setattr("random.randrange", lambda *_: next(choices))
    with socket.socket() as listening:
        listening.bind((ports.LOOPBACK, busy))
        listening.listen()
        assert ports.free(1, besides=[ruled_out]) == [free]
        monkeypatch.setattr("random.randrange", lambda *_: busy)
        with pytest.raises(OSError, match="no 1 free ports"):
            ports.free(1)

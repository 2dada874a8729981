"""A broker that is none, or that another system uses, is named with the way out before anything runs on it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ordersys.local import ports
from tests.integration.api import Api, eventually
from tests.integration.test_local import assert_refused, folder, processes_of, start
from tests.running import addresses, local

__all__ = ["folder"]

SAYS = {
    "an HTTP server": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a gRPC server": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "an SSH server": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a TLS server": b"\x15\x03\x01\x00\x02\x02\x16",
    "AMQP 1.0": b"AMQP\x03\x01\x00\x00",
    "somebody who hangs up": b"",
}


@contextmanager
def listening(says: bytes | None) -> Iterator[int]:
    """The port of somebody who answers whatever comes with this, and hangs up; None: who says nothing."""
    over = threading.Event()
    with socket.create_server((ports.LOOPBACK, 0)) as server:

        def answer() -> None:
            while not over.is_set():
                connection, _ = server.accept()
                with connection:
                    if says is None:
                        over.wait()
                    elif connection.recv(8):
                        connection.sendall(says)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            with socket.create_connection(server.getsockname()):
                pass
            thread.join()


@pytest.mark.parametrize("who", SAYS)
def test_whoever_is_no_broker_is_named(who: str) -> None:
    """Its address, and what to give instead."""
    with listening(SAYS[who]) as port:
        done = start("--amqp-url", f"amqp://user:secret@127.0.0.1:{port}")
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"ordersys.local: 127.0.0.1:{port}/%2F: what listens there does not speak AMQP 0-9-1; name ")
    assert "amqps://" in said and "secret" not in done.stderr


@pytest.mark.parametrize("scheme", ["amqp", "amqps"])
def test_whoever_says_nothing_is_named(scheme: str) -> None:
    """It may be a RabbitMQ that hangs."""
    with listening(None) as port:
        done = start("--amqp-url", f"{scheme}://user:secret@127.0.0.1:{port}")
    assert done.returncode == 1
    assert "what listens there does not answer as RabbitMQ does" in done.stderr.splitlines()[-1]
    assert "secret" not in done.stderr


def test_whoever_speaks_no_tls_is_named() -> None:
    """With the scheme to use instead."""
    with listening(SAYS["an HTTP server"]) as port:
        done = start("--amqp-url", f"amqps://user:secret@127.0.0.1:{port}")
    assert done.returncode == 1
    assert "does not speak TLS; use amqp://" in done.stderr.splitlines()[-1]


def test_a_virtual_host_that_another_system_uses_is_refused(folder: Path, tmp_path: Path) -> None:
    """Each would hear of a part of what happens; once it has ended, and at once then, its place is free."""
    with local(folder, "--broker-only") as broker:
        url = addresses(broker)["ORDERSYS_AMQP_URL"]
        with local(tmp_path / "one", "--amqp-url", url) as first:
            with Api(addresses(first)) as api:
                done = start("--data-dir", str(tmp_path / "two"), "--amqp-url", url)
                assert done.returncode == 2, done
                said = done.stderr.splitlines()[-1]
                assert "another system runs at 127.0.0.1:" in said
                assert "stop that one, or name another virtual host with --amqp-url" in said
                assert processes_of(tmp_path / "two") == []
                order = api.place({"paper-a4": 1})
                eventually(lambda: api.heard(1, order.id))
            first.terminate()
            assert first.wait(60) == 0
        with local(tmp_path / "two", "--amqp-url", url) as two:
            assert addresses(two)
            two.terminate()
            assert two.wait(60) == 0
        broker.terminate()
        assert broker.wait(60) == 0


def test_two_systems_that_begin_at_once_do_not_share_a_virtual_host(folder: Path, tmp_path: Path) -> None:
    """One is refused at least; whichever runs is alone."""
    with local(folder, "--broker-only") as broker:
        url = addresses(broker)["ORDERSYS_AMQP_URL"]
        with (
            local(tmp_path / "one", "--amqp-url", url) as first,
            local(tmp_path / "two", "--amqp-url", url) as second,
        ):
            eventually(lambda: first.poll() is not None or second.poll() is not None, 60)
            refused = first if first.poll() is not None else second
            _, said = refused.communicate(timeout=60)
            assert refused.returncode == 2, said
            assert "another system runs at 127.0.0.1:" in said.splitlines()[-1]
        broker.terminate()
        assert broker.wait(60) == 0


def test_a_broker_is_looked_for_before_anything_is_started(tmp_path: Path) -> None:
    """No service has run."""
    with listening(b"") as port:
        start("--data-dir", str(tmp_path / "system"), "--amqp-url", f"amqp://127.0.0.1:{port}")
    assert list((tmp_path / "system" / "databases").iterdir()) == []
    assert {log.read_text() for log in (tmp_path / "system" / "log").iterdir()} == {""}
    assert_refused(start("--amqp-url", ""), "--amqp-url: must be an AMQP URL")

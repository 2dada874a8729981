"""The servers orders are held against: nothing but a hop, or a hop and a commit."""

import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from benchmarks.baselines.echo import FAR, NEAR, PATH
from benchmarks.bench import Door
from benchmarks.children import Child
from benchmarks.load import Loads
from ordersys.identity.layout import Layout
from ordersys.local import ports
from ordersys.local.guard import Guard
from ordersys.local.identities import Identities
from ordersys.runtime.base import event_loop

_CALLS = 3


def rows(database: Path) -> int:
    """Those another connection sees: what is committed."""
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM kept").fetchone()[0])


def test_before_it_answers_each_of_two_hops_has_committed_once(tmp_path: Path) -> None:
    """As often as PlaceOrder waits for; into a write-ahead log, as ours."""
    databases = [tmp_path / "near.db", tmp_path / "far.db"]
    near, far = (f"{ports.LOOPBACK}:{port}" for port in ports.free(2))
    loop = event_loop.name(event_loop.AUTO)
    with ExitStack() as stack:
        guard = stack.enter_context(closing(Guard(tmp_path)))
        for arguments in ([near], [far, "--next", near]):
            committing = ["--commit", str(databases[len(arguments) // 2])]
            child = Child(guard, tmp_path, "baselines.echo", loop, *arguments, *committing)
            stack.enter_context(closing(child)).ask()
        call: Any = stack.enter_context(grpc.insecure_channel(far)).unary_unary(PATH)
        for number in range(1, _CALLS + 1):
            assert call(b"", timeout=30) == b""
            assert [rows(database) for database in databases] == [number, number]
        assert all(database.with_name(database.name + "-wal").exists() for database in databases)
    assert [rows(database) for database in databases] == [_CALLS, _CALLS]


def secured(stack: ExitStack, folder: Path, layout: Layout) -> tuple[str, str, str]:
    """Two hops with identities: the addresses of the first, of the second, and where the second calls the first."""
    near, far, internal = (f"{ports.LOOPBACK}:{port}" for port in ports.free(3))
    loop, identity = event_loop.name(event_loop.AUTO), ("--identity", str(layout.folder))
    guard = stack.enter_context(closing(Guard(folder)))
    for arguments in (
        [near, *identity, NEAR, "--internal", internal],
        [far, *identity, FAR, "--next", internal],
    ):
        stack.enter_context(closing(Child(guard, folder, "baselines.echo", loop, *arguments))).ask()
    return near, far, internal


async def test_a_secured_baseline_is_called_as_the_system_is(tmp_path: Path) -> None:
    """The load trusts the authority, expects a name and shows a token; the hops show each other their certificates."""
    identities = Identities(tmp_path / "identity")
    with ExitStack() as stack:
        near, far, _ = secured(stack, tmp_path, identities.layout)
        for target, service in ((near, NEAR), (far, FAR)):
            door = Door(target, service, identities.of_operator)
            made = await Loads().answer(**door._asdict(), call="echo", in_flight=2, seconds=30, most=5)
            assert (made["failed"], len(made["latencies"])) == ({}, 5)
        wrong = Door(near, FAR, identities.of_operator)
        made = await Loads().answer(**wrong._asdict(), call="echo", in_flight=1, seconds=30, most=1)
        assert made["failed"] == {"UNAVAILABLE": 1}


def _in_clear(at: str, layout: Layout) -> grpc.Channel:
    return grpc.insecure_channel(at)


def _without_more(at: str, layout: Layout) -> grpc.Channel:
    """Without a token, without a certificate."""
    named = [("grpc.ssl_target_name_override", NEAR)]
    return grpc.secure_channel(at, grpc.ssl_channel_credentials(layout.ca.read_bytes()), named)


@pytest.mark.parametrize(
    ("where", "channel", "code"),
    [
        (0, _in_clear, grpc.StatusCode.UNAVAILABLE),
        (0, _without_more, grpc.StatusCode.UNAUTHENTICATED),
        (2, _in_clear, grpc.StatusCode.UNAVAILABLE),
        (2, _without_more, grpc.StatusCode.UNAVAILABLE),
    ],
)
def test_a_secured_baseline_answers_nobody_without_an_identity(
    tmp_path: Path, where: int, channel: Callable[[str, Layout], grpc.Channel], code: grpc.StatusCode
) -> None:
    """Else it would not do the work that the system is compared with."""
    layout = Identities(tmp_path / "identity").layout
    with ExitStack() as stack:
        at = secured(stack, tmp_path, layout)[where]
        call: Any = stack.enter_context(channel(at, layout)).unary_unary(PATH)
        with pytest.raises(grpc.RpcError) as refused:
            call(b"", timeout=30)
        assert refused.value.code() is code

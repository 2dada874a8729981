"""The servers orders are held against: nothing but a hop, or a hop and a commit."""

import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import grpc

from benchmarks.baselines.echo import PATH
from benchmarks.children import Child
from ordersys.local import ports
from ordersys.local.guard import Guard
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

"""An empty grpc.aio server: `python -m benchmarks.baselines.echo LOOP ADDRESS [--next ADDRESS] [--commit FILE]`.

It answers nothing with nothing. With `--next` it asks there first, so that two of them are two hops; with `--commit` it
commits a row durably before it goes on. LOOP is the event loop it runs on.
"""

import argparse
import asyncio
import sqlite3
import sys
from pathlib import Path
from typing import Any

import grpc

from benchmarks import loops
from ordersys.runtime.storage.worker import Worker

SERVICE, METHOD = "ordersys.benchmarks.Echo", "Echo"
PATH = f"/{SERVICE}/{METHOD}"
_ROW = bytes(64)


class Commits:
    """The minimal durable commit: a thread writes a small row in its own transaction, as durably as ours."""

    def __init__(self, path: Path) -> None:
        self._thread = Worker("writer")
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE kept (row BLOB)"):
            self._connection.execute(statement)

    def commit(self) -> "asyncio.Future[sqlite3.Cursor]":
        """Returns when the row is on disk."""
        return self._thread.do(self._connection.execute, "INSERT INTO kept VALUES (?)", (_ROW,))

    def close(self) -> None:
        """Ends the thread and closes the file."""
        self._thread.end()
        self._connection.close()


async def serve(address: str, following: str | None, commits: Commits | None) -> None:
    """Serves until standard input ends; prints a line when it listens."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    hop: Any = grpc.aio.insecure_channel(following).unary_unary(PATH) if following else None

    async def echo(request: bytes, context: Any) -> bytes:
        if commits is not None:
            await commits.commit()
        return request if hop is None else await hop(request)

    server.add_registered_method_handlers(SERVICE, {METHOD: grpc.unary_unary_rpc_method_handler(echo)})
    server.add_insecure_port(address)
    await server.start()
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print("{}", flush=True)
    await server.stop(0)
    if commits is not None:
        commits.close()


def main() -> None:
    """Serves as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("loop")
    parser.add_argument("address")
    parser.add_argument("--next", dest="following")
    parser.add_argument("--commit", type=Path)
    wanted = parser.parse_args()
    commits = Commits(wanted.commit) if wanted.commit else None
    loops.run(wanted.loop, serve(wanted.address, wanted.following, commits))


if __name__ == "__main__":
    main()

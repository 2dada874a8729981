"""An empty grpc.aio server: `python -m benchmarks.baselines.echo LOOP ADDRESS [--next ADDRESS] [--commit FILE]`.

It answers nothing with nothing. With `--next` it asks there first, so that two of them are two hops; with `--commit` it
commits a row durably before it goes on. LOOP is the event loop it runs on.

With `--identity FOLDER NAME` it speaks TLS with the certificate of the service NAME, and looks up the token of each
call, which it does not verify: the least that a server does whose callers have tokens. Between two hops both show their
certificates (mTLS), at the address `--internal`; no token is shown there.
"""

import argparse
import asyncio
import hashlib
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from benchmarks import loops
from ordersys.identity.layout import Layout
from ordersys.runtime.storage.worker import Worker

SERVICE, METHOD = "ordersys.benchmarks.Echo", "Echo"
PATH = f"/{SERVICE}/{METHOD}"
NEAR, FAR = "order-service", "product-service"
"""The services whose certificates they have: the last hop, and the one before it."""
_ROW = bytes(64)
Handler = Callable[[bytes, Any], Awaitable[bytes]]


class Identity(NamedTuple):
    """The certificate of a server, and the authority that it trusts."""

    layout: Layout
    name: str

    def server(self, of_services: bool) -> grpc.ServerCredentials:
        """Credentials of a port; `of_services` has clients show a certificate as well."""
        return grpc.ssl_server_credentials([self._pair], self._authority if of_services else None, of_services)

    def channel(self) -> grpc.ChannelCredentials:
        """Credentials of a client that shows its certificate."""
        return grpc.ssl_channel_credentials(self._authority, *self._pair)

    @property
    def _authority(self) -> bytes:
        return self.layout.ca.read_bytes()

    @property
    def _pair(self) -> tuple[bytes, bytes]:
        return self.layout.key(self.name).read_bytes(), self.layout.certificate(self.name).read_bytes()


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


def echo(hop: Any, commits: Commits | None) -> Handler:
    """Answers with the request, or with what `hop` answers, after a commit."""

    async def answer(request: bytes, context: Any) -> bytes:
        if commits is not None:
            await commits.commit()
        return request if hop is None else await hop(request)

    return answer


def with_token(answer: Handler) -> Handler:
    """The same for calls with a token, which is looked up by its digest: the minimum for a token seen before."""
    seen: set[bytes] = set()

    async def looked_up(request: bytes, context: Any) -> bytes:
        token = next((value for name, value in context.invocation_metadata() if name == "authorization"), "")
        if not token:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "a token is wanted")
        digest = hashlib.sha256(token.encode()).digest()
        if digest not in seen:
            seen.add(digest)
        return await answer(request, context)

    return looked_up


def _server(answer: Handler) -> grpc.aio.Server:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_registered_method_handlers(SERVICE, {METHOD: grpc.unary_unary_rpc_method_handler(answer)})
    return server


def _hop(following: str | None, identity: Identity | None) -> Any:
    if following is None:
        return None
    if identity is None:
        return grpc.aio.insecure_channel(following).unary_unary(PATH)
    named = [("grpc.ssl_target_name_override", NEAR)]
    return grpc.aio.secure_channel(following, identity.channel(), named).unary_unary(PATH)


async def serve(wanted: argparse.Namespace, identity: Identity | None, commits: Commits | None) -> None:
    """Serves until standard input ends; prints a line when it listens."""
    answer = echo(_hop(wanted.following, identity), commits)
    servers = [_server(answer if identity is None else with_token(answer))]
    if identity is None:
        servers[0].add_insecure_port(wanted.address)
    else:
        servers[0].add_secure_port(wanted.address, identity.server(of_services=False))
        if wanted.internal:
            servers.append(_server(answer))
            servers[1].add_secure_port(wanted.internal, identity.server(of_services=True))
    for server in servers:
        await server.start()
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print("{}", flush=True)
    for server in servers:
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
    parser.add_argument("--identity", nargs=2, metavar=("FOLDER", "NAME"))
    parser.add_argument("--internal")
    wanted = parser.parse_args()
    identity = Identity(Layout(Path(wanted.identity[0])), wanted.identity[1]) if wanted.identity else None
    commits = Commits(wanted.commit) if wanted.commit else None
    loops.run(wanted.loop, serve(wanted, identity, commits))


if __name__ == "__main__":
    main()

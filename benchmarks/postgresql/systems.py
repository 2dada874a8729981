"""Systems whose state is in a PostgreSQL: a server for all of them, a database for each."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from benchmarks.bench import Bench
from benchmarks.postgresql import seeding
from benchmarks.seeding import Stored
from benchmarks.systems import UNOBSERVED, Measured, virtual_host
from ordersys.local.ports import LOOPBACK
from ordersys.local.postgresql import USER, Server, url
from ordersys.local.postgresql_programs import provision
from ordersys.local.system import Choices, System


class Wanted(NamedTuple):
    """The system to be made: the processes of each service, and what is in its database before they start."""

    name: str
    stored: Stored
    replicas: int = 1
    through: int | None = None
    """The port of a link to the server, where the services reach it through one."""


@contextmanager
def server(bench: Bench) -> Iterator[Server]:
    """A PostgreSQL with its usual settings: what it answers is on disk. Raises NoPostgreSQL, ServerNotStarted."""
    made = Server(bench.folder / "postgresql", provision(), bench.guard)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@contextmanager
def sharing(bench: Bench, other: Measured, server: Server, wanted: Wanted) -> Iterator[Measured]:
    """Starts a system in a database of its own, and in a virtual host of its own on the broker of `other`."""
    server.create_database(wanted.name)
    direct = url([server], wanted.name)
    with bench.terminal.stage(f"fill {wanted.name}"):
        seeding.fill(direct, wanted.stored)
    choices = Choices(
        amqp_url=virtual_host(other.node, wanted.name),
        database_url=direct if wanted.through is None else _through(server, wanted),
        replicas=wanted.replicas,
        secure=bench.secure,
        settings=UNOBSERVED,
    )
    with System(bench.folder / wanted.name, bench.terminal.stage, choices) as system:
        yield Measured(system, wanted.stored.products, other.node, server)


def _through(server: Server, wanted: Wanted) -> str:
    return f"postgresql://{USER}:{server.password}@{LOOPBACK}:{wanted.through}/{wanted.name}"

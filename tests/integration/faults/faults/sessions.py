"""Faults of others at the same PostgreSQL: sessions terminated, all connections taken, snapshots and locks held."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress

import psycopg

from tests.integration.faults.checkers.observations import Finding
from tests.integration.faults.environment.postgresql import HARNESS
from tests.integration.faults.faults.brokers import goes_on
from tests.integration.faults.faults.fault import Act, Fault, FaultContext

_ALONE = "nobody else has sessions in a file"
_PAUSE = 0.1
_TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND application_name <> %s ORDER BY random() LIMIT %s
"""
_EVERYBODY = 1000
_MOST_CONNECTIONS = 200


def session_faults() -> Iterator[Fault]:
    """By the harness, which may do everything there."""
    yield Fault("database sessions terminated at random", _terminates, servers_only=_ALONE)
    yield Fault("database connections exhausted", _exhausts, servers_only=_ALONE)
    yield Fault("database snapshot held", _holds("SELECT count(*) FROM outbox", 3.0, 60.0), servers_only=_ALONE)
    yield Fault("database table locked", _holds("LOCK TABLE outbox", 3.0, 10.0), servers_only=_ALONE)


def _terminates(context: FaultContext) -> Sequence[Finding]:
    with closing(context.environment.servers.connect()) as connection:
        for _ in range(20 if context.quick else 100):
            connection.execute(_TERMINATE, (HARNESS, 1))
            time.sleep(_PAUSE)
    return goes_on(context.environment, "sessions were terminated")


def _exhausts(context: FaultContext) -> Sequence[Finding]:
    """All are taken, also those that services had: each has to do without, and with more as soon as there are some."""
    servers = context.environment.servers
    with closing(servers.connect()) as connection, ExitStack() as occupied:
        connection.execute(_TERMINATE, (HARNESS, _EVERYBODY))
        for _ in range(_MOST_CONNECTIONS):
            with suppress(psycopg.OperationalError):  # there is none left now
                occupied.enter_context(closing(servers.connect()))
                continue
            connection.execute(_TERMINATE, (HARNESS, 1))
        context.last(3.0, 15.0)
    return goes_on(context.environment, "there were connections again")


def _holds(statement: str, least: float, most: float) -> Act:
    """In the Order Service's tables, by a transaction that ends late."""

    def act(context: FaultContext) -> Sequence[Finding]:
        with closing(context.environment.servers.connect("order_service")) as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            connection.execute(statement)
            context.last(least, most)
        return goes_on(context.environment, "the transaction of somebody else was over")

    return act

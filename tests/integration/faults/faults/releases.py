"""Faults of changing releases: a database that is older than the service is upgraded, a newer one is refused."""

import signal
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from ordersys.local.system import SERVICES
from ordersys.runtime.base.failpoints import VARIABLE
from ordersys.runtime.process import WRONG_USE
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.environment.environment import RUN, Environment
from tests.integration.faults.environment.next_release import COLUMN
from tests.integration.faults.environment.state import file_of
from tests.integration.faults.faults.fault import Act, Fault, FaultContext

_ENDED_SECONDS = 30.0
_POLL = 0.05
_AT_ONCE = "there both releases work on one schema at once: see the rolling upgrades"
_OUR_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"


def release_faults(quick: bool) -> Iterator[Fault]:
    """Of each service; of one of them, when time is short."""
    if quick:
        name = "a newer release, and back"
        yield Fault(name, lambda context: _there_and_back(context.dice.choice(SERVICES))(context), files_only=_AT_ONCE)
    else:
        for name in SERVICES:
            yield Fault(f"a newer release of {name}, and back", _there_and_back(name), files_only=_AT_ONCE)


def _there_and_back(name: str) -> Act:
    """Tomorrow's release dies while it upgrades, then upgrades and works; today's refuses it, until it is put back."""

    def act(context: FaultContext) -> Sequence[Finding]:
        environment, next_release = context.environment, f"-m tests.integration.faults.environment.next_release {name}"
        environment.service(name).stop()
        upgrading = {RUN: next_release, VARIABLE: "schema.upgraded"}
        findings = [*_ends(environment, name, -signal.SIGKILL, "while it upgrades", upgrading)]
        environment.give(name, **{RUN: next_release})
        environment.start(name)
        environment.service(name).wait_healthy()
        context.last(0.5, 4.0)
        environment.service(name).stop()
        findings += refuses(environment, name, "is newer than")
        put_back(file_of(environment.databases, name))
        environment.start(name)
        return findings

    return act


def refuses(environment: Environment, name: str, why: str) -> Iterator[Finding]:
    """Started on a database that it can't use, it says why in one line, and leaves the file as it is, to the byte."""
    file, log = file_of(environment.databases, name), environment.service(name).log
    before, lines = file.read_bytes(), len(log.read_text().splitlines())
    yield from _ends(environment, name, WRONG_USE, f"on a database that {why}", {})
    if file.read_bytes() != before:
        yield Finding(Kind.LOST, f"{name} has changed {file.name}, which {why}")
    said = log.read_text().splitlines()[lines:]
    if len(said) != 1 or why not in said[0] or str(file) not in said[0]:
        yield Finding(Kind.UNRECOVERED, f"{name} does not say why it does not start: {said}")


def _ends(environment: Environment, name: str, status: int, when: str, variables: dict[str, str]) -> Iterator[Finding]:
    """It is started, and ends by itself with that status."""
    environment.give(name, **variables)
    environment.start(name)
    until = time.monotonic() + _ENDED_SECONDS
    while environment.service(name).running and time.monotonic() < until:
        time.sleep(_POLL)
    if (ended := environment.service(name).exit_status) != status:
        environment.kill(name)
        yield Finding(Kind.UNRECOVERED, f"{name} {when} ended with {ended}, not with {status}")


def put_back(file: Path) -> None:
    """Makes it a database of today again, of no service that runs."""
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        for (table,) in database.execute(_OUR_TABLES).fetchall():
            database.execute(f"ALTER TABLE {table} DROP COLUMN {COLUMN}")
        database.execute("UPDATE schema_version SET version = version - 1")
        database.execute("COMMIT")

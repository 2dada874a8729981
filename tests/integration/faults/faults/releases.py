"""Faults of changing releases: a database that is older than the service is upgraded, a newer one is refused.

Of a file that is; where processes share PostgreSQL they are replaced one by one, and both releases work on one schema.
"""

import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import psutil

from ordersys.local.system import SERVICES
from ordersys.runtime.base.failpoints import VARIABLE
from ordersys.runtime.process import WRONG_USE
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.environment.environment import RUN, Environment
from tests.integration.faults.environment.next_release import COLUMN
from tests.integration.faults.environment.state import file_of
from tests.integration.faults.faults.brokers import goes_on
from tests.integration.faults.faults.fault import Act, Fault, FaultContext

_NEXT_RELEASE = "-m tests.integration.faults.environment.next_release"
_ENDED_SECONDS = 30.0
_POLL = 0.05
_ONE_OWNER = "a file has one process: it is stopped, and started as the other release"
_AT_ONCE = "there both releases work on one schema at once: see the rolling upgrades"
_OUR_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"


def release_faults(quick: bool) -> Iterator[Fault]:
    """Of each service; of one of them, when time is short."""
    for name in [""] if quick else SERVICES:
        of = f" of {name}" if name else ""
        yield Fault(f"a newer release{of}, and back", _of(name, _there_and_back), files_only=_AT_ONCE)
        rolling = f"rolling upgrade{of}, and back"
        yield Fault(rolling, _of(name, _rolls), servers_only=_ONE_OWNER, locks_tables=True, replicas=2)


def _of(name: str, act_on: Callable[[str], Act]) -> Act:
    """Of that service, of any where no name is given."""
    return lambda context: act_on(name or context.dice.choice(SERVICES))(context)


def _there_and_back(name: str) -> Act:
    """Tomorrow's release dies while it upgrades, then upgrades and works; today's refuses it, until it is put back."""

    def act(context: FaultContext) -> Sequence[Finding]:
        environment, next_release = context.environment, f"{_NEXT_RELEASE} {name}"
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


def _rolls(service: str) -> Act:
    """Tomorrow's release dies, or stops, while it upgrades; another process does it, and each is replaced in its turn.

    Today's goes on beside it, and starts on the newer schema, by itself and when all go back to it.
    """

    def act(context: FaultContext) -> Sequence[Finding]:
        environment, names = context.environment, context.environment.setup.of(service)
        tomorrow = {RUN: f"{_NEXT_RELEASE} {service}"}
        version = _schema_version(environment, service)
        environment.service(names[0]).stop()
        findings = [*_loses_upgrader(context, names[0], tomorrow)]
        for replaced, name in enumerate(names[1:]):
            _replace(environment, name, **tomorrow)
            if _schema_version(environment, service) != version + 1:
                findings.append(Finding(Kind.UNRECOVERED, f"{name} of the next release did not upgrade its schema"))
            if not replaced:  # beside it, one of today's is started on the newer schema
                _replace(environment, names[0])
                findings += goes_on(environment, f"both releases of {service} were at work")
                context.last(0.5, 4.0)
        _replace(environment, names[0], **tomorrow)
        findings += goes_on(environment, f"all of {service} were upgraded")
        for name in names:
            _replace(environment, name)
        findings += goes_on(environment, f"all of {service} were of the release before again")
        environment.servers.drop_columns(service, COLUMN)
        environment.state.change(service, "UPDATE schema_version SET version = version - 1")
        return findings

    return act


def _loses_upgrader(context: FaultContext, name: str, tomorrow: dict[str, str]) -> Iterator[Finding]:
    """It holds the tables and the lock of the upgrade as it dies, or when it stops for a while before."""
    environment, stops = context.environment, context.dice.choice([True, False])
    upgrading = {**tomorrow, VARIABLE: f"schema.upgraded:1:{'stop' if stops else 'die'}"}
    if not stops:
        yield from _ends(environment, name, -signal.SIGKILL, "while it upgrades", upgrading)
        return
    environment.give(name, **upgrading)
    environment.start(name)
    process, until = psutil.Process(environment.pid(name)), time.monotonic() + _ENDED_SECONDS
    while process.status() != psutil.STATUS_STOPPED:
        if time.monotonic() > until:
            yield Finding(Kind.UNRECOVERED, f"{name} did not come to its upgrade")
            break
        time.sleep(_POLL)
    context.last(0.5, 8.0)
    environment.kill(name)


def _replace(environment: Environment, name: str, **variables: str) -> None:
    """As somebody does who replaces processes one by one: the next one waits until it is healthy."""
    environment.service(name).stop()
    environment.give(name, **variables)
    environment.start(name)
    environment.service(name).wait_healthy()


def _schema_version(environment: Environment, service: str) -> int:
    ((version,),) = environment.state.rows(service, "SELECT version FROM schema_version")
    return int(version)


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

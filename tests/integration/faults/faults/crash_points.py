"""The points at which a process may be told to die: all that are compiled in, found in the code itself."""

import ast
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import ordersys
from ordersys.local.system import SERVICES
from ordersys.runtime.base.failpoints import VARIABLE
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.environment.environment import Environment
from tests.integration.faults.environment.setup import POSTGRESQL, SQLITE
from tests.integration.faults.faults.fault import Act, Fault, FaultContext

_SOURCE = Path(ordersys.__file__).parent
_PUBLISHERS = ("order_service", "product_service")
_LISTENERS = tuple(service for service in SERVICES if service not in _PUBLISHERS)
# Who runs a module of the runtime that not everybody runs.
_RUN_BY = {"relay.py": _PUBLISHERS, "connection.py": _PUBLISHERS, "consumer.py": _LISTENERS}
_ELSEWHERE = ("schema.", "process.stopping", "dead_letters.", "restore.")
"""Passed when a database is made, upgraded or restored, a service told to stop, or dead letters are replayed: tried in
tests of their own."""
_OF_DATABASE = {SQLITE: "database.", POSTGRESQL: "postgresql."}
_ONCE = ("process.", "server.started")
_MOST_PASSES = 5
_DEATH_SECONDS = 60.0
_POLL = 0.02


class Point(NamedTuple):
    """A point by its name, and the services that pass it."""

    name: str
    services: Sequence[str]

    @property
    def passed_often(self) -> bool:
        """True when a process passes it more than once."""
        return not self.name.startswith(_ONCE)


@cache
def compiled_in() -> Sequence[Point]:
    """Every point there is, once for each call in the code."""
    return tuple(_compiled_in())


def _compiled_in() -> Iterator[Point]:
    for file in sorted(_SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "failpoint":
                (name,) = node.args
                yield Point(ast.literal_eval(name), _passed_by(file))


def in_traffic(database: str) -> list[Point]:
    """Those that are passed while the system works, with its state in such a database."""
    not_passed = (*_ELSEWHERE, *(prefix for name, prefix in _OF_DATABASE.items() if name != database))
    return [point for point in compiled_in() if not point.name.startswith(not_passed)]


def crash_faults(quick: bool, database: str) -> Iterator[Fault]:
    """When time is short each point once, those of a service in one round; else each of each in a round of its own."""
    points = in_traffic(database)
    for service in SERVICES:
        its_own = [p for index, p in enumerate(points) if p.services[index % len(p.services)] == service]
        if quick:
            yield Fault(f"crash points of {service}", crashes(service, its_own))
        else:
            everyones = [point for point in points if service in point.services]
            yield from (Fault(f"crash of {service} at {p.name}", crashes(service, [p])) for p in everyones)


def crashes(service: str, points: Sequence[Point]) -> Act:
    """Dies at each point, at the first pass and, when there is time, at a later one; each time it is started again.

    Of several processes each may die there; the first one that does is enough.
    """

    def act(context: FaultContext) -> Sequence[Finding]:
        findings = []
        for point in points:
            later = context.dice.randint(2, _MOST_PASSES) if point.passed_often else 1
            passes = [context.dice.choice([1, later])] if context.quick else [1, later]
            findings += [
                reached for number in passes if (reached := _crash(context.environment, service, point.name, number))
            ]
        begin_anew(context.environment, service)
        return findings

    return act


def _crash(environment: Environment, service: str, name: str, number: int) -> Finding | None:
    begin_anew(environment, service, **{VARIABLE: f"{name}:{number}"})
    until = time.monotonic() + _DEATH_SECONDS
    while all(environment.service(process).running for process in environment.setup.of(service)):
        if time.monotonic() > until:
            return Finding(Kind.UNRECOVERED, f"{service} did not reach {name} {number} times")
        time.sleep(_POLL)
    return None


def begin_anew(environment: Environment, service: str, **variables: str) -> None:
    """Kills all processes of a service, and starts them with these variables."""
    for process in environment.setup.of(service):
        environment.give(process, **variables)
        environment.kill(process)
        environment.start(process)


def _passed_by(file: Path) -> Sequence[str]:
    package = file.relative_to(_SOURCE).parts[0]
    if package == "notification_service":
        return _LISTENERS
    return (package,) if package in SERVICES else _RUN_BY.get(file.name, SERVICES)

"""Leftovers when everything has ended: none but sound databases are allowed."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil

from ordersys.local import ports
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.environment.environment import Environment

_KEPT = {".db", ".lock"}
_GONE_SECONDS = 30.0
_POLL = 0.1


def find(environment: Environment) -> list[Finding]:
    """Damage in closed databases; processes, sockets and files nobody needs any more."""
    texts = [*_damage(environment), *processes(environment.folder), *_sockets(environment), *_files(environment)]
    return [Finding(Kind.UNRECOVERED, text) for text in texts]


def _damage(environment: Environment) -> Iterator[str]:
    for file in sorted(environment.databases.glob("*.db")):
        with closing(sqlite3.connect(file)) as database:
            for (said,) in database.execute("PRAGMA integrity_check"):
                if said != "ok":
                    yield f"{file.name} is damaged: {said}"


def processes(folder: Path) -> list[str]:
    """The processes of an environment in that folder that do not end; those of one that broke take a while."""
    until = time.monotonic() + _GONE_SECONDS
    while (left := list(_processes(folder))) and time.monotonic() < until:
        time.sleep(_POLL)
    return left


def _processes(folder: Path) -> Iterator[str]:
    for process in psutil.process_iter(["environ", "cmdline"]):
        if str(folder) in str(process.info.values()):
            yield f"process {process.pid} is left: {process.info['cmdline']}"


def _sockets(environment: Environment) -> Iterator[str]:
    return (f"somebody still listens on port {port}" for port in environment.all_ports if not ports.is_free(port))


def _files(environment: Environment) -> Iterator[str]:
    """A database closed in good order needs no journal."""
    return (f"{file.name} is left" for file in sorted(environment.databases.iterdir()) if file.suffix not in _KEPT)

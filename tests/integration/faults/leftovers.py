"""What is left when everything has ended: nothing but sound databases."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import psutil

from ordersys.local import ports
from tests.integration.faults.facts import Finding, Kind
from tests.integration.faults.stage import Stage

_KEPT = {".db", ".lock"}


def find(stage: Stage) -> list[Finding]:
    """Damage in closed databases; processes, sockets and files nobody needs any more."""
    texts = [*_damage(stage), *_processes(stage), *_sockets(stage), *_files(stage)]
    return [Finding(Kind.UNRECOVERED, text) for text in texts]


def _damage(stage: Stage) -> Iterator[str]:
    for file in sorted(stage.databases.glob("*.db")):
        with closing(sqlite3.connect(file)) as database:
            for (said,) in database.execute("PRAGMA integrity_check"):
                if said != "ok":
                    yield f"{file.name} is damaged: {said}"


def _processes(stage: Stage) -> Iterator[str]:
    for process in psutil.process_iter(["environ", "cmdline"]):
        if str(stage.folder) in str(process.info.values()):
            yield f"process {process.pid} is left: {process.info['cmdline']}"


def _sockets(stage: Stage) -> Iterator[str]:
    return (f"somebody still listens on port {port}" for port in stage.all_ports if not ports.is_free(port))


def _files(stage: Stage) -> Iterator[str]:
    """A database closed in good order needs no journal."""
    return (f"{file.name} is left" for file in sorted(stage.databases.iterdir()) if file.suffix not in _KEPT)

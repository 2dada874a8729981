"""The state of the services as the harness reads it: SQL on their databases, whether in files or in PostgreSQL."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from tests.integration.faults.environment.postgresql import ReplicatedDatabase

_BUSY_SECONDS = 30.0


class State(Protocol):
    """The databases of all services, by the name of the service."""

    def rows(self, service: str, query: str) -> Sequence[tuple[Any, ...]]:
        """The rows of a query."""

    def change(self, service: str, statement: str) -> None:
        """Has a statement done behind the back of a service."""

    def appended(self, service: str) -> int:
        """The sequence of the last event that was ever appended to its outbox."""


class FileState:
    """That of services with a database file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def rows(self, service: str, query: str) -> Sequence[tuple[Any, ...]]:
        """See `State.rows`."""
        uri = f"file:{file_of(self._folder, service)}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as database:
            rows: Sequence[tuple[Any, ...]] = database.execute(query).fetchall()
        return rows

    def change(self, service: str, statement: str) -> None:
        """See `State.change`."""
        with closing(sqlite3.connect(file_of(self._folder, service), isolation_level=None)) as database:
            database.execute(statement)

    def appended(self, service: str) -> int:
        """See `State.appended`."""
        return _first(self.rows(service, "SELECT seq FROM sqlite_sequence WHERE name = 'outbox'"))


class ServerState:
    """That of services with a schema each in PostgreSQL; read past every link, on the primary of the moment."""

    def __init__(self, database: ReplicatedDatabase) -> None:
        self._database = database

    def rows(self, service: str, query: str) -> Sequence[tuple[Any, ...]]:
        """See `State.rows`."""
        with closing(self._database.connect(service)) as connection:
            return connection.execute(query).fetchall()

    def change(self, service: str, statement: str) -> None:
        """See `State.change`."""
        with closing(self._database.connect(service)) as connection:
            connection.execute(statement)

    def appended(self, service: str) -> int:
        """See `State.appended`."""
        return _first(self.rows(service, "SELECT last_value FROM outbox_sequence_seq WHERE is_called"))


def file_of(folder: Path, service: str) -> Path:
    """The database file of a service."""
    return folder / f"{service.removesuffix('_service').replace('_', '-')}.db"


def _first(rows: Sequence[tuple[Any, ...]]) -> int:
    return int(rows[0][0]) if rows else 0

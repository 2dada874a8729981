"""Statements prebuilt once: SQLAlchemy writes the SQL, the driver is handed it as it is.

Where a transaction is a handful of statements, building and wrapping each would cost ten times what it does. The
driver's type says which of the two databases a connection leads to; for PostgreSQL a statement is written when it is
first used there, so that whoever has no such database does not load SQLAlchemy's half for it.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, insert
from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.sql.expression import ClauseElement

Row = tuple[Any, ...]
# By place: a row is a tuple then, which costs less than a dictionary
# (docs/performance.md, "rows and events are tuples").
_DIALECT = dialect(paramstyle="qmark")
_REPEATED = "repeated"


class Statement:
    """A statement whose parameters are given by name; one of them may be a list (`expanding`)."""

    def __init__(
        self,
        clause: ClauseElement,
        columns: Sequence[str] | None = None,
        locked_by: ColumnElement[Any] | None = None,
    ) -> None:
        """The rows of a query with `locked_by` stay locked until the end of the transaction, in the order of that key.

        SQLite has one writer, and locks nothing. Two transactions that lock rows in one order never wait for each other
        in a circle.
        """
        compiled = clause.compile(dialect=_DIALECT, column_keys=columns)
        self._text = str(compiled)
        self._names: Sequence[str] = compiled.positiontup or ()  # type: ignore[attr-defined]
        binds = compiled.binds  # type: ignore[attr-defined]
        self._constant = {name: bind.value for name, bind in binds.items() if not bind.required}
        self._clause = clause
        self._columns = columns
        self._locked_by = locked_by
        self._shared_text: str | None = None

    def rows(self, connection: Connection, **parameters: Any) -> list[Row]:
        """The rows of a query; none, without asking, where a list is empty: each is that of an IN."""
        driver = driver_of(connection)
        text, mark = (self._text, "?") if isinstance(driver, sqlite3.Connection) else (self._for_postgresql(), "%s")
        values = []
        given = {**self._constant, **parameters}
        for name in self._names:
            value = given[name]
            if isinstance(value, list):
                if not value:
                    return []
                padded = _padded(value)
                # SQLAlchemy's placeholder for a list, which it would fill in at each execution. The name is not public:
                # should it change, no query with a list works, and the tests say so.
                text = text.replace(f"__[POSTCOMPILE_{name}]", ", ".join([mark] * len(padded)))
                values += padded
            else:
                values.append(value)
        rows: list[Row] = driver.execute(text, values).fetchall()
        return rows

    def put(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Does it once for each row of values, in the order of the statement's parameters."""
        if rows:
            driver = driver_of(connection)
            driver.executemany(self._text_for(driver), rows)

    def run(self, connection: Connection, each: Iterable[Mapping[str, Any]]) -> int:
        """Does it once for each; how many rows it changed, which PostgreSQL does not say within a transaction."""
        names, constant = self._names, self._constant
        values = [[given[name] for name in names] for given in ({**constant, **parameters} for parameters in each)]
        driver = driver_of(connection)
        return int(driver.executemany(self._text_for(driver), values).rowcount) if values else 0

    def _text_for(self, driver: Any) -> str:
        return self._text if isinstance(driver, sqlite3.Connection) else self._for_postgresql()

    def _for_postgresql(self) -> str:
        if self._shared_text is None:
            from sqlalchemy.dialects.postgresql import psycopg  # noqa: PLC0415 - 2.5 MB, for those who have PostgreSQL

            clause = self._clause
            if self._locked_by is not None and isinstance(clause, Select):
                clause = clause.order_by(self._locked_by).with_for_update()
            compiled = clause.compile(
                dialect=psycopg.dialect(paramstyle="format"),  # type: ignore[no-untyped-call]
                column_keys=self._columns,
            )
            if list(compiled.positiontup or ()) != list(self._names):  # type: ignore[attr-defined]
                raise AssertionError(f"the parameters of {self._text!r} have another order for PostgreSQL")
            self._shared_text = str(compiled)
        return self._shared_text


def inserting(table: Table) -> Statement:
    """Adds rows to `table`, a value for each column; a key the database counts is left to it."""
    # inline: else SQLAlchemy would ask PostgreSQL for the key of each row.
    return Statement(insert(table).inline(), [c.key for c in table.columns if c is not table.autoincrement_column])


def is_repeated(connection: Connection) -> bool:
    """True where the transaction under way was tried before: it met another one, or its commit was not answered."""
    return _REPEATED in connection.info


def set_repeated(connection: Connection, repeated: bool) -> None:
    """Notes whether the transaction that begins now was tried before."""
    if repeated:
        connection.info[_REPEATED] = True
    else:
        connection.info.pop(_REPEATED, None)


def serialise(connection: Connection, name: str) -> None:
    """Has no other transaction with this name go on beside this one, to its end. Of a single writer none ever does."""
    driver = driver_of(connection)
    if not isinstance(driver, sqlite3.Connection):
        driver.execute("SELECT pg_advisory_xact_lock(%s)", (lock_number(name),))


def lock_number(name: str) -> int:
    """The number of an advisory lock: 64 bits with a sign."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)


def driver_of(connection: Connection) -> Any:
    """The connection of sqlite3 or psycopg below one of SQLAlchemy's."""
    return connection.connection.driver_connection


def _padded(values: list[Any]) -> list[Any]:
    """As long as the next power of two, the last value again and again: so many texts of a query, and no more."""
    # sqlite3 keeps 128 compiled statements by their text (cached_statements): a text for each length of a list would
    # drive out all others.
    missing = (1 << max(0, len(values) - 1).bit_length()) - len(values)
    return values + values[-1:] * missing

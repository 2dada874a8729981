"""Statements prebuilt once: SQLAlchemy writes the SQL, the driver is handed it as it is.

Where a transaction is a handful of statements, building and wrapping each would cost ten times what it does. The
driver's type says which of the two databases a connection leads to; for PostgreSQL a statement is written when it is
first used there, so that whoever has no such database does not load SQLAlchemy's half for it.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Connection, Insert, Select, Table, insert
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.sql.expression import ClauseElement

R = TypeVar("R")
Row = tuple[Any, ...]
# By place: a row is a tuple then, which costs less than a dictionary
# (docs/performance.md, "rows and events are tuples").
_DIALECT = sqlite_dialect(paramstyle="qmark")
_REPEATED = "repeated"
_LISTED = 256  # values of a list; SQLite takes some thousand, as it was built
_PARAMETERS = 50  # of a statement; psycopg reads the text of one with more anew at each use
# Seen by every role. A reader, such as a dump, has another mode.
_WRITERS = """
    SELECT virtualtransaction FROM pg_locks
    WHERE relation = %s::regclass AND mode = 'RowExclusiveLock' AND granted
"""


class Statement:
    """A statement whose parameters are given by name; some of them may be lists (`expanding`)."""

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
        self._clause = clause
        self._columns = columns
        self._locked_by = locked_by
        self._form = _form(clause.compile(dialect=_DIALECT, column_keys=columns), "?")
        self._shared_form: _Form | None = None

    def rows(self, connection: Connection, **parameters: Any) -> list[Row]:
        """The rows of a query; none, without asking, where a list is empty: each is that of an IN."""
        return self.ask(connection, **parameters)()

    def ask(self, connection: Connection, **parameters: Any) -> Callable[[], list[Row]]:
        """Asks for the rows of a query, and returns what waits for them: several questions share a round trip.

        A server answers them in the order they were asked, each from what was committed by its turn.
        """
        driver = driver_of(connection)
        form = self._form_for(driver)
        text = form.text
        values = []
        given = {**form.constant, **parameters}
        for name in form.names:
            value = given[name]
            if isinstance(value, list):
                if not value:
                    return list
                padded = _padded(value)
                # SQLAlchemy's placeholder for a list, which it would fill in at each execution. The name is not public:
                # should it change, no query with a list works, and the tests say so.
                text = text.replace(f"__[POSTCOMPILE_{name}]", ", ".join([form.mark] * len(padded)))
                values += padded
            else:
                values.append(value)
        fetched: Callable[[], list[Row]] = driver.execute(text, values).fetchall
        return fetched

    def do(self, connection: Connection, **lists: list[Any]) -> None:
        """Does it for all of a list, or of several in step, some hundred at a time; of empty ones not at all."""
        for several in _in_powers_of_two(list(zip(*lists.values(), strict=True)), _LISTED):
            parts = map(list, zip(*several, strict=True))
            self.ask(connection, **dict(zip(lists, parts, strict=True)))

    def put(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Does it once for each row of values, in the order of the statement's parameters."""
        driver = driver_of(connection)
        form = self._form_for(driver)
        if form.row:
            for several in _in_powers_of_two(rows, max(1, _PARAMETERS // len(form.names))):
                text = form.text + f", {form.row}" * (len(several) - 1)
                driver.execute(text, [value for row in several for value in row])
        elif rows:
            driver.executemany(form.text, rows)

    def run(self, connection: Connection, each: Iterable[Mapping[str, Any]]) -> int:
        """Does it once for each; how many rows it changed, which PostgreSQL does not say within a transaction."""
        driver = driver_of(connection)
        form = self._form_for(driver)
        values = [[given[name] for name in form.names] for given in ({**form.constant, **each_} for each_ in each)]
        return int(driver.executemany(form.text, values).rowcount) if values else 0

    def _form_for(self, driver: Any) -> "_Form":
        if isinstance(driver, sqlite3.Connection):
            return self._form
        if self._shared_form is None:
            self._shared_form = self._for_postgresql()
        return self._shared_form

    def _for_postgresql(self) -> "_Form":
        from sqlalchemy.dialects.postgresql import psycopg  # noqa: PLC0415 - 2.5 MB, for those who have PostgreSQL

        clause = self._clause
        if self._locked_by is not None and isinstance(clause, Select):
            clause = clause.order_by(self._locked_by).with_for_update()
        dialect = psycopg.dialect(paramstyle="format")  # type: ignore[no-untyped-call]
        form = _form(clause.compile(dialect=dialect, column_keys=self._columns), "%s")
        return form._replace(row=form.text.partition(" VALUES ")[2]) if isinstance(clause, Insert) else form


class _Form(NamedTuple):
    """A statement as a driver takes it."""

    text: str
    names: Sequence[str]
    """Its parameters, in their order."""
    constant: Mapping[str, Any]
    """Those it sets itself."""
    mark: str
    """The sign in the place of a parameter."""
    row: str = ""
    """A row of values, of a statement that may be given several: each of its own costs a driver more than it does."""


def _form(compiled: Any, mark: str) -> _Form:
    constant = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
    return _Form(str(compiled), compiled.positiontup or (), constant, mark)


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


def is_of_one_writer(connection: Connection) -> bool:
    """True of SQLite, False of PostgreSQL."""
    return isinstance(driver_of(connection), sqlite3.Connection)


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """Has all queries of a reader see one state of the database, while the context is open."""
    driver = driver_of(connection)
    driver.execute("BEGIN" if is_of_one_writer(connection) else "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    try:
        yield
    finally:
        driver.execute("ROLLBACK")


def writers_of(connection: Connection, table: str) -> frozenset[str]:
    """The transactions under way that have written to `table`. Of a single writer none: what it commits comes in order.

    Each has the lock from before it draws a number for its first row until its rows can be seen.
    """
    driver = driver_of(connection)
    if isinstance(driver, sqlite3.Connection):
        return frozenset()
    return frozenset(row[0] for row in driver.execute(_WRITERS, (table,)).fetchall())


def lock_number(name: str) -> int:
    """The number of an advisory lock: 64 bits with a sign."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)


def driver_of(connection: Connection) -> Any:
    """The connection of sqlite3 or psycopg below one of SQLAlchemy's."""
    return connection.connection.driver_connection


def _in_powers_of_two(rows: Sequence[R], most: int) -> Iterator[Sequence[R]]:
    """The rows in their order, in as few parts as can be: so many texts of a statement, and no more."""
    first = 0
    while left := min(most, len(rows) - first):
        size = 1 << left.bit_length() - 1
        yield rows[first : first + size]
        first += size


def _padded(values: list[Any]) -> list[Any]:
    """As long as the next power of two, the last value again and again: so many texts of a query, and no more."""
    # sqlite3 keeps 128 compiled statements by their text (cached_statements): a text for each length of a list would
    # drive out all others.
    missing = (1 << max(0, len(values) - 1).bit_length()) - len(values)
    return values + values[-1:] * missing

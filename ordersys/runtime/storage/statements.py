"""Statements prebuilt once: SQLAlchemy writes the SQL, the driver is handed it as it is.

Where a transaction is a handful of statements, building and wrapping each would cost ten times what it does.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, insert
from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.sql.expression import ClauseElement

Row = tuple[Any, ...]
# By place: a row is a tuple then, which costs less than a dictionary
# (docs/performance.md, "rows and events are tuples").
_DIALECT = dialect(paramstyle="qmark")


class Statement:
    """A statement whose parameters are given by name; one of them may be a list (`expanding`)."""

    def __init__(self, clause: ClauseElement, columns: Sequence[str] | None = None) -> None:
        compiled = clause.compile(dialect=_DIALECT, column_keys=columns)
        self._text = str(compiled)
        self._names: Sequence[str] = compiled.positiontup or ()  # type: ignore[attr-defined]
        binds = compiled.binds  # type: ignore[attr-defined]
        self._constant = {name: bind.value for name, bind in binds.items() if not bind.required}

    def rows(self, connection: Connection, **parameters: Any) -> list[Row]:
        """The rows of a query; none, without asking, where a list is empty: each is that of an IN."""
        text, values = self._text, []
        given = {**self._constant, **parameters}
        for name in self._names:
            value = given[name]
            if isinstance(value, list):
                if not value:
                    return []
                padded = _padded(value)
                # SQLAlchemy's placeholder for a list, which it would fill in at each execution. The name is not public:
                # should it change, no query with a list works, and the tests say so.
                text = text.replace(f"__[POSTCOMPILE_{name}]", ", ".join("?" * len(padded)))
                values += padded
            else:
                values.append(value)
        rows: list[Row] = _driver(connection).execute(text, values).fetchall()
        return rows

    def put(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Does it once for each row of values, in the order of the statement's parameters."""
        if rows:
            _driver(connection).executemany(self._text, rows)

    def run(self, connection: Connection, each: Iterable[Mapping[str, Any]]) -> int:
        """Does it once for each; how many rows it changed."""
        names, constant = self._names, self._constant
        values = [[given[name] for name in names] for given in ({**constant, **parameters} for parameters in each)]
        return int(_driver(connection).executemany(self._text, values).rowcount) if values else 0


def inserting(table: Table) -> Statement:
    """Adds rows to `table`, a value for each column; a key the database counts is left to it."""
    return Statement(insert(table), [c.key for c in table.columns if c is not table.autoincrement_column])


def _padded(values: list[Any]) -> list[Any]:
    """As long as the next power of two, the last value again and again: so many texts of a query, and no more."""
    # sqlite3 keeps 128 compiled statements by their text (cached_statements): a text for each length of a list would
    # drive out all others.
    missing = (1 << max(0, len(values) - 1).bit_length()) - len(values)
    return values + values[-1:] * missing


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection

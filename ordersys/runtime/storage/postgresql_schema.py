"""The tables of a service in PostgreSQL: in a schema of its own, made and upgraded by whichever process comes first.

Everything happens in one transaction under an advisory lock: of several processes that start at once the others wait,
and find it done (CREATE … IF NOT EXISTS fails where two do it at once). An upgrade only adds what the release before
can live with, so that its processes work on while they are replaced one by one: beside its version the schema records
the oldest one whose release can work with it.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, String, Text, text

from ordersys.runtime.storage.postgresql_connection import way_out
from ordersys.runtime.storage.schema import Schema, UnusableDatabase
from ordersys.runtime.storage.statements import driver_of, lock_number

_OLDEST_SERVER = 140_000
_NOT_WRITABLE = """
    SELECT relname::text FROM pg_class
    WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s) AND relkind = 'r' AND NOT (
        has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
        AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE')
    ) ORDER BY relname
"""
# A table that is always emptied: with the usual settings dead rows would pile up in front of the living ones.
_EMPTIED = "ALTER TABLE {} SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000)"
_OUTBOXES = ("outbox", "outbox_late")


def name_of(schema: Schema) -> str:
    """The name of its schema in the database: that of the service."""
    return schema.owner.replace("-", "_")


def prepare(pool: Engine, schema: Schema, first: Callable[[Connection], None]) -> list[str]:
    """Makes or upgrades the tables; `first` fills new ones. What is to be said of the server, and then against it.

    Raises UnusableDatabase, and the driver's errors.
    """
    with pool.connect() as connection:
        driver = driver_of(connection)
        about = _check_server(driver)
        driver.execute("BEGIN")
        try:
            # An upgrade waits for whoever uses a table, and everybody waits behind it: no longer than that, and again.
            driver.execute("SET LOCAL lock_timeout = '2s'")
            driver.execute("SELECT pg_advisory_xact_lock(%s)", (lock_number(f"schema of {schema.owner}"),))
            _make_schema(driver, name_of(schema))
            _apply(connection, schema, first)
            driver.execute("COMMIT")
        except BaseException:
            if not driver.closed:
                driver.execute("ROLLBACK")
            raise
    return about


def _check_server(driver: Any) -> list[str]:
    """Its version and what a commit waits for; then what makes an answer less durable than it should be.

    Raises UnusableDatabase.
    """
    names = ("server_version", "server_encoding", "fsync", "full_page_writes", "synchronous_commit")
    shown = {name: driver.execute(f"SHOW {name}").fetchone()[0] for name in names}
    standbys = driver.execute("SHOW synchronous_standby_names").fetchone()[0]
    if driver.info.server_version < _OLDEST_SERVER:
        raise UnusableDatabase(f"PostgreSQL {shown['server_version']} is too old; use 14 or later")
    if shown["server_encoding"] != "UTF8":
        raise UnusableDatabase(f"its encoding is {shown['server_encoding']}; make a database with ENCODING 'UTF8'")
    waits_for = f"synchronous_commit {shown['synchronous_commit']}, synchronous standbys: {standbys or 'none'}"
    off = [name for name in ("fsync", "full_page_writes") if shown[name] == "off"]
    return [
        f"version {shown['server_version']}, {waits_for}",
        *(f"{name} is off: after a crash of the server's machine what was answered may be gone" for name in off),
    ]


def _make_schema(driver: Any, name: str) -> None:
    """Makes it where it is missing: somebody else may do so for a user who lacks the permission."""
    if not driver.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (name,)).fetchall():
        driver.execute(f'CREATE SCHEMA "{name}"')


def _apply(connection: Connection, schema: Schema, first: Callable[[Connection], None]) -> None:
    recorded = schema.check(connection)
    if recorded == 0:
        schema.make(connection, _ordered_by_bytes(schema.metadata))
        for name in _OUTBOXES:
            if name in schema.metadata.tables:
                connection.execute(text(_EMPTIED.format(name)))
        first(connection)
    else:
        schema.upgrade(connection, recorded)
        _check_rights(driver_of(connection), name_of(schema))


def _check_rights(driver: Any, name: str) -> None:
    """Raises UnusableDatabase: without them it would start, and fail at the first change."""
    lacking = [row[0] for row in driver.execute(_NOT_WRITABLE, (name,)).fetchall()]
    if lacking:
        raise UnusableDatabase(f"its user may not write {', '.join(lacking)}; {way_out('42501', name)}")


def _ordered_by_bytes(metadata: MetaData) -> MetaData:
    """The same tables with keys and texts ordered as SQLite and Python order them, whatever the database is made for.

    Pages are in that order; and rows that Python sorts are locked in the order of the server.
    """
    copied = MetaData()
    for table in metadata.sorted_tables:
        for column in table.to_metadata(copied).columns:
            if isinstance(column.type, Text):
                column.type = Text(collation="C")
            elif isinstance(column.type, String):
                column.type = String(column.type.length, collation="C")
    return copied

"""Connections to PostgreSQL: what each of them is told at its beginning, and what its errors mean for a transaction."""

import logging
import os
import socket
import threading
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format, TransactionStatus
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper
from psycopg.types.string import StrDumperUnknown
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from ordersys.runtime.base.database_url import USUAL_PORT, DatabaseUrl
from ordersys.runtime.storage.errors import RaceLost

_log = logging.getLogger(__name__)
# A process that stops in the middle of a transaction must not keep the rows it has locked: what it holds is given free
# and its commit refused. Others wait no longer than that for them. Milliseconds.
_SESSION = {
    "idle_in_transaction_session_timeout": "5000",
    "lock_timeout": "5000",
    # A plan that was made while a table was empty would be kept when it is full: a look-up of 0.1 ms takes 50 then.
    "plan_cache_mode": "force_custom_plan",
    # An outbox full of dead rows is taken for one full of rows, and all its pages are read instead of few by the key.
    # What has to be read without an index looks so dear then that it would be compiled first, which takes 100 ms.
    "enable_seqscan": "off",
    "jit": "off",
}
_TRANSACTION_TIMEOUT = ("transaction_timeout", "15000")  # PostgreSQL 17 and later
_WITH_TRANSACTION_TIMEOUT = 170_000
_PREPARED = 300  # statements, of which a list has one for each power of two (see statements.py)
_PREPARE_SECONDS = 3.0  # as long as for making a connection (connect_timeout)
_SET = "SELECT set_config(%s, %s, false)"
# A role or a database may have it off, `local` waits for no standby, and `remote_write` not for the disk of one.
_WEAK_COMMITS = ("off", "local", "remote_write")

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_RACES = frozenset({"40001", "40P01", "55P03", "23505", "23514"})
# 26000: a statement that was prepared is not known any more; a new connection knows that it has none.
_NOT_NOW = frozenset({"57P03", "53300", "25006", "53200", "53100", "58030", "3D000", "42501", "26000"})
_GONE = frozenset({"57P01", "57P02", "57P05", "25P03", "25P04"})
_CONNECTION_CLASS = "08"
_LACKS_RIGHTS = frozenset({"42501", "3F000"})
# libpq hands on no SQLSTATE of a connection that was refused.
_TOLD_BY = {
    "session is read-only": "25006",
    "password authentication failed": "28P01",
    "too many connections": "53300",
    "permission denied for database": "42501",
    'role "': "28P01",
    '" does not exist': "3D000",
}
_WAYS_OUT = {
    "25006": "it is a standby, or default_transaction_read_only is set for its user or the database",
    "57014": "a statement_timeout is set for its user or the database; let it be some seconds at least",
    "28P01": "correct the user or the password in ORDERSYS_DATABASE_URL",
    "3D000": "make it, with ENCODING 'UTF8', or name another one in ORDERSYS_DATABASE_URL",
    "53300": "a process has up to 5 connections (docs/operations.md)",
}


class Trouble(Enum):
    """The meaning of an error for the transaction that met it."""

    RACE = "race"
    """It met another transaction, and was undone: the same again."""
    GONE = "gone"
    """The connection is lost; whether the transaction was committed is not known where it was told to commit."""
    NOT_NOW = "not now"
    """The server takes no such transaction for now, or no more: nothing was done."""
    BUG = "bug"
    """Of one item, or of all."""


class CommitInDoubt(Exception):
    """The server committed without its synchronous standby: it may yet be lost, with the server."""


class Connection(psycopg.Connection[Any]):
    """A connection that takes statements as sqlite3's does; what it answers to them comes in binary."""

    is_doubtful = False
    """True when a commit was answered with the warning that no standby has it."""
    _many: "psycopg.Cursor[Any] | None" = None
    """One for all: making it costs a third of what the statement does."""

    def execute(self, query: Any, params: Any = None, *, prepare: bool | None = None, binary: bool = True) -> Any:
        """Runs a statement; SQLAlchemy, which knows fewer types in binary, uses cursors."""
        return super().execute(query, params, prepare=prepare, binary=binary)

    def executemany(self, query: Any, rows: Any) -> Any:
        """Runs a statement once for each row; what it returns says nothing any more after the next one."""
        if self._many is None:
            self._many = self.cursor()
        self._many.executemany(query, rows)
        return self._many


class TextDumper(StrDumperUnknown):
    """Text as PostgreSQL takes it: without NUL, which may stand in an event that a stranger has published.

    Of two that are written so, the same one comes first as before.
    """

    def dump(self, obj: str) -> bytes:
        """The octets of a text."""
        if "\0" in obj or "\1" in obj:
            obj = obj.replace("\1", "\1\2").replace("\0", "\1\1")
        return obj.encode()


class TextLoader(Loader):
    """Text as it was before."""

    def load(self, data: Buffer) -> str:
        """The text in octets."""
        text = bytes(data).decode()
        return text.replace("\1\1", "\0").replace("\1\2", "\1") if "\1" in text else text


class BinaryTextLoader(TextLoader):
    """The same where the server answers in binary."""

    format = Format.BINARY


def engine(url: DatabaseUrl, schema: str, size: int) -> Engine:
    """SQLAlchemy's engine: connections to `url` whose tables are in `schema`, in autocommit, `size` at most."""
    # It says "error ignored terminating Pipeline" of each error that is raised anyway.
    logging.getLogger("psycopg.pipeline").setLevel(logging.ERROR)
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    return create_engine(
        "postgresql+psycopg://",
        creator=Connector(url, schema),
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        use_native_hstore=False,
        # The same statement again and again: those of pages are few.
        query_cache_size=100,
    )


class Connector:
    """Makes connections, of several hosts to the one that took writes last: one that hangs costs 3 s each time."""

    def __init__(self, url: DatabaseUrl, schema: str) -> None:
        self._url = url
        self._schema = schema
        self._hosts = url.hosts

    def __call__(self) -> Connection:
        """A connection that is ready; called by any thread. Raises psycopg.Error."""
        hosts = self._hosts
        in_order: dict[str, Any] = {name: ",".join(host[name] for host in hosts) for name in hosts[0]}
        # Prepared when they are first used: what psycopg counts first, to prepare it later, it takes for prepared
        # although it stood behind an error in a pipeline, and the server never saw it (docs/reliability.md, "a
        # transaction that lost a race").
        connection = Connection.connect(self._url.conninfo, autocommit=True, prepare_threshold=0, **in_order)
        connection.prepared_max = _PREPARED
        # A pooler opens a connection before it has a server for it, and a server may hang just then.
        late = threading.Timer(_PREPARE_SECONDS, shut_down, [connection])
        late.daemon = True
        late.start()
        try:
            _prepare(connection, self._schema)
            used = connection.info.host, str(connection.info.port)
        except BaseException:
            connection.close()
            raise
        finally:
            late.cancel()
        self._hosts = sorted(hosts, key=lambda host: (host.get("host"), host.get("port") or USUAL_PORT) != used)
        return connection


def _prepare(connection: Connection, schema: str) -> None:
    # Else psycopg takes the smallest type for each value: a statement with three numbers would be prepared 27 times.
    connection.adapters.register_dumper(int, Int8Dumper)
    connection.adapters.register_dumper(int, Int8BinaryDumper)
    connection.adapters.register_dumper(str, TextDumper)
    for kind in ("text", "varchar"):
        connection.adapters.register_loader(kind, TextLoader)
        connection.adapters.register_loader(kind, BinaryTextLoader)
    settings = {**_SESSION, "search_path": schema}
    if connection.info.server_version >= _WITH_TRANSACTION_TIMEOUT:
        settings.update([_TRANSACTION_TIMEOUT])
    row = connection.execute("SELECT current_setting('synchronous_commit')").fetchone()
    if row is not None and row[0] in _WEAK_COMMITS:
        settings["synchronous_commit"] = "on"
    with connection.pipeline():
        for name, value in settings.items():
            connection.execute(_SET, (name, value))
    connection.add_notice_handler(partial(_noticed, connection))


def shut_down(connection: psycopg.Connection[Any]) -> None:
    """Has whoever waits for the server on a connection get an error at once. Called by another thread."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)


def _noticed(connection: Connection, notice: psycopg.errors.Diagnostic) -> None:
    """A backend that is cancelled while it waits for its standby has committed, and says OK with a warning (01000)."""
    if notice.sqlstate == "01000" and "synchronous replication" in (notice.message_primary or ""):
        connection.is_doubtful = True


def trouble(error: BaseException) -> Trouble:
    """The meaning of an error; SQLAlchemy's is taken off."""
    cause = cause_of(error)
    if isinstance(cause, RaceLost):
        return Trouble.RACE
    if isinstance(cause, CommitInDoubt):
        return Trouble.GONE
    if not isinstance(cause, psycopg.Error):
        return Trouble.BUG
    return _of_state(cause.sqlstate, isinstance(cause, psycopg.OperationalError))


def _of_state(state: str | None, operational: bool) -> Trouble:
    """Without a state it is libpq's own: the server has closed the connection, or none could be made."""
    if state in _RACES:
        return Trouble.RACE
    if state in _NOT_NOW:
        return Trouble.NOT_NOW
    if state is None:
        return Trouble.GONE if operational else Trouble.BUG
    return Trouble.GONE if state in _GONE or state.startswith(_CONNECTION_CLASS) else Trouble.BUG


def cause_of(error: BaseException) -> BaseException:
    """The driver's error below SQLAlchemy's."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def state_of(error: BaseException) -> str | None:
    """The SQLSTATE of an error; of one that kept a connection from being made, as far as its English words tell."""
    cause = cause_of(error)
    if not isinstance(cause, psycopg.Error):
        return None
    return cause.sqlstate or next((state for text, state in _TOLD_BY.items() if text in str(cause)), None)


def words(error: BaseException) -> str:
    """An error in one line, fit for the log: neither statements nor values."""
    cause = cause_of(error)
    if isinstance(cause, psycopg.Error):
        text = cause.diag.message_primary or str(cause).strip().partition("\n")[0] or type(cause).__name__
        return f"{text} ({cause.sqlstate})" if cause.sqlstate else text
    return str(cause)


def way_out(state: str | None, schema: str) -> str:
    """The words behind an error that keeps a service from starting: what somebody may do about it."""
    if state in _LACKS_RIGHTS:
        return f"its user needs CREATE on the database, or has to own the schema {schema}"
    return _WAYS_OUT.get(state or "", "see ORDERSYS_DATABASE_URL, and the server's log")


def rolled_back(connection: Connection) -> bool:
    """Ends a transaction that was not committed; false where the connection can't be used any more."""
    try:
        if connection.closed:
            return False
        if connection.info.transaction_status != TransactionStatus.IDLE:
            connection.execute("ROLLBACK", binary=False)
    except psycopg.Error as error:
        _log.debug("a transaction was not rolled back: %s", words(error))
        return False
    return connection.info.transaction_status == TransactionStatus.IDLE

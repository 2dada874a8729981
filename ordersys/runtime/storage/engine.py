"""Connections to a SQLite file: how they are opened, and a look through what they find."""

import logging
import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event

from ordersys.runtime.storage.database_file import uri
from ordersys.runtime.storage.sqlite_errors import damaged, is_interrupted
from ordersys.runtime.storage.statements import driver_of

_log = logging.getLogger(__name__)
_LOCKED_SECONDS = 10.0  # for a lock somebody else holds; a consumer bears more (rabbitmq/consumer.py, _HELD_SECONDS)
_LOOK_SECONDS = 3.0  # for looking through a file at the start: 300 MB a second, from memory
_LOOK_STEPS = 100_000  # of SQLite's machine, between two looks at the clock


def open_engine(path: Path, mode: str, pool: Any, *pragmas: str, **options: Any) -> Engine:
    """SQLAlchemy's engine for the file at `path`: `mode` is rwc, rw or ro (https://www.sqlite.org/uri.html).

    Each connection is given the `pragmas`, and waits up to 10 s for a lock; it may pass from one thread to another.
    """
    name = uri(path, f"mode={mode}")
    opened = partial(
        sqlite3.connect, name, uri=True, check_same_thread=False, timeout=_LOCKED_SECONDS, isolation_level=None
    )
    engine = create_engine("sqlite://", creator=opened, poolclass=pool, **options)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        for pragma in pragmas:
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The driver's own transactions start late, and as readers: one that reads and then writes would fail at once
        # where another connection holds the lock (https://www.sqlite.org/lang_transaction.html).
        if not driver_of(connection).in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if mode == "rwc" else "BEGIN")

    return engine


def look_through(connection: Connection, thoroughly: bool, path: Path) -> None:
    """Has SQLite look through the file; of a large one as far as it comes in 3 s. Raises UnusableDatabase.

    Where the marks leave a doubt that the WAL belongs to it, or damage was met before, to the end, indexes included:
    some 50 s a GB.
    """
    driver = driver_of(connection)
    if thoroughly:
        _log.warning("looking through database %s: it was not closed in good order", path)
    else:
        until = time.monotonic() + _LOOK_SECONDS
        driver.set_progress_handler(lambda: time.monotonic() > until, _LOOK_STEPS)
    try:
        verdict = driver.execute(f"PRAGMA {'integrity' if thoroughly else 'quick'}_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if not is_interrupted(error):
            raise
        _log.info("database %s is large: only part of it was looked through", path)
        verdict = "ok"
    finally:
        driver.set_progress_handler(None, 0)
    if verdict != "ok":
        raise damaged(verdict)

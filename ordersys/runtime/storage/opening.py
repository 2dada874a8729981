"""The database of a service: PostgreSQL where a URL was given, else a file of SQLite's."""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection

from ordersys.runtime.base.database_url import DatabaseUrl
from ordersys.runtime.storage.backup import Stored
from ordersys.runtime.storage.database import Database
from ordersys.runtime.storage.interface import Storage


def _nothing(connection: Connection) -> None:
    """A database that begins empty."""


async def open_storage(
    url: DatabaseUrl | None, data_dir: Path, stored: Stored, first: Callable[[Connection], None] = _nothing
) -> Storage:
    """Opens, upgrades or makes that at `url`, without one the file in `data_dir`.

    `first` fills a new one, in the transaction that makes it. Raises UnusableDatabase.
    """
    if url is None:
        return await Database.open(data_dir / stored.file_name, stored.schema, first)
    # The driver is an extra, and takes memory.
    from ordersys.runtime.storage.postgresql_database import PostgreSQLDatabase  # noqa: PLC0415

    return await PostgreSQLDatabase.open(url, stored.schema, first)

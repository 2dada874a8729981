"""The tables of a database and their version: older ones are upgraded, newer and foreign ones refused."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Integer,
    MetaData,
    String,
    Table,
    insert,
    inspect,
    select,
    update,
)

from ordersys.runtime.base.errors import StartupError
from ordersys.runtime.base.failpoints import failpoint
from ordersys.runtime.base.ids import now

Upgrade = Callable[[Connection], None]
_RESTORE = "somebody has changed it by hand: restore a backup"


class UnusableDatabase(StartupError):
    """A database file can't be used; the text names it and says the way out."""


class ForeignDatabase(UnusableDatabase):
    """A database of another service, or of none; `fact` says so without the way out, `owner` whose it is."""

    def __init__(self, fact: str, owner: str = "") -> None:
        super().__init__(f"{fact}; choose another folder with ORDERSYS_DATA_DIR")
        self.fact = fact
        self.owner = owner


class Schema:
    """The tables of one service's database, and how older ones become today's.

    `upgrades[i]` takes version i+1 to i+2; a new file gets today's tables and version at once. `oldest` is the oldest
    version whose release can work with today's tables: processes of it that share a database work on beside newer ones.
    """

    def __init__(self, owner: str, upgrades: Sequence[Upgrade] = (), oldest: int | None = None) -> None:
        self.metadata = MetaData()
        self.owner = owner
        self.upgrades = tuple(upgrades)
        self._about = Table(
            "schema_version",
            self.metadata,
            Column("owner", String(64), primary_key=True),
            Column("version", Integer, nullable=False),
            # When the file was last seen to be writable, in microseconds since 1970.
            Column("touch_time", BigInteger, nullable=False),
        )
        self.oldest = self.version if oldest is None else oldest
        # Only of a database that processes share: files have neither.
        self._of_sharing = MetaData()
        self._shared = Table(
            "schema_compatibility",
            self._of_sharing,
            Column("owner", String(64), primary_key=True),
            Column("oldest_version", Integer, nullable=False),
        )
        Table(
            "leases",
            self._of_sharing,
            Column("name", String(64), primary_key=True),
            Column("holder", String(255), nullable=False),
            Column("until", DateTime(timezone=True), nullable=False),
        )

    @property
    def version(self) -> int:
        """Today's version."""
        return len(self.upgrades) + 1

    def apply(self, connection: Connection) -> bool:
        """Brings the database to today's version; whether it was new. Raises UnusableDatabase."""
        recorded = self.check(connection)
        if recorded == 0:
            self._create(connection, self.metadata)
            return True
        if recorded < self.version:
            self._upgrade(connection, recorded)
        return False

    def make(self, connection: Connection, tables: MetaData) -> None:
        """Makes `tables`, which are those of `metadata`, in a database that processes share."""
        self._create(connection, tables)
        self._of_sharing.create_all(connection)
        connection.execute(insert(self._shared).values(owner=self.owner, oldest_version=self.oldest))

    def upgrade(self, connection: Connection, recorded: int) -> None:
        """Brings the database that processes share from the version `recorded` to today's, unless it is newer.

        Raises UnusableDatabase.
        """
        _check_there(connection, self._of_sharing)
        if recorded < self.version:
            self._upgrade(connection, recorded)
            connection.execute(update(self._shared).values(oldest_version=self.oldest))

    def check(self, connection: Connection) -> int:
        """The version of the database, 0 when it is empty. Raises UnusableDatabase when it is not ours to use."""
        return self._recorded(connection) if inspect(connection).get_table_names() else 0

    def touch(self, connection: Connection, items: list[Any]) -> list[None]:
        """An operation that does nothing but write. (SQLite writes no page that stays as it was.)"""
        connection.execute(update(self._about).values(touch_time=now()))
        return [None] * len(items)

    def _recorded(self, connection: Connection) -> int:
        there = inspect(connection)
        columns = there.get_columns(self._about.name) if there.has_table(self._about.name) else []
        if not {"owner", "version"} <= {column["name"] for column in columns}:
            raise ForeignDatabase("it holds something else")
        rows = connection.execute(select(self._about.c.owner, self._about.c.version)).all()
        if len(rows) != 1:
            raise UnusableDatabase(f"its table {self._about.name} has {len(rows)} rows, and not one; {_RESTORE}")
        row = rows[0]
        # Before the version: another service's number says nothing about this one's tables.
        if row.owner != self.owner:
            raise ForeignDatabase(f"it belongs to {row.owner}, not to {self.owner}", row.owner)
        if row.version < 1:
            raise UnusableDatabase(f"its schema version {row.version} was written by no release; {_RESTORE}")
        if row.version > self.version and not self._is_compatible(connection):
            raise UnusableDatabase(
                f"its schema version {row.version} is newer than {self.version}, the newest this release knows;"
                " use the release that wrote it"
            )
        # What needs it would fail later, with less to say. An older one gets what it lacks.
        if row.version >= self.version:
            _check_there(connection, self.metadata)
        return int(row.version)

    def _is_compatible(self, connection: Connection) -> bool:
        """True where this release can work with a newer schema, as the release that made it says."""
        if not inspect(connection).has_table(self._shared.name):
            return False
        oldest = connection.execute(select(self._shared.c.oldest_version)).scalar_one()
        return int(oldest) <= self.version

    def _create(self, connection: Connection, tables: MetaData) -> None:
        tables.create_all(connection)
        failpoint("schema.created")
        connection.execute(insert(self._about).values(owner=self.owner, version=self.version, touch_time=now()))

    def _upgrade(self, connection: Connection, recorded: int) -> None:
        for upgrade in self.upgrades[recorded - 1 :]:
            upgrade(connection)
            failpoint("schema.upgraded")
        connection.execute(update(self._about).values(version=self.version))


def _check_there(connection: Connection, tables: MetaData) -> None:
    """Raises UnusableDatabase where one of the tables is missing."""
    missing = tables.tables.keys() - set(inspect(connection).get_table_names())
    if missing:
        raise UnusableDatabase(f"it lacks {', '.join(sorted(missing))}; {_RESTORE}")

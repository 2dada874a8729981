"""The database of the services where it is no file: a private PostgreSQL, alone or with a standby.

With a standby an answered call is on both: the primary waits for it. A primary that ended is started again; nothing is
promoted here by itself, since that takes somebody who knows that the other one is really gone.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ordersys.local.guard import Guard
from ordersys.local.postgresql import Server, url
from ordersys.local.postgresql_programs import provision
from ordersys.runtime.base.files import UnusableFolder

POSTGRESQL_FOLDER = "postgresql"
"""The folder of the private PostgreSQL, within that of the system."""


def unused_state(folder: Path, in_files: bool) -> str:
    """The place of the state that a system in `folder` had when it kept it otherwise; empty where there is none."""
    if in_files:
        return str(folder / POSTGRESQL_FOLDER) if (folder / POSTGRESQL_FOLDER).exists() else ""
    databases = folder / "databases"
    return str(databases) if any(databases.glob("*.db")) else ""


class PrivateDatabase:
    """A private PostgreSQL with the database of the services. Not running until `start`."""

    def __init__(self, folder: Path, guard: Guard, with_standby: bool) -> None:
        """Raises NoPostgreSQL, UnusableFolder."""
        self.programs = provision(_major(folder / "primary"))
        self.primary = Server(folder / "primary", self.programs, guard)
        self._standby = Server(folder / "standby", self.programs, guard) if with_standby else None
        self._folder = folder

    @property
    def servers(self) -> Sequence[Server]:
        """The primary, and the standby if there is one."""
        return [self.primary] if self._standby is None else [self.primary, self._standby]

    @property
    def url(self) -> str:
        """The URL for services. It holds a password."""
        return url(self.servers)

    def start(self, started: ExitStack) -> None:
        """Starts all, and has `started` stop them. Raises ServerNotStarted, OSError, CalledProcessError."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for server in self.servers:
            started.callback(server.stop)
        self.primary.start()
        if self._standby is None:
            self.primary.wait_for_standby(False)  # for that of an earlier start each commit would wait for ever
        self.primary.create_database()
        if self._standby is not None:
            self._standby.follow(self.primary)
            self._standby.start()
            self._standby.wait_to_follow()  # else each commit would wait for ever for what it can't have
            self.primary.wait_for_standby(True)


def _major(folder: Path) -> int | None:
    """The version of the data there, None where there is none yet."""
    try:
        return int((folder / "data" / "PG_VERSION").read_text(encoding="ascii"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UnusableFolder(f"{folder} holds data of no version of PostgreSQL; remove it to begin without") from error

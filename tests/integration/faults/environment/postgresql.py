"""The database of an environment with PostgreSQL: a primary and its synchronous standby, which may change places.

The harness has triggers of its own in it: they note down, by the server's clock, who held each lease and until when.
"""

import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.sql import SQL, Identifier

from ordersys.local.guard import Guard
from ordersys.local.ports import LOOPBACK
from ordersys.local.postgresql import DATABASE, USER, Server, ServerNotStarted
from ordersys.local.postgresql_programs import provision
from ordersys.local.system import SERVICES

_OPTIONS = {
    "log_line_prefix": "%m [%p] %e %a ",  # SQLSTATE and application name: whose deadlock it was
    "max_connections": "100",
    "superuser_reserved_connections": "0",  # when all are in use, nobody gets another one
    "fsync": "off",  # servers are killed here, machines are not: what the kernel has is kept
}
HARNESS = "fault-harness"
_DEADLOCK = " 40P01 "
_FOLLOWED_SECONDS = 60.0
_POLL = 0.05
_WATCH_LEASES = """
CREATE SCHEMA harness;
CREATE TABLE harness.leases (
    number BIGSERIAL PRIMARY KEY, service TEXT NOT NULL, holder TEXT NOT NULL,
    noted TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(), until TIMESTAMPTZ NOT NULL
);
CREATE FUNCTION harness.note_lease() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO harness.leases (service, holder, until) VALUES (
        TG_TABLE_SCHEMA,
        CASE TG_OP WHEN 'DELETE' THEN '' ELSE NEW.holder END,
        CASE TG_OP WHEN 'DELETE' THEN clock_timestamp() ELSE NEW.until END
    );
    RETURN NULL;
END $$;
"""
_WATCH = (
    "CREATE TRIGGER faults AFTER INSERT OR UPDATE OR DELETE ON {}.leases FOR EACH ROW"
    " EXECUTE FUNCTION harness.note_lease()"
)
_LEASES = """
SELECT service, holder, extract(epoch FROM noted)::float8, extract(epoch FROM until)::float8, number
FROM harness.leases WHERE number > %s ORDER BY number
"""


_TABLES_WITH = "SELECT table_name FROM information_schema.columns WHERE table_schema = %s AND column_name = %s"


class ReplicatedDatabase:
    """Two servers. Not running until `start`."""

    def __init__(self, folder: Path, ports: Sequence[int], guard: Guard) -> None:
        programs = provision()
        self.servers = [
            Server(folder / name, programs, guard, _OPTIONS, port)
            for name, port in zip(("first", "second"), ports, strict=True)
        ]
        self.primary, self.standby = self.servers
        self._has_failed_over = False
        self._noted = 0
        self._read = dict.fromkeys((server.log for server in self.servers), 0)

    def start(self) -> None:
        """Starts both; from then on each commit waits for the standby."""
        self.primary.start()
        self.primary.create_database()
        self._follow()

    def stop(self) -> None:
        """Stops both in good order."""
        for server in (self.primary, self.standby):
            server.stop()

    def connect(self, service: str = "harness", **options: Any) -> "psycopg.Connection[Any]":
        """A connection of the harness to the primary, with the schema of a service; in autocommit."""
        connection = psycopg.connect(
            self.primary.url, autocommit=True, application_name=HARNESS, connect_timeout=30, **options
        )
        connection.execute(f"SET search_path TO {service}")
        return connection

    def watch_leases(self) -> None:
        """Has the server note down every lease from now on; the tables of the services have to be there."""
        with closing(self.connect()) as connection:
            connection.execute(_WATCH_LEASES)
            for service in SERVICES:
                connection.execute(_WATCH.format(service))

    def drop_columns(self, service: str, name: str) -> None:
        """Takes a column away from each table of a service; one transaction each, so that nobody waits in a circle."""
        with closing(self.connect(service)) as connection:
            for (table,) in connection.execute(_TABLES_WITH, (service, name)).fetchall():
                connection.execute(SQL("ALTER TABLE {} DROP COLUMN {}").format(Identifier(table), Identifier(name)))

    def leases(self) -> "list[tuple[str, str, float, float]]":
        """The changes of all leases since the last time: service, holder (empty: given back), noted, until."""
        with closing(self.connect()) as connection:
            rows = connection.execute(_LEASES, (self._noted,)).fetchall()
        self._noted = rows[-1][-1] if rows else self._noted
        return [row[:-1] for row in rows]

    def deadlocks(self) -> list[str]:
        """The lines of the servers' logs about deadlocks since the last time."""
        return [line for server in self.servers for line in self._new_lines(server.log) if _DEADLOCK in line]

    def promote(self) -> None:
        """Makes the standby the primary; the old one, should it live, knows nothing of it. Waits until it is done."""
        self.primary, self.standby = self.standby, self.primary
        self.primary.promote()
        self._has_failed_over = True

    def restart(self, immediately: bool) -> None:
        """Restarts the primary as `pg_ctl restart` does: every session ends, at once or after a checkpoint."""
        if immediately and self.primary.pid is not None:
            os.kill(self.primary.pid, signal.SIGQUIT)
            until = time.monotonic() + _FOLLOWED_SECONDS
            while self.primary.running and time.monotonic() < until:
                time.sleep(_POLL)
            self.primary.kill()
        else:
            self.primary.stop()
        self.primary.start()

    @contextmanager
    def asleep(self, server: Server) -> Iterator[None]:
        """Stops a server with all its backends in the middle of whatever they do, for a while."""
        _signal(server, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(server, signal.SIGCONT)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """No transaction may write, in any session, for a while."""
        self._set_read_only(True)
        try:
            yield
        finally:
            self._set_read_only(False)

    def _set_read_only(self, wanted: bool) -> None:
        self.primary.sql(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if wanted else 'off'}")
        self.primary.sql("SELECT pg_reload_conf()")

    @contextmanager
    def asynchronous(self) -> Iterator[None]:
        """Commits wait for nobody, for a while: what the standby has not got yet is gone with the primary."""
        self.primary.wait_for_standby(False)
        try:
            yield
        finally:
            self.heal()

    def hold_back(self) -> None:
        """Sends the standby nothing more, for as long as the primary lives; what it has got, it has."""
        sender = self.primary.sql("SELECT pid FROM pg_stat_replication")
        psutil.Process(int(sender)).suspend()

    def heal(self) -> None:
        """Both run, and commits wait for the standby; of two that took writes the last promoted one is right."""
        for server in (self.primary, self.standby):
            _signal(server, signal.SIGCONT)
        if self._has_failed_over:
            # It was started as a standby, with settings of one.
            self.primary.stop()
        if not self.primary.running:
            self.primary.kill()
            self.primary.start()
        if self._has_failed_over:
            self.standby.kill()
            shutil.rmtree(self.standby.log.parents[1] / "data")
            self._has_failed_over = False
        self._follow()

    def _follow(self) -> None:
        """Has the standby run, and each commit wait for it."""
        if not self.standby.running:
            self.standby.kill()
            self.standby.follow(self.primary)
            self.standby.start()
        self.primary.wait_for_standby(True)
        until = time.monotonic() + _FOLLOWED_SECONDS
        while self.primary.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") != "1":
            if time.monotonic() > until:
                raise ServerNotStarted(f"the standby does not follow; its log: {self.standby.log}")
            time.sleep(_POLL)

    def _new_lines(self, log: Path) -> list[str]:
        with log.open("rb") as file:
            file.seek(self._read[log])
            octets = file.read()
        self._read[log] += len(octets)
        return octets.decode(errors="replace").splitlines()

    def address(self, ports: Sequence[int]) -> str:
        """The URL of the database at other ports: those of links that lead to the servers, in their order."""
        places = ",".join(f"{LOOPBACK}:{port}" for port in ports)
        return f"postgresql://{USER}:{self.primary.password}@{places}/{DATABASE}?target_session_attrs=read-write"


def _signal(server: Server, number: signal.Signals) -> None:
    if server.pid is None:
        return
    with suppress(psutil.NoSuchProcess):
        leader = psutil.Process(server.pid)
        for process in (leader, *leader.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

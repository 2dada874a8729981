"""Backup and restore of one service's database: `python -m ordersys.<service> backup FILE`, `… restore FILE`.

A backup is one file, of one moment, looked through from end to end, and readable by its owner alone; it is whole or not
there. It is made beside the running service, by a connection that can only read: SQLite may corrupt a WAL that two
connections write or checkpoint. To restore is to put one in the place of the database of a service that does not run;
what was there is moved aside, never deleted. How the four services' backups fit together: docs/operations.md.
"""

import argparse
import contextlib
import errno
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from ordersys.console.opening import check_regular
from ordersys.runtime.base import files
from ordersys.runtime.base.failpoints import failpoint
from ordersys.runtime.base.files import sync
from ordersys.runtime.storage import marks
from ordersys.runtime.storage.database_file import IN_USE, DatabaseFile, command, set_of, uri
from ordersys.runtime.storage.marks import UNMARKED, Mark
from ordersys.runtime.storage.private import FILE_MODE
from ordersys.runtime.storage.schema import ForeignDatabase, Schema, UnusableDatabase

_PAGES = 4096  # copied before Ctrl-C is looked for
_LOCKED_SECONDS = 10  # a running service holds the lock for milliseconds
BACKUP, RESTORE = "backup", "restore"
_SERVICE = re.compile("[a-z0-9-]+")


class Stored(NamedTuple):
    """The database of a service: its file in the data folder, and its schema."""

    file_name: str
    schema: Schema


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Adds the two commands; without one of them, the service is run."""
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands, instead of serving")
    making = commands.add_parser(BACKUP, help="copy the database to FILE, also while the service runs")
    making.add_argument("file", type=_path, metavar="FILE")
    making.add_argument("--overwrite", action="store_true", help="also where FILE is there already")
    using = commands.add_parser(
        RESTORE, help="put the backup FILE in the place of the database; the service must not run"
    )
    using.add_argument("file", type=_path, metavar="FILE")


def _path(text: str) -> Path:
    try:
        return files.path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} must be {error}") from None


def run_command(arguments: argparse.Namespace, stored: Stored, folder: Path) -> str:
    """Does what `add_commands` has parsed; what came of it, in a line. Raises UnusableDatabase."""
    path = folder / stored.file_name
    if arguments.command == BACKUP:
        return backup(path, stored.schema, arguments.file, arguments.overwrite)
    return restore(path, stored.schema, arguments.file)


def backup(path: Path, schema: Schema, target: Path, overwrite: bool = False) -> str:
    """Copies the database at `path` to `target`: everything answered before, and nothing half done.

    Blocks until all is copied and looked through: some 20 s for 300 MB. Raises UnusableDatabase.
    """
    with _telling(f"backup of database {path} to {target}"), contextlib.ExitStack() as stack:
        file = DatabaseFile(path, schema.owner)
        if not file.real.exists():
            raise UnusableDatabase("there is no such database; name its folder with ORDERSYS_DATA_DIR")
        _check_target(file, target, schema, overwrite)
        stack.callback(file.release)
        with closing(_pinned(file)) as source, _temporary(target) as finish:
            _copy(source, finish.partial, schema)
            finish(overwrite)
    return f"{target}: a backup of {path}, {target.stat().st_size} bytes, looked through"


def restore(path: Path, schema: Schema, source: Path) -> str:
    """Puts a copy of the database `source` at `path`, and what was there aside; `source` may be what is there.

    Killed in between, it leaves what the service refuses to start with, and can be repeated. Raises UnusableDatabase.
    """
    with _telling(f"restore of database {path} from {source}"), contextlib.ExitStack() as stack:
        file = DatabaseFile(path, schema.owner)
        if not source.is_file():
            raise UnusableDatabase(f"{source} is no file; name a backup")
        stack.callback(file.release)
        if not (file.take_lock() and file.take_over()):
            raise UnusableDatabase(IN_USE)
        made = file.real.with_name(f"{file.real.stem}-restoring.db")
        _remove(made)
        os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE))
        stack.callback(_remove, made)
        with _judging(), closing(_readable(source)) as reading:
            mark = _copy(reading, made, schema)
        aside = _put_aside(file.real)
        failpoint("restore.aside")
        made.rename(file.real)
        # The new name is on the disk only with its folder (fsync(2), NOTES).
        sync(file.real.parent)
        failpoint("restore.named")
        file.begin_anew(mark)
    return f"{path}: restored from {source}, looked through" + (f"; what was there is {aside} now" if aside else "")


@contextmanager
def _judging() -> Iterator[None]:
    """Adds to whatever is wrong with a backup what to do instead; nothing is changed so far."""
    try:
        yield
    except ForeignDatabase as error:
        theirs = f"give it to {command(error.owner, RESTORE)}, or " if _SERVICE.fullmatch(error.owner) else ""
        raise UnusableDatabase(f"{error.fact}; {theirs}name a backup of this service") from error
    except (UnusableDatabase, sqlite3.Error, DBAPIError) as error:
        raise UnusableDatabase(f"{_words(error)}; nothing was changed, name another backup") from error


def _check_target(file: DatabaseFile, target: Path, schema: Schema, overwrite: bool) -> None:
    for used in (*set_of(file.real), file.lock):
        if target.exists() and used.exists() and target.samefile(used):
            raise UnusableDatabase(f"{target} belongs to the database itself; choose another name")
    if target.is_dir():
        raise UnusableDatabase(f"{target} is a folder; name a file")
    if not target.parent.is_dir():
        raise UnusableDatabase(f"there is no folder {target.parent}; make it, or name another FILE")
    if target.exists() and not target.is_file():
        raise UnusableDatabase(f"{target} is no regular file; choose another name")
    if target.exists() and not overwrite:
        raise UnusableDatabase(f"{target} is there already; choose another name, or give --overwrite")
    if target.exists():
        _check_overwritten(target, schema)


def _check_overwritten(target: Path, schema: Schema) -> None:
    """Raises UnusableDatabase unless `target` is a backup of this service: of anything else there is no other copy."""
    if target.with_suffix(".lock").exists():
        raise UnusableDatabase(f"{target} is a service's own database, as its .lock says; choose another name")
    try:
        with closing(_readable(target)) as source:
            engine = create_engine("sqlite://", creator=lambda: source, poolclass=StaticPool)
            with engine.connect() as connection:
                is_backup = schema.check(connection) > 0
    except (UnusableDatabase, sqlite3.Error, DBAPIError):
        is_backup = False
    if not is_backup:
        raise UnusableDatabase(f"{target} is no backup of this service; choose another name")


def _pinned(file: DatabaseFile) -> sqlite3.Connection:
    """A connection that sees one moment, of which everything answered until now is part.

    While no service runs, the file is checked as at a start; one that does has done so.
    """
    expected = file.witness
    is_alone = file.take_lock() and file.take()
    if is_alone:
        file.look()
    source = _opened(file.real, "mode=ro")
    try:
        source.execute("BEGIN")
        file.compare(marks.of_connection(source), expected)
    except BaseException:
        source.close()
        raise
    file.share()
    return source


def _readable(source: Path) -> sqlite3.Connection:
    """A connection to a backup, with its WAL where it has one, and also where the folder can't be written.

    `immutable` has SQLite make no file beside it.
    """
    for path in set_of(source):
        check_regular(path)  # SQLite would wait for the other end of a pipe
    with source.open("rb") as file:
        mark = marks.of_file(file.fileno())
    log = marks.of_log(set_of(source)[1])
    if marks.belongs(log, mark or UNMARKED) is False:
        raise UnusableDatabase(f"{set_of(source)[1].name} beside it is of another one; move it away to do without")
    return _opened(source, "mode=ro" if log.frames else "mode=ro&immutable=1")


def _opened(path: Path, options: str) -> sqlite3.Connection:
    return sqlite3.connect(uri(path, options), uri=True, timeout=_LOCKED_SECONDS, isolation_level=None)


def _copy(source: sqlite3.Connection, target: Path, schema: Schema) -> Mark:
    """Fills `target` with what `source` sees, as a lineage of its own, without a WAL, on disk; its mark.

    Raises UnusableDatabase when it is not sound, or not this service's.
    """
    with closing(_opened(target, "mode=rw")) as copy:
        copy.execute("PRAGMA synchronous=OFF")  # it counts when it has its name, not before
        source.backup(copy, pages=_PAGES)
        copy.execute("PRAGMA journal_mode=DELETE")
        marks.put_lineage(copy, marks.new_lineage())
        with create_engine("sqlite://", creator=lambda: copy, poolclass=StaticPool).connect() as connection:
            if schema.check(connection) == 0:
                raise UnusableDatabase("it is empty")
        # (1): the first error is enough; SQLite would look for a hundred.
        if (verdict := copy.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise UnusableDatabase(f"it is damaged ({' '.join(verdict.split())})")
        mark = marks.of_connection(copy)
    sync(target)
    return mark


class _Finish(NamedTuple):
    """Gives a file its name once all of it is there."""

    partial: Path
    target: Path

    def __call__(self, overwrite: bool) -> None:
        """Raises UnusableDatabase when there is one by that name meanwhile."""
        if overwrite:
            self.partial.replace(self.target)
        else:
            self._name_if_free()
        sync(self.target.parent)

    def _name_if_free(self) -> None:
        """By a second name: other than a rename, that fails where there is one already."""
        try:
            self.target.hardlink_to(self.partial)
        except FileExistsError:
            raise UnusableDatabase(f"{self.target} is there already; choose another name") from None
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP):
                raise
            self.partial.rename(self.target)  # a file system without hard links


@contextmanager
def _temporary(target: Path) -> Iterator[_Finish]:
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE))
    except OSError as error:
        why = f"no file can be made in {target.parent} ({error.strerror})"
        raise UnusableDatabase(f"{why}; mend that, or name another FILE") from error
    try:
        yield _Finish(partial, target)
    finally:
        _remove(partial)


def _put_aside(path: Path) -> Path | None:
    """Renames a database and what belongs to it, the file itself first; its new name."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"{path.stem}-before-{stamp}.db")
    there = [(old, new) for old, new in zip(set_of(path), set_of(aside), strict=True) if old.exists()]
    for old, new in there:
        old.rename(new)
    return aside if there else None


def _remove(path: Path) -> None:
    for file in set_of(path):
        file.unlink(missing_ok=True)


@contextmanager
def _telling(action: str) -> Iterator[None]:
    """Has whatever goes wrong say what it hinders, in a line."""
    try:
        yield
    except UnusableDatabase as error:
        raise UnusableDatabase(f"{action}: {error}") from error
    except (sqlite3.Error, DBAPIError) as error:
        raise UnusableDatabase(f"{action}: {_words(error)}") from error
    except OSError as error:
        named = f": {error.filename}" if error.filename else ""
        raise UnusableDatabase(f"{action}: {error.strerror}{named}") from error


def _words(error: Exception) -> str:
    """Those of SQLite, where SQLAlchemy has put its own around them."""
    return str(error.orig if isinstance(error, DBAPIError) else error)

"""The file of a database as the file system has it: whose it is, whether it is still the one, what it has to hold.

A process writes to the inode it has opened, whatever becomes of the path; what it answers then is gone with the next
start. And SQLite starts with whatever lies at the path. So the file is locked by its inode, compared with the path
before and after each commit, and with a witness at the start: `order.lock` beside `order.db` remembers up to which
commit was answered.
"""

import fcntl
import logging
import os
import re
import threading
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from ordersys.console.opening import open_regular
from ordersys.runtime.storage import marks
from ordersys.runtime.storage.errors import FileLost
from ordersys.runtime.storage.marks import UNMARKED, Log, Mark
from ordersys.runtime.storage.private import private_file, private_folder
from ordersys.runtime.storage.schema import UnusableDatabase

_log = logging.getLogger(__name__)
_LONGEST_PATH = 500  # SQLite takes 512 bytes, of which `-journal` needs some
_WITNESS = re.compile(rb"lineage=([0-9a-f]{8}) commit=([0-9a-f]{8}) (sound |damaged)\n")
IN_USE = "another process uses it; stop that one first"


class Witness(NamedTuple):
    """The content of a lock file: the mark last answered, and whether damage was met."""

    lineage: int
    commit: int
    damaged: bool

    @classmethod
    def read(cls, descriptor: int) -> "Witness | None":
        """That of an open lock file; None when there is none, as in one of an earlier release."""
        line = _WITNESS.match(os.pread(descriptor, 64, 0))
        return cls(int(line[1], 16), int(line[2], 16), line[3] == b"damaged") if line else None

    def write(self, descriptor: int) -> None:
        """Not to the disk at once: it may be older than the database after a power failure, never newer."""
        state = b"damaged" if self.damaged else b"sound "
        os.pwrite(descriptor, b"lineage=%08x commit=%08x %b\n" % (self.lineage, self.commit, state), 0)


class DatabaseFile:
    """The file at `path` with its WAL and its lock. `take`, `open`, `opened`; then `check` and `answered` a commit.

    All but `take`, `keep_lock` and `damaged` are called by one thread at a time.
    """

    def __init__(self, path: Path, owner: str) -> None:
        self.path = path
        # SQLite follows links, and puts the WAL beside what they lead to.
        self.real = Path(os.path.realpath(path))
        self.log = self.real.with_name(self.real.name + "-wal")
        self.index = self.real.with_name(self.real.name + "-shm")
        self.lock = path.with_suffix(".lock")
        self.mark = UNMARKED
        self.restore = restore_hint(owner)
        self._damage = ""
        self._noting = threading.Lock()
        # Descriptors, as long as they are open.
        self._locked: int | None = None
        self._file: int | None = None
        self._known: list[tuple[str, tuple[int, int]]] = []
        """The paths to open: the database first."""
        self._seen = UNMARKED
        """The mark in the file itself, which follows `mark` with each checkpoint."""

    def take_lock(self) -> bool:
        """Locks the lock file; False while another process has it. Raises OSError, UnusableDatabase."""
        if len(os.fsencode(self.real)) > _LONGEST_PATH:
            raise UnusableDatabase(f"the path is too long; {_LONGEST_PATH} bytes will do")
        private_folder(self.path.parent)
        if self.real.parent.is_dir():  # nothing is made where a link leads: its disk may not be mounted
            private_folder(self.real.parent)
        private_file(self.lock)
        self._locked = _lock(open_regular(self.lock, os.O_RDWR | os.O_CREAT))
        if self._locked is not None and not _is_at(self._locked, self.lock):
            self.release()  # somebody has taken it away meanwhile: the lock is on nothing
        return self._locked is not None

    def take(self) -> bool:
        """Locks the file itself, which holds whatever becomes of the lock file, and by whichever name it is opened.

        False while another process has it. Raises OSError, and UnusableDatabase when there is none where one was.
        """
        there, *_ = [private_file(path) for path in set_of(self.real)]
        if not there:
            self._missing("is missing")
        elif self.real.stat().st_size == 0:
            self._missing("is empty")
        self._file = _lock(open_regular(self.real, os.O_RDWR | os.O_CREAT))
        return self._file is not None

    def look(self) -> tuple[Log, bool]:
        """The WAL, and whether only an integrity check can tell that it belongs to the file.

        To be called before SQLite opens the file: what does not belong to it would be replayed over it.
        Raises UnusableDatabase.
        """
        log = marks.of_log(self.log)
        belongs = marks.belongs(log, self._mark_in_file() or UNMARKED)
        if belongs is False:
            raise UnusableDatabase(
                f"it was exchanged: its write-ahead log {self.log.name} is of another one, or of another time; "
                f"put back the one that belongs to it, or {self.restore}"
            )
        witness = self.witness
        return log, belongs is None or (witness is not None and witness.damaged)

    def compare(self, mark: Mark, witness: Witness | None) -> None:
        """Holds what SQLite finds in it against what was answered. Raises UnusableDatabase."""
        if witness is not None and witness.lineage != mark.lineage:
            raise UnusableDatabase(
                f"it was exchanged: it is not the one that was last used here ({self.lock.name}); {self.restore}"
            )
        if witness is not None and not mark.reaches(witness.commit):
            missing = (witness.commit - mark.commit) & 0x7FFF_FFFF
            raise UnusableDatabase(
                f"it is older than what was last answered ({self.lock.name}): {missing} commits are missing; "
                f"put it back with its {self.log.name}, or {self.restore}"
            )
        self.mark = mark

    @property
    def witness(self) -> Witness | None:
        """The content of the lock file, whoever has it."""
        if self._locked is not None:
            return Witness.read(self._locked)
        try:
            descriptor = open_regular(self.lock, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            return Witness.read(descriptor)
        finally:
            os.close(descriptor)

    def next_mark(self, driver: Any) -> None:
        """Marks the transaction under way as the next commit, and begins a lineage where there is none."""
        if self.mark.lineage == 0:
            self.mark = self.mark._replace(lineage=marks.new_lineage())
            marks.put_lineage(driver, self.mark.lineage)
        marks.put(driver, self.mark.following)

    def opened(self, mark: Mark) -> None:
        """Remembers what is opened now, at `mark`; the WAL must have been made."""
        self.mark, self._seen = mark, self._mark_in_file() or UNMARKED
        # The database by the path that was given: a link in it may come to lead elsewhere.
        self._known = [(str(path), _identity(path.stat())) for path in (self.path, self.log, self.index)]
        self._answered(mark)

    def check(self) -> None:
        """Returns when the file at the path is the one that was opened, after some microseconds. Raises FileLost."""
        self.check_paths()
        mark = self._mark_in_file()  # of what lies there now, should it have been written over
        if (
            mark is None
            or mark.lineage != self._seen.lineage
            or not mark.reaches(self._seen.commit)
            or not self.mark.reaches(mark.commit)
        ):
            raise FileLost(f"it was written over while it was in use; stop this process and {self.restore}")
        self._seen = mark

    def check_paths(self) -> None:
        """The same without a look into the file; by any thread. Raises FileLost."""
        if self._damage:
            raise FileLost(f"it is damaged ({self._damage}); stop this process and {self.restore}")
        for name, known in self._known:
            try:
                identity = _identity(os.stat(name))  # noqa: PTH116 - twice a commit for each file: Path.stat takes twice as long
            except OSError as error:
                raise FileLost(f"{name} is gone ({error.strerror}); {self._way_out(name)}") from None
            if identity != known:
                raise FileLost(f"{name} is not the one this process has opened; {self._way_out(name)}")

    def is_ours(self) -> bool:
        """True when the file itself is the one, and sound, whatever became of its WAL."""
        try:
            mark = self._mark_in_file()
            same = (str(self.path), _identity(self.path.stat())) in self._known
        except OSError:
            return False
        return same and mark is not None and mark.lineage == self._seen.lineage and not self._damage

    def answered(self) -> None:
        """The transaction with `next_mark` is committed: from now on the file has to hold it. Raises FileLost.

        What was committed to a file that was gone by then counts as not done.
        """
        self.mark = self.mark.following
        self.check_paths()
        self._answered(self.mark)

    def damaged(self, text: str) -> None:
        """Remembers that damage was met: for this process, and for the check at the next start."""
        if not self._damage:
            self._damage = text
            self._answered(self.mark)

    def keep_lock(self) -> None:
        """Makes the lock file again when it was taken away; the lock on the database has kept others out meanwhile."""
        if self._locked is None or _is_at(self._locked, self.lock):
            return
        try:
            again = _lock(open_regular(self.lock, os.O_RDWR | os.O_CREAT))
        except OSError as error:
            _log.error("%s was taken away and can't be made again: %s", self.lock, error.strerror)
            return
        if again is not None:
            # At once: a commit may be answered meanwhile, and writes to this descriptor (docs/reliability.md).
            os.dup2(again, self._locked, inheritable=False)
            os.close(again)
            self._answered(self.mark)
            _log.warning("%s was taken away and is made again", self.lock)

    def release(self) -> None:
        """Gives up both locks, after SQLite has closed the file: this would drop SQLite's own (howtocorrupt, 2.2)."""
        for descriptor in (self._file, self._locked):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._locked = None

    def take_over(self) -> bool:
        """Locks whatever is there, so that it can be replaced; False while another process has it."""
        if not private_file(self.real):
            return True
        self._file = _lock(open_regular(self.real, os.O_RDWR))
        return self._file is not None

    def begin_anew(self, mark: Mark) -> None:
        """Has the lock file expect `mark`: of what was put in the place of what was there. On disk when it returns."""
        self._answered(mark)
        if self._locked is not None:
            os.fsync(self._locked)

    def share(self) -> None:
        """Gives the locks up, and keeps the files open until `release`."""
        for descriptor in (self._file, self._locked):
            if descriptor is not None:
                fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _mark_in_file(self) -> Mark | None:
        return None if self._file is None else marks.of_file(self._file)

    def _answered(self, mark: Mark) -> None:
        # One at a time: a commit that is noted beside the damage that a reader has met must not take that back.
        with self._noting:
            if self._locked is not None:
                Witness(mark.lineage, mark.commit, bool(self._damage)).write(self._locked)

    def _missing(self, state: str) -> None:
        """Nothing is there: right where nothing was. SQLite would throw the WAL away and begin a new database."""
        if self.witness is not None:
            raise UnusableDatabase(
                f"it {state}, and was used here ({self.lock.name}); put it back, or {self.restore}, "
                f"or remove {self.lock} to begin a new one"
            )
        if self.log.exists() and self.log.stat().st_size:
            raise UnusableDatabase(
                f"it {state}, and its write-ahead log {self.log.name} is left; put it back, or {self.restore}"
            )

    def _way_out(self, name: str) -> str:
        if name == str(self.path):
            return f"put it back, or stop this process and {self.restore}"
        return "stop this process and start it again"


def uri(path: Path, options: str) -> str:
    """The file in SQLite's words: from the root with one slash, as two begin a host; its bytes, whatever they are."""
    return f"file:/{quote(os.fsencode(os.path.realpath(path)).lstrip(b'/'))}?{options}"


def set_of(path: Path) -> list[Path]:
    """A database with the files SQLite puts beside it, whether they are there or not."""
    return [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm", "-journal")]


def restore_hint(owner: str) -> str:
    """The way out for a database of that owner: how it is restored."""
    return f"restore a backup: {command(owner, 'restore')}"


def command(owner: str, name: str) -> str:
    """The command that backs up or restores a database of that owner."""
    return f"python -m ordersys.{owner.replace('-', '_')} {name} FILE"


def _lock(descriptor: int) -> int | None:
    """The descriptor, with the lock that ends with this process, however it ends; None, and closed, if it is taken."""
    try:
        # flock, since SQLite's own locks are POSIX locks, which a process loses with any close of the file
        # (https://www.sqlite.org/howtocorrupt.html, 2.2); on Linux the two know nothing of each other.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return _identity(os.fstat(descriptor)) == _identity(path.stat())
    except OSError:
        return False


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino

"""Marks: which commit of which lineage a database file, or its write-ahead log (WAL), has reached, without SQLite.

SQLite finds a WAL by its name alone and replays whatever lies there, so that a backup copied over a crashed database
gets pages of another time (https://www.sqlite.org/howtocorrupt.html, 1.4). Therefore each commit counts in page 1:
`application_id` is the lineage, a random number given to a database when it is made, backed up or restored;
`user_version` counts its commits. The first commit of each WAL so says on which state of which file it is based.

A process may be killed between any two writes. SQLite writes a frame of the WAL in two, header and page, so that the
last header may stand before a page of the WAL's former content, with a mark of former times.
"""

import os
import secrets
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ordersys.console.opening import open_regular

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_MARK = struct.Struct(">40xI16xI4xI")  # https://www.sqlite.org/fileformat2.html, 1.3: schema cookie, user_version, …
_LOG_HEADER = struct.Struct(">IIII8s8x")  # …, 4.1: magic, version, page size, checkpoint number, salts, checksum
_FRAME = struct.Struct(">II8s8x")  # page number, size of the database after a commit, salts, checksum
_SUMMED_BYTES = 8  # of a frame's header: those before the salts
_CHECKSUM = struct.Struct(">II")  # the last of either header
_LOG_MAGIC = 0x377F0682  # or 1 more, where the checksums are big-endian
_PAGE_SIZES = {1 << power for power in range(9, 17)}
# Both numbers are signed and of 32 bits in SQLite: half of them do, so that none is shown as negative.
_MASK = 0x7FFF_FFFF


class Mark(NamedTuple):
    """Lineage and commits of a database, and SQLite's own count of schema changes; lineage 0: it was never marked."""

    lineage: int
    commit: int
    cookie: int

    @property
    def following(self) -> "Mark":
        """The mark of the next commit; after 2³¹ of them the count begins anew."""
        return self._replace(commit=(self.commit + 1) & _MASK)

    def reaches(self, commit: int) -> bool:
        """True when this is that commit or a later one: what is less than 2³⁰ ahead is later (as in RFC 1982)."""
        return ((self.commit - commit) & _MASK) <= _MASK >> 1


UNMARKED = Mark(0, 0, 0)


class Log(NamedTuple):
    """A WAL as it lies there, and the first and the last mark in it."""

    frames: int
    """Up to the last one that ends a commit: none where there is nothing to be replayed."""
    first: Mark | None
    last: Mark | None


def new_lineage() -> int:
    """A number no other database has, as far as chance can say."""
    return secrets.randbelow(_MASK) + 1


def of_file(descriptor: int) -> Mark | None:
    """The mark of an open database file, without what stands in its WAL; None when it is no database."""
    return _mark(os.pread(descriptor, _HEADER_BYTES, 0))


def of_connection(driver: Any) -> Mark:
    """The mark of a database as a connection of sqlite3 sees it, WAL included."""
    names = ("application_id", "user_version", "schema_version")
    return Mark(*(driver.execute(f"PRAGMA {name}").fetchone()[0] & _MASK for name in names))


def put(driver: Any, mark: Mark) -> None:
    """Writes `mark` in the transaction under way."""
    driver.execute(f"PRAGMA user_version = {mark.commit}")


def put_lineage(driver: Any, lineage: int) -> None:
    """Begins a lineage in the transaction under way."""
    driver.execute(f"PRAGMA application_id = {lineage}")


def of_log(path: Path) -> Log:
    """The marks in the WAL at `path`, no frames when there is none. Most checksums are left to SQLite.

    Reads 24 bytes a frame: a WAL of the usual 4 MB takes some milliseconds, one of 4 GB some seconds.
    """
    frames = 0
    first = last = None
    try:
        # A WAL may be opened and closed, other than the database: SQLite's locks are not on it (howtocorrupt, 2.2).
        with os.fdopen(open_regular(path, os.O_RDONLY), "rb", buffering=0) as file:
            for number, frame in enumerate(_frames(file.fileno()), 1):
                if frame.page == 1 and first is None and not frame.is_whole(file.fileno()):
                    break  # the first commit was killed: SQLite replays nothing of it, nor what follows
                if frame.ends_commit:
                    frames = number
                if frame.page == 1 and (mark := _mark(os.pread(file.fileno(), _HEADER_BYTES, frame.content))):
                    first = first or mark
                    # Marks go up; what goes back is the rest of a commit that was killed, or stands in its torn frame.
                    last = mark if last is None or mark.reaches(last.commit) else last
    except FileNotFoundError:
        pass
    return Log(frames, first, last)


def belongs(log: Log, database: Mark) -> bool | None:
    """True when the WAL may be replayed over the file with the mark `database`; None where the marks can't tell.

    The first commit in it follows the state it is based on; a file that SQLite has since copied some or all of the WAL
    to is between the first and the last commit. A file with a later schema change than the WAL knows was written by
    VACUUM INTO: its pages have other numbers.
    """
    if not log.frames:
        return True
    if log.first is None or log.last is None or (log.first.lineage == database.lineage == 0):
        return None
    if database.lineage == 0:  # marked for the first time: by the first commit, or not this file
        return None if log.first.commit == 1 else False
    return (
        log.first.lineage == database.lineage
        and database.following.reaches(log.first.commit)
        and log.last.reaches(database.commit)
        and log.last.cookie >= database.cookie
    )


def _mark(header: bytes) -> Mark | None:
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        return None
    cookie, commit, lineage = _MARK.unpack_from(header)
    return Mark(lineage & _MASK, commit & _MASK, cookie)


class _Frame(NamedTuple):
    """A frame of a WAL: which page it has, and where."""

    page: int
    ends_commit: bool
    offset: int
    size: int
    """That of a page, in bytes."""
    former_checksum: int
    """The offset of the checksum before it, which its own goes on from."""
    words: str
    """The byte order of the numbers that are summed, as `struct` has it."""

    @property
    def content(self) -> int:
        """The offset of the page itself."""
        return self.offset + _FRAME.size

    def is_whole(self, descriptor: int) -> bool:
        """True when header and page were written together. Takes some 0.1 ms."""
        header, page = (os.pread(descriptor, *part) for part in ((_FRAME.size, self.offset), (self.size, self.content)))
        sums = _CHECKSUM.unpack(os.pread(descriptor, _CHECKSUM.size, self.former_checksum))
        numbers = struct.iter_unpack(f"{self.words}II", header[:_SUMMED_BYTES] + page)
        for even, odd in numbers:  # …, 4.2
            first = (sums[0] + even + sums[1]) & 0xFFFF_FFFF
            sums = first, (sums[1] + odd + first) & 0xFFFF_FFFF
        return sums == _CHECKSUM.unpack_from(header, _FRAME.size - _CHECKSUM.size)


def _frames(descriptor: int) -> Iterator[_Frame]:
    """Each frame written since the WAL was last begun anew: it has the header's salts."""
    header = os.pread(descriptor, _LOG_HEADER.size, 0)
    if len(header) < _LOG_HEADER.size:
        return
    magic, _, page_size, _, salts = _LOG_HEADER.unpack(header)
    if magic & ~1 != _LOG_MAGIC or page_size not in _PAGE_SIZES:
        return
    offset, end = _LOG_HEADER.size, os.fstat(descriptor).st_size
    former = offset - _CHECKSUM.size
    while offset + _FRAME.size + page_size <= end:
        page, pages, theirs = _FRAME.unpack(os.pread(descriptor, _FRAME.size, offset))
        if theirs != salts:
            return
        yield _Frame(page, pages != 0, offset, page_size, former, "<" if magic == _LOG_MAGIC else ">")
        former = offset + _FRAME.size - _CHECKSUM.size
        offset += _FRAME.size + page_size

"""Marks of databases and their write-ahead logs, in files that SQLite has written."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from ordersys.runtime.storage import marks
from ordersys.runtime.storage.marks import UNMARKED, Log, Mark

LAST = 0x7FFF_FFFF


@contextmanager
def writing(path: Path, lineage: int = 7) -> Iterator[sqlite3.Connection]:
    """A connection that writes a WAL, with a table and a lineage."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE IF NOT EXISTS t (x)")
        marks.put_lineage(connection, lineage)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        yield connection


def commit(connection: sqlite3.Connection, rows: int = 1) -> None:
    mark = marks.of_connection(connection).following
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * rows)
    marks.put(connection, mark)
    connection.execute("COMMIT")


def crashed(path: Path, folder: str) -> Path:
    """A copy of a database and its log as a kill -9 leaves them."""
    (path.parent / folder).mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(path.with_name(path.name + suffix), path.parent / folder / (path.name + suffix))
    return path.parent / folder / path.name


def log(path: Path) -> Log:
    return marks.of_log(path.with_name(path.name + "-wal"))


def mark(path: Path) -> Mark:
    with path.open("rb") as file:
        return marks.of_file(file.fileno()) or UNMARKED


def belongs(log_of: Path, file: Path) -> bool | None:
    return marks.belongs(log(log_of), mark(file))


def test_a_log_belongs_to_the_file_it_was_written_for_and_to_none_of_another_time(tmp_path: Path) -> None:
    """Each WAL to the file before, amid and after its checkpoint; to none from before it, or after it."""
    with writing(tmp_path / "t.db") as connection:
        states = []
        for number in range(3):
            for _ in range(4):
                commit(connection)
            states.append((crashed(tmp_path / "t.db", f"before-{number}"), number))
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            states.append((crashed(tmp_path / "t.db", f"after-{number}"), number))
    assert [mark(file).commit for file, _ in states] == [0, 4, 4, 8, 8, 12]
    for log_of, number in states:
        for file, _ in states:
            assert belongs(log_of, file) == (4 * number <= mark(file).commit <= 4 * number + 4), (log_of, file)


def test_each_commit_is_in_the_log_however_many_pages_it_has(tmp_path: Path) -> None:
    """Also one that does not fit into SQLite's cache, where other pages come before the first."""
    with writing(tmp_path / "t.db") as connection:
        commit(connection, rows=10_000)
        commit(connection)
        wal = log(tmp_path / "t.db")
        assert wal.frames > 2000
        assert (wal.first, wal.last) == (Mark(7, 1, 1), Mark(7, 2, 1))
        assert mark(tmp_path / "t.db") == Mark(7, 0, 1)


def test_a_log_of_another_lineage_belongs_to_no_other_file(tmp_path: Path) -> None:
    """Though both have come equally far."""
    files = []
    for lineage in (7, 8):
        with writing(tmp_path / f"{lineage}.db", lineage) as connection:
            commit(connection)
            files.append(crashed(tmp_path / f"{lineage}.db", f"of-{lineage}"))
    assert [[belongs(file, other) for file in files] for other in files] == [[True, False], [False, True]]


def test_a_vacuumed_copy_has_other_pages(tmp_path: Path) -> None:
    """Its content is of the same commit, and yet the log does not belong to it."""
    with writing(tmp_path / "t.db") as connection:
        commit(connection)
        connection.execute("VACUUM INTO ?", (str(tmp_path / "copy.db"),))
        commit(connection)
        assert mark(tmp_path / "copy.db")[:2] == (7, 1)
        assert belongs(tmp_path / "t.db", tmp_path / "copy.db") is False


def test_without_marks_nothing_can_be_said(tmp_path: Path) -> None:
    """A log of an earlier release beside its database: only SQLite's own check can tell."""
    with writing(tmp_path / "t.db", 0) as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        assert belongs(tmp_path / "t.db", tmp_path / "t.db") is None
        commit(connection)
    with writing(tmp_path / "other.db") as connection:
        commit(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        commit(connection)
        assert belongs(tmp_path / "other.db", tmp_path / "t.db") is False


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 10_000, bytes(10_000)])
def test_what_is_no_log_has_no_frames(tmp_path: Path, content: bytes) -> None:
    """SQLite takes no notice of it either."""
    (tmp_path / "t.db-wal").write_bytes(content)
    assert log(tmp_path / "t.db") == log(tmp_path / "missing.db") == Log(0, None, None)


@pytest.mark.parametrize("content", [b"", b"x" * 200, b"SQLite format 3\0"])
def test_what_is_no_database_has_no_mark(tmp_path: Path, content: bytes) -> None:
    """Too short, or something else."""
    (tmp_path / "t.db").write_bytes(content)
    assert mark(tmp_path / "t.db") == UNMARKED


@pytest.mark.parametrize(
    ("now", "then", "reached"),
    [(5, 5, True), (6, 5, True), (5, 6, False), (0, LAST, True), (LAST, 0, False), (3, LAST - 3, True)],
)
def test_commits_are_counted_round_the_end_of_the_numbers(now: int, then: int, reached: bool) -> None:
    """After 2³¹ commits the count begins anew, and goes on."""
    assert Mark(7, now, 1).reaches(then) == reached
    assert Mark(7, then, 1).following.reaches(then)
    assert 0 <= Mark(7, then, 1).following.commit <= LAST


class Files(NamedTuple):
    """A database and its log, byte by byte."""

    database: bytes
    log: bytes

    @classmethod
    def of(cls, path: Path) -> "Files":
        return cls(path.read_bytes(), path.with_name(path.name + "-wal").read_bytes())

    def put(self, path: Path) -> Path:
        """As a process that was killed leaves them."""
        path.parent.mkdir()
        path.write_bytes(self.database)
        path.with_name(path.name + "-wal").write_bytes(self.log)
        return path


def cuts_of_commit(before: Files, after: Files) -> Iterator[Files]:
    """The files between any two writes of a commit: a frame is written in two, the header of the WAL before."""
    header, frame = 32, 24 + 4096
    length = max(len(before.log), len(after.log))
    old, new = before.log.ljust(length, b"\0"), after.log.ljust(length, b"\0")
    changed = [at for at in range(header, length, frame) if old[at : at + frame] != new[at : at + frame]]
    ends = [0, header, *(at + part for at in range(changed[0], changed[-1] + 1, frame) for part in (24, 2000, frame))]
    return (before._replace(log=after.log[:end] + before.log[end:]) for end in ends if end <= len(after.log))


def cuts_of_checkpoint(before: Files, after: Files) -> Iterator[Files]:
    """The files between any two pages that are copied to the database."""
    ends = range(0, len(after.database) + 1, 4096)
    return (before._replace(database=after.database[:end] + before.database[end:]) for end in ends)


@pytest.mark.parametrize("generations", [1, 2, 3])
@pytest.mark.parametrize("rows", [[1, 0, 3], [0, 0, 0], [40, 1, 0], [0, 40, 1]])
def test_a_kill_between_any_two_writes_leaves_what_belongs_together(
    tmp_path: Path, rows: list[int], generations: int
) -> None:
    """Of commits of any size, also over what the WAL had before it was begun anew; SQLite reads one of both marks."""
    number = 0
    with writing(tmp_path / "t.db") as connection:
        for _ in range(generations):
            for count in rows:
                before, marked = Files.of(tmp_path / "t.db"), marks.of_connection(connection)
                commit(connection, count)
                for cut in cuts_of_commit(before, Files.of(tmp_path / "t.db")):
                    number += 1
                    left = cut.put(tmp_path / str(number) / "t.db")
                    assert belongs(left, left) is True, (count, log(left), mark(left))
                    assert sqlite_reads(left) in (marked, marked.following)
            before = Files.of(tmp_path / "t.db")
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            for cut in cuts_of_checkpoint(before, Files.of(tmp_path / "t.db")):
                number += 1
                left = cut.put(tmp_path / str(number) / "t.db")
                assert belongs(left, left) is True
                assert sqlite_reads(left) == marks.of_connection(connection)


def sqlite_reads(path: Path) -> Mark:
    with closing(sqlite3.connect(path)) as connection:
        return marks.of_connection(connection)


def test_what_was_written_over_after_a_kill_is_no_mark_of_the_log(tmp_path: Path) -> None:
    """The rest of a large commit that was killed: its first page lies behind those of later, smaller commits."""
    with writing(tmp_path / "t.db") as connection:
        commit(connection)
        before = Files.of(tmp_path / "t.db")
        commit(connection, rows=10_000)
        killed = before._replace(log=Files.of(tmp_path / "t.db").log[:-1])
    assert sqlite_reads(killed.put(tmp_path / "read" / "t.db")) == Mark(7, 1, 1)
    left = killed.put(tmp_path / "killed" / "t.db")
    with closing(sqlite3.connect(left, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        for _ in range(5):
            commit(connection)
        for checkpoint in ("", "PRAGMA wal_checkpoint(PASSIVE)"):
            connection.execute(checkpoint).fetchall()
            again = crashed(left, f"again{bool(checkpoint)}")
            assert belongs(again, again) is True
            assert log(again).last == Mark(7, 6, 1)

"""The file of a database: what becomes of it under a running process, and what is taken for one at the start."""

import asyncio
import os
import resource
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection

from ordersys.runtime.storage.database import Database
from ordersys.runtime.storage.database_file import DatabaseFile, Witness
from ordersys.runtime.storage.errors import StorageUnavailable
from ordersys.runtime.storage.schema import UnusableDatabase
from tests.unit.test_database import keep, keeping, names, schema, visit


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        beside(path, suffix).unlink()


def exchange(path: Path) -> None:
    shutil.copy(path, other := path.with_name("other"))
    other.rename(path)


def replace_folder(path: Path) -> None:
    shutil.copytree(path.parent, copy := path.parent.with_name("copy"))
    path.parent.rename(path.parent.with_name("elsewhere"))
    copy.rename(path.parent)


def link_elsewhere(path: Path) -> None:
    path.rename(other := path.with_name("other"))
    shutil.copy(other, copy := path.with_name("copy"))
    path.symlink_to(copy)


def link_folder_elsewhere(path: Path) -> None:
    path.parent.rename(first := path.parent.with_name("first"))
    shutil.copytree(first, second := path.parent.with_name("second"))
    path.parent.symlink_to(second)


VANDALISM: dict[str, Callable[[Path], object]] = {
    "all removed": remove,
    "removed": Path.unlink,
    "emptied": lambda path: os.truncate(path, 0),
    "cut off": lambda path: os.truncate(path, 50),
    "written over": lambda path: path.write_bytes(b"my holiday pictures" * 10_000),
    "exchanged": exchange,
    "linked elsewhere": link_elsewhere,
    "folder linked elsewhere": link_folder_elsewhere,
    "folder moved": lambda path: path.parent.rename(path.parent.with_name("elsewhere")),
    "folder replaced": replace_folder,
    "log removed": lambda path: beside(path, "-wal").unlink(),
    "log exchanged": lambda path: exchange(beside(path, "-wal")),
    "index removed": lambda path: beside(path, "-shm").unlink(),
}


@pytest.mark.parametrize("damage", VANDALISM)
async def test_whatever_becomes_of_the_file_nothing_more_is_answered_from_it(tmp_path: Path, damage: str) -> None:
    """From the next commit on: refused, unhealthy, said with the path; and closing does not make it worse."""
    database = await Database.open(path := tmp_path / "data" / "t.db", schema())
    await database.write(keep, "before")
    VANDALISM[damage](path)
    with pytest.raises(StorageUnavailable):
        await database.write(keep, "after")
    assert not await database.probe()
    left = path.read_bytes() if path.exists() else None
    await database.close()
    if left is not None and "log" not in damage and "index" not in damage:
        assert path.read_bytes() == left


@pytest.mark.parametrize("damage", ["removed", "exchanged", "linked elsewhere", "folder moved"])
async def test_what_is_not_at_the_path_is_not_read_either(tmp_path: Path, damage: str) -> None:
    """Nobody is told what the next start does not find."""
    database = await Database.open(path := tmp_path / "data" / "t.db", schema())
    VANDALISM[damage](path)
    with pytest.raises(StorageUnavailable):
        await database.read(lambda connection: connection.exec_driver_sql("SELECT * FROM names").all())
    await database.close()


async def test_a_file_that_is_removed_between_commit_and_answer_is_not_answered(tmp_path: Path) -> None:
    """The check after the commit sees what the one before it could not."""
    database = await Database.open(path := tmp_path / "t.db", schema())

    def keep_and_remove(connection: object, items: list[str]) -> list[str]:
        path.unlink()
        return items

    with pytest.raises(StorageUnavailable):
        await database.write(keep_and_remove, "a")
    await database.close()


async def test_what_changes_nothing_is_no_reason_to_refuse(tmp_path: Path) -> None:
    """Another mode, another time, a second name, a look by another program, a lock file gone and made again."""
    database = await Database.open(path := tmp_path / "t.db", schema())
    path.chmod(0o400)
    os.utime(path, (1, 1))
    (tmp_path / "second.db").hardlink_to(path)
    assert names(path) == []
    path.with_suffix(".lock").unlink()
    assert [await database.write(keep, "a")] == names(path)
    assert await database.probe()
    assert path.with_suffix(".lock").exists()
    await database.close()
    (tmp_path / "second.db").unlink()
    path.chmod(0o600)
    await visit(path, schema())


async def test_a_commit_is_answered_while_the_lock_file_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread writes to the lock file what is answered: it has one to write to at each moment."""
    database = await Database.open(path := tmp_path / "t.db", schema())
    begun, go_on, ended = (threading.Event() for _ in range(3))

    def keep_slowly(connection: Connection, items: list[str]) -> list[str]:
        begun.set()
        assert go_on.wait(60)
        return keep(connection, items)

    def answer(file: DatabaseFile) -> None:
        try:
            answered(file)
        finally:
            ended.set()

    def close_while_it_commits(descriptor: int) -> None:
        close(descriptor)
        go_on.set()
        assert ended.wait(60)

    answered, close = DatabaseFile.answered, os.close
    path.with_suffix(".lock").unlink()
    written = database.write(keep_slowly, "a")
    assert await asyncio.to_thread(begun.wait, 60)
    with monkeypatch.context() as patch:
        patch.setattr(DatabaseFile, "answered", answer)
        patch.setattr(os, "close", close_while_it_commits)
        probed = asyncio.ensure_future(database.probe())  # which makes the lock file again
        assert [await written] == names(path)
    assert await probed
    await database.close()
    await visit(path, schema())


async def test_damage_met_while_a_commit_is_noted_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader meets it, beside the writer's thread: the next start has to look through the file."""
    database = await Database.open(tmp_path / "t.db", schema())
    noting, may_go_on = threading.Event(), threading.Event()
    write = Witness.write

    def write_slowly(witness: Witness, descriptor: int) -> None:
        if not witness.damaged:
            noting.set()
            assert may_go_on.wait(60)
        write(witness, descriptor)

    monkeypatch.setattr(Witness, "write", write_slowly)
    written = database.write(keep, "a")
    assert await asyncio.to_thread(noting.wait, 60)
    threading.Timer(0.1, may_go_on.set).start()
    database._file.damaged("a page is torn")
    await written
    assert (witness := database._file.witness) is not None
    assert witness.damaged
    await database.close()


@pytest.mark.parametrize("suffix", ["", "-wal"])
async def test_a_file_system_that_takes_nothing_is_said_so_at_the_start(tmp_path: Path, suffix: str) -> None:
    """A new database on a full disk, and an old one that has to be upgraded: one line, and nothing is lost."""
    path = tmp_path / "t.db"
    upgraded = schema("tests", keeping("to 2"))
    if suffix:
        await visit(path, schema())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        with pytest.raises(UnusableDatabase, match=str(path)):
            await visit(path, upgraded if suffix else schema())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await visit(path, upgraded if suffix else schema())
    assert names(path) == (["first", "to 2"] if suffix else ["first"])


async def test_a_file_that_another_program_holds_is_said_so_at_the_start(tmp_path: Path) -> None:
    """sqlite3's shell with a lock of its own: the words of SQLite, with the path, and no wait without end."""
    await visit(path := tmp_path / "t.db", schema())
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("PRAGMA locking_mode = EXCLUSIVE")
        shell.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UnusableDatabase, match=f"{path}: .*locked"):
            await visit(path, schema())


async def test_a_database_of_an_earlier_release_is_taken_over(tmp_path: Path) -> None:
    """Without marks, with an empty lock file, open to others: it is looked through, marked and made private."""
    await visit(path := tmp_path / "data" / "t.db", schema())
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("PRAGMA application_id = 0")
        old.execute("PRAGMA user_version = 0")
    path.with_suffix(".lock").write_bytes(b"")
    for file in (path, path.with_suffix(".lock"), path.parent):
        file.chmod(0o777 if file.is_dir() else 0o666)
    database = await Database.open(path, schema())
    await database.write(keep, "since")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (path.parent, *path.parent.iterdir())}
    assert modes == {"data": 0o700, "t.db": 0o600, "t.db-wal": 0o600, "t.db-shm": 0o600, "t.lock": 0o600}
    await database.close()
    await visit(path, schema())
    assert names(path) == ["first", "since"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_folder_and_files_are_this_users_alone(tmp_path: Path, umask: int) -> None:
    """0700 and 0600, whatever the umask."""
    before = os.umask(umask)
    try:
        database = await Database.open(path := tmp_path / "data" / "t.db", schema())
        await database.write(keep, "a")
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (path.parent, *path.parent.iterdir())}
        await database.close()
    finally:
        os.umask(before)
    assert modes == {"data": 0o700, "t.db": 0o600, "t.db-wal": 0o600, "t.db-shm": 0o600, "t.lock": 0o600}


async def test_a_folder_with_other_things_keeps_its_mode(tmp_path: Path) -> None:
    """It may be somebody's home; where others may write to it, it is refused and named."""
    folder = tmp_path / "home"
    folder.mkdir()
    folder.chmod(0o1777)
    with pytest.raises(UnusableDatabase, match="others may write"):  # nothing in it yet: shared all the same
        await visit(folder / "t.db", schema())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
    (folder / "letters").touch()
    folder.chmod(0o755)
    await visit(folder / "t.db", schema())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    for mode in (0o775, 0o757, 0o1777):
        folder.chmod(mode)
        with pytest.raises(UnusableDatabase, match=f"others may write to its folder {folder}"):
            await visit(folder / "t.db", schema())
        assert stat.S_IMODE(folder.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
@pytest.mark.parametrize("entry", ["folder", "t.db", "t.lock"])
async def test_what_belongs_to_another_user_is_refused(tmp_path: Path, entry: str) -> None:
    """Also by root: who it belongs to is named, and nothing changes."""
    await visit(path := tmp_path / "folder" / "t.db", schema())
    theirs = path.parent if entry == "folder" else path.with_name(entry)
    os.chown(theirs, 54_321, 54_321)
    before = path.read_bytes()
    with pytest.raises(UnusableDatabase, match=f"{path}: .*{entry} belongs to user 54321.*owner"):
        await visit(path, schema())
    assert path.read_bytes() == before


def make_a_pipe(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda path: path.parent.touch(), "Not a directory"),
        (lambda path: (path.parent.mkdir(), path.mkdir()), "no regular file"),
        (make_a_pipe, "no regular file"),
        (lambda path: (path.parent.mkdir(), path.symlink_to("nowhere/at/all")), "No such file"),
        (lambda path: (path.parent.mkdir(), path.symlink_to(path)), "symbolic links"),
        (lambda path: path.parent.symlink_to("/proc/nowhere"), "No such file"),
    ],
    ids=["folder is a file", "a folder", "a pipe", "link to nowhere", "link to itself", "folder is a link to nowhere"],
)
async def test_a_path_that_can_be_no_database_is_one_line(
    tmp_path: Path, make: Callable[[Path], object], named: str
) -> None:
    """The path, and what is wrong with it."""
    path = tmp_path / "data" / "t.db"
    make(path)
    with pytest.raises(UnusableDatabase, match=named) as refused:
        await visit(path, schema())
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("folder", "named"),
    [("x" * 300, "too long"), ("x/" * 300, "too long"), ("a\0b", "NUL")],
    ids=["name", "path", "NUL"],
)
async def test_a_path_that_can_not_be_is_one_line(tmp_path: Path, folder: str, named: str) -> None:
    """A name that is too long, a path that is, one with a NUL."""
    with pytest.raises(UnusableDatabase, match=named):
        await visit(tmp_path / folder / "t.db", schema())


async def test_two_slashes_are_one(tmp_path: Path) -> None:
    """POSIX leaves open what a path with two of them in front means; SQLite's URIs begin a host with them."""
    await visit(Path(f"/{tmp_path / 't.db'}"), schema())
    assert names(tmp_path / "t.db") == ["first"]


async def test_a_second_name_is_refused(tmp_path: Path) -> None:
    """A hard link is no copy, and by it the write-ahead log is not found."""
    await visit(path := tmp_path / "t.db", schema())
    (tmp_path / "copy").hardlink_to(path)
    with pytest.raises(UnusableDatabase, match=f"{path}: .*2 names"):
        await visit(path, schema())


async def test_a_link_that_comes_to_lead_elsewhere_is_another_file(tmp_path: Path) -> None:
    """The database is the one at the path that was given, as with releases that are switched by a link."""
    for folder in ("one", "two"):
        await visit(tmp_path / folder / "t.db", schema())
    (link := tmp_path / "current").symlink_to(tmp_path / "one")
    database = await Database.open(link / "t.db", schema())
    await database.write(keep, "a")
    (switched := tmp_path / "next").symlink_to(tmp_path / "two")
    switched.rename(link)
    with pytest.raises(StorageUnavailable):
        await database.write(keep, "b")
    await database.close()
    assert [names(tmp_path / folder / "t.db") for folder in ("one", "two")] == [["a", "first"], ["first"]]

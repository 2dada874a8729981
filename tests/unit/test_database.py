"""One database file: its writer, its schema, and who may use it."""

import asyncio
import gc
import resource
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from google.rpc.status_pb2 import Status
from sqlalchemy import Column, Connection, String, Table, insert, select
from sqlalchemy.exc import OperationalError

from ordersys.contract.errors import StatusError, product_not_found
from ordersys.runtime.storage import database as module
from ordersys.runtime.storage.database import Database
from ordersys.runtime.storage.errors import StorageUnavailable
from ordersys.runtime.storage.schema import Schema, UnusableDatabase, Upgrade


def schema(owner: str = "tests", *upgrades: Upgrade) -> Schema:
    made = Schema(owner, upgrades)
    Table("names", made.metadata, Column("name", String, primary_key=True))
    return made


def said(text: str, code: int) -> OperationalError:
    """The exception SQLAlchemy makes of an error of SQLite."""
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return OperationalError("", {}, error)


DISK_FAILS = said("disk I/O error", sqlite3.SQLITE_IOERR_WRITE)
WRONG_SQL = said("no such column: nane", sqlite3.SQLITE_ERROR)
NAMES = schema().metadata.tables["names"]


def keep(connection: Connection, items: list[str]) -> list[str]:
    connection.execute(insert(NAMES), [{"name": name} for name in items])
    return items


def keeping(name: str) -> Upgrade:
    return lambda connection: connection.execute(insert(NAMES).values(name=name)).close()


def failing(connection: Connection) -> None:
    keep(connection, ["undone"])
    raise RuntimeError("in the middle")


def names(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as other:
        return [row[0] for row in other.execute("SELECT name FROM names ORDER BY name")]


async def visit(path: Path, known: Schema, first: Upgrade | None = None) -> None:
    await (await Database.open(path, known, first or keeping("first"))).close()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A new database whose writer waits for no other connection."""
    opened = await Database.open(tmp_path / "t.db", schema())
    await opened.write(lambda connection, _: [connection.exec_driver_sql("PRAGMA busy_timeout = 1").rowcount], None)
    yield opened
    await opened.close()


async def test_writes_handed_in_while_a_commit_is_under_way_share_the_next(database: Database) -> None:
    """One goes alone; the nine that came meanwhile are one call of their operation, in order."""
    calls: list[list[str]] = []
    gate = threading.Event()

    def slow(connection: Connection, items: list[str]) -> list[str]:
        calls.append(items)
        gate.wait()
        return keep(connection, items)

    first = database.write(slow, "0")
    await asyncio.sleep(0)
    rest = [database.write(slow, str(number)) for number in range(1, 10)]
    gate.set()
    assert await asyncio.gather(first, *rest) == list("0123456789")
    assert calls == [["0"], list("123456789")]


async def test_what_was_answered_is_there_for_everybody(database: Database) -> None:
    """Another connection to the file finds it; a query that would write fails, as the bug it is."""
    for name in "abc":
        assert await database.write(keep, name) == names(database.path)[-1] == name
    with pytest.raises(OperationalError, match="readonly"):
        await database.read(keep, ["by a reader"])


@pytest.mark.parametrize(
    ("error", "raised"),
    [(ValueError("bad"), ValueError), (WRONG_SQL, OperationalError), (DISK_FAILS, StorageUnavailable)],
    ids=["bug", "wrong SQL", "disk"],
)
async def test_a_failure_for_one_item_fails_no_other(database: Database, error: Exception, raised: type) -> None:
    """The batch is undone and each item tried alone: what is then committed is answered, nothing else is."""

    def fragile(connection: Connection, items: list[str]) -> list[str]:
        keep(connection, items)
        if "b" in items:
            raise error if items == ["b"] else ValueError("together")
        return items

    results = await asyncio.gather(*(database.write(fragile, name) for name in "abc"), return_exceptions=True)
    assert (results[0], type(results[1])) == ("a", raised)
    assert [result for result in results if isinstance(result, str)] == names(database.path)


async def test_a_refused_item_undoes_nothing_of_the_others(database: Database) -> None:
    """A refusal as a value is raised for its item; what was written beside it is committed."""
    refusal = product_not_found("b")

    def choosy(connection: Connection, items: list[str]) -> list[str | StatusError]:
        keep(connection, [name for name in items if name != "b"])
        return [refusal if name == "b" else name for name in items]

    results = await asyncio.gather(*(database.write(choosy, name) for name in "abc"), return_exceptions=True)
    assert (results, names(database.path)) == (["a", refusal, "c"], ["a", "c"])


async def test_a_file_that_cant_be_written_is_said_so_until_it_can(database: Database) -> None:
    """StorageUnavailable while another holds the file; a probe finds the end of it, and no error is left over."""
    unseen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context["message"]))
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match=f"{database.path} can't be written: database is locked"):
            await database.write(keep, "lost")
        assert not await database.probe()
    assert await database.probe()
    assert [await database.write(keep, "kept")] == names(database.path)
    gc.collect()
    assert unseen == []


async def test_a_probe_is_good_for_what_it_has_written_itself(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not for a write beside it that went well; and a bug in it is logged, and no sign of health."""

    def broken(connection: Connection, items: list[object]) -> list[object]:
        raise WRONG_SQL

    monkeypatch.setattr(database._schema, "touch", broken)
    probe, write = asyncio.create_task(database.probe()), database.write(keep, "beside it")
    assert (await probe, await write) == (False, "beside it")
    assert "could not be probed" in caplog.text


async def test_wrong_sql_is_a_bug_and_no_state_of_the_storage(database: Database) -> None:
    """SQLite calls it an operational error, as a full disk: the code of the error says which it is."""
    with pytest.raises(OperationalError):
        await database.write(lambda connection, _: connection.exec_driver_sql("SELECT nane FROM names").all(), None)
    with pytest.raises(OperationalError):
        await database.read(lambda connection: connection.exec_driver_sql("SELECT nane FROM names").all())
    assert await database.probe()


@pytest.mark.parametrize("folder", ["new", "a b", "100%41", "c#", "why?", "grün", "\udcff\udcfe", "new/deep/deeper"])
async def test_closing_finishes_what_was_handed_in(tmp_path: Path, folder: str) -> None:
    """All of it is on disk afterwards, in whatever folder, and answered."""
    database = await Database.open(path := tmp_path / folder / "t.db", schema())
    writes = [database.write(keep, f"{number:03}") for number in range(600)]
    await database.close()
    assert [write.result() for write in writes] == names(path)


@pytest.mark.parametrize("recorded", [1, 2, 3])
async def test_an_older_file_is_upgraded_by_the_steps_it_lacks(tmp_path: Path, recorded: int) -> None:
    """Each once; a step that fails leaves the file as it was."""
    steps = [keeping("to 2"), keeping("to 3")]
    await visit(path := tmp_path / "t.db", schema("tests", *steps[: recorded - 1]))
    with pytest.raises(RuntimeError):
        await visit(path, schema("tests", *steps, failing))
    for _ in range(2):
        await visit(path, schema("tests", *steps))
    assert names(path) == ["first", *["to 2", "to 3"][recorded - 1 :]]


async def test_a_file_whose_filling_failed_is_begun_anew(tmp_path: Path) -> None:
    """Tables and first rows are one transaction: both or nothing."""
    with pytest.raises(RuntimeError):
        await visit(tmp_path / "t.db", schema(), failing)
    await visit(tmp_path / "t.db", schema())
    assert names(tmp_path / "t.db") == ["first"]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (schema("tests", keeping("to 2")), "version 2 is newer than 1"),
        (schema("other"), "belongs to other, not to tests"),
        ("CREATE TABLE songs (title)", "something else"),
        (
            "CREATE TABLE schema_version (owner, version, touch_time)",
            "its table schema_version has 0 rows, and not one",
        ),
        ("CREATE TABLE schema_version AS SELECT 'tests' owner, 0 version, 0 touch_time", "version 0 was written by no"),
        (
            "CREATE TABLE schema_version AS SELECT 'tests' owner, 1 version, 0 touch_time",
            "it lacks names; somebody",
        ),
        ("CREATE TABLE schema_version (version)", "something else"),
        (b"my holiday pictures" * 100, "not a database"),
        (b"SQLite format 3\0" * 100, "not a database"),
    ],
)
async def test_a_file_that_is_not_ours_is_refused_and_kept(tmp_path: Path, content: object, named: str) -> None:
    """The file and the reason are named, and not one of its bytes changes."""
    path = tmp_path / "t.db"
    if isinstance(content, Schema):
        await visit(path, content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with closing(sqlite3.connect(path)) as other:
            other.execute(str(content))
    before = path.read_bytes()
    with pytest.raises(UnusableDatabase, match=f"{path}: .*{named}"):
        await visit(path, schema())
    assert path.read_bytes() == before


async def test_a_second_process_waits_then_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the file when the first closes it in time; else it is told to stop the first."""
    first = await Database.open(path := tmp_path / "t.db", schema())
    second = asyncio.create_task(Database.open(path, schema()))
    await asyncio.sleep(0)
    monkeypatch.setattr(module, "_LOCK_SECONDS", 0.01)
    with pytest.raises(UnusableDatabase, match="another process uses it; stop that one first"):
        await Database.open(path, schema())
    await first.close()
    await (await second).close()


async def test_what_can_not_be_read_for_the_moment_is_refused_as_such(database: Database) -> None:
    """Not a bug: with no descriptor left a reader can't open the file; as soon as there is one, it can."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(StorageUnavailable, match=f"{database.path} can't be read: unable to open"):
            await database.read(lambda connection: connection.execute(select(NAMES)).all())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert await database.read(lambda connection: connection.execute(select(NAMES)).all()) == []


async def test_items_handed_in_together_have_a_result_each(database: Database) -> None:
    """In order and in one commit; one that fails is the result of its item, and undoes nothing of the others."""
    calls: list[list[str]] = []

    def store(connection: Connection, items: list[str]) -> list[str | Exception]:
        calls.append(items)
        keep(connection, items)
        if "bad" in items:
            raise ZeroDivisionError
        return [StatusError(Status(code=5)) if name == "refused" else name for name in items]

    kept, refused, also = await database.write_each(store, ["a", "refused", "b"])
    assert (kept, also) == ("a", "b")
    assert isinstance(refused, StatusError)
    assert calls == [["a", "refused", "b"]]
    good, bad, other = await database.write_each(store, ["c", "bad", "d"])
    assert (good, other) == ("c", "d")
    assert isinstance(bad, ZeroDivisionError)
    assert names(database.path) == ["a", "b", "c", "d", "refused"]


async def test_an_operation_that_answers_too_little_fails_its_items(database: Database) -> None:
    """Nobody is given the result of another, or waits for ever."""
    with pytest.raises(RuntimeError, match="answered 0 of 1"):
        await database.write(lambda connection, items: [], "x")

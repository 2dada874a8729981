"""Backup and restore of one database, without a service: what is copied, what is refused, what is left."""

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from ordersys.runtime.storage.backup import backup, restore
from ordersys.runtime.storage.database import Database
from ordersys.runtime.storage.database_file import set_of
from ordersys.runtime.storage.schema import UnusableDatabase
from tests.unit.test_database import keep, keeping, names, schema, visit


def aside(line: str) -> Path:
    """The place where a restore says that it has put what was there."""
    return Path(line.rpartition("what was there is ")[2].removesuffix(" now"))


async def test_a_backup_is_one_private_file_that_can_be_restored(tmp_path: Path) -> None:
    """Without a write-ahead log; what was written since is gone after a restore, and stands in what was put aside."""
    await visit(path := tmp_path / "data" / "t.db", schema())
    backup(path, schema(), copy := tmp_path / "copy.db")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert not [file for file in set_of(copy)[1:] if file.exists()]
    database = await Database.open(path, schema())
    await database.write(keep, "since")
    await database.close()
    was = aside(restore(path, schema(), copy))
    assert (names(path), names(was), names(copy)) == (["first"], ["first", "since"], ["first"])
    await visit(path, schema())


async def test_a_backup_has_a_lineage_of_its_own_each_time(tmp_path: Path) -> None:
    """So that no write-ahead log of the original, or of another restored copy, is ever replayed over it."""
    await visit(path := tmp_path / "t.db", schema())
    lineages = set()
    for number in range(3):
        backup(path, schema(), copy := tmp_path / f"{number}.db")
        restore(restored := tmp_path / f"{number}" / "t.db", schema(), copy)
        for file in (path, copy, restored):
            with closing(sqlite3.connect(file)) as database:
                lineages.add(database.execute("PRAGMA application_id").fetchone()[0])
    assert len(lineages) == 7
    assert 0 not in lineages


async def test_an_older_backup_is_upgraded_when_it_is_used(tmp_path: Path) -> None:
    """A newer one is refused, as is one of another owner; the words are those of the start."""
    await visit(path := tmp_path / "t.db", schema())
    newer = schema("tests", keeping("to 2"))
    backup(path, schema(), copy := tmp_path / "copy.db")
    restore(path, newer, copy)
    await visit(path, newer)
    assert names(path) == ["first", "to 2"]
    backup(path, newer, new := tmp_path / "new.db")
    before = path.read_bytes()
    for known, named in ((schema(), "version 2 is newer than 1"), (schema("other"), "belongs to tests, not to other")):
        with pytest.raises(UnusableDatabase, match=named):
            restore(path, known, new)
    assert path.read_bytes() == before


async def test_what_lies_there_can_be_restored_in_its_place(tmp_path: Path) -> None:
    """Older than what was answered, it is refused; restored, that is taken note of, and it is used."""
    await visit(path := tmp_path / "t.db", schema())
    backup(path, schema(), copy := tmp_path / "copy.db")
    path.write_bytes(copy.read_bytes())
    with pytest.raises(UnusableDatabase, match="exchanged"):
        await visit(path, schema())
    restore(path, schema(), path)
    await visit(path, schema())


@pytest.mark.parametrize("folder", ["a b", "100%41", "why?#", "grün", "\udcff\udcfe"])
async def test_names_are_bytes(tmp_path: Path, folder: str) -> None:
    """Bytes of any value make a name."""
    await visit(path := tmp_path / folder / "t.db", schema())
    backup(path, schema(), copy := tmp_path / folder / f"{folder}.db")
    restore(path, schema(), copy)
    assert names(path) == ["first"]


async def test_a_backup_with_a_log_of_another_beside_it_is_refused(tmp_path: Path) -> None:
    """A database as a crash leaves it can be restored with its own log, and with no other."""
    for name in ("a", "b"):
        database = await Database.open(tmp_path / name / "t.db", schema())
        await database.write(keep, name)
        for suffix in ("", "-wal"):
            (tmp_path / f"{name}.db{suffix}").write_bytes((tmp_path / name / f"t.db{suffix}").read_bytes())
        await database.close()
    restore(path := tmp_path / "new" / "t.db", schema(), tmp_path / "a.db")
    assert names(path) == ["a"]
    (tmp_path / "b.db-wal").write_bytes((tmp_path / "a.db-wal").read_bytes())
    with pytest.raises(UnusableDatabase, match=r"b\.db-wal beside it is of another one"):
        restore(path, schema(), tmp_path / "b.db")
    assert names(path) == ["a"]

"""The database file is the one it was, or nothing is answered from it: with real processes, kills and copies."""

import os
import sqlite3
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.api import eventually
from tests.integration.order_service import NOT_SERVING, SERVING, ended, order_service

NOTICED_SECONDS = 15.0
"""Within which health has to say so (design, guarantee 16)."""
Files = dict[str, bytes]


def with_suffixes(file: Path) -> list[Path]:
    """A database, its write-ahead log and the index of that, as far as they are there."""
    return [path for suffix in ("", "-wal", "-shm") if (path := file.with_name(file.name + suffix)).exists()]


def online_copy(source: Path, target: Path) -> None:
    """As `.backup` of sqlite3's shell makes it."""
    with closing(sqlite3.connect(source)) as used, closing(sqlite3.connect(target)) as copy:
        used.backup(copy)


def vacuum_copy(source: Path, target: Path) -> None:
    """As VACUUM INTO makes it: the same content on other pages."""
    with closing(sqlite3.connect(source)) as used:
        used.execute("VACUUM INTO ?", (str(target),))


def copied_over(source: Path, target: Path) -> None:
    """As `cp` does: the same inode, other content."""
    target.write_bytes(source.read_bytes())


def content(folder: Path) -> Files:
    """All that lies there but the lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}


def assert_refused(done: "subprocess.CompletedProcess[str]", *named: str) -> None:
    """Exit status 2, and one line that names the file and the way out."""
    assert done.returncode == 2, done
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for name in named:
        assert name in done.stderr, done.stderr


def remove(file: Path) -> None:
    for path in with_suffixes(file):
        path.unlink()


def remove_the_file_alone(file: Path) -> None:
    file.unlink()


def empty(file: Path) -> None:
    os.truncate(file, 0)


def exchange(file: Path) -> None:
    """Another file is renamed over it, as `mv` and many editors do."""
    online_copy(file, other := file.with_name("other"))
    other.rename(file)


def move_folder(file: Path) -> None:
    file.parent.rename(file.parent.with_name("elsewhere"))


def remove_log(file: Path) -> None:
    file.with_name(file.name + "-wal").unlink()


def remove_log_and_index(file: Path) -> None:
    remove_log(file)
    file.with_name(file.name + "-shm").unlink()


def scribble(file: Path) -> None:
    file.write_bytes(b"my holiday pictures" * 10_000)


@pytest.mark.parametrize("vandalise", [remove, exchange, move_folder, remove_log_and_index, scribble])
def test_nothing_is_acknowledged_that_is_not_in_the_file_at_the_path(
    tmp_path: Path, vandalise: Callable[[Path], None]
) -> None:
    """From the moment on at which the file is taken away: each write is refused, health says so, the log says what.

    Whatever else may become of it: tests/unit/test_database_file.py.
    """
    with order_service(tmp_path / "data") as service:
        service.create()
        vandalise(service.file)
        assert [service.refused() for _ in range(10)] == ["STORAGE_UNAVAILABLE"] * 10
        eventually(lambda: service.health == NOT_SERVING, NOTICED_SECONDS)
        assert service.says(str(service.file), "can't be written")


def test_a_file_that_is_put_back_is_used_again(tmp_path: Path) -> None:
    """By itself, with everything that was answered, and with what was answered since."""
    with order_service(tmp_path / "data") as service:
        orders = [service.create()]
        folder, aside = service.file.parent, tmp_path / "aside"
        folder.rename(aside)
        eventually(lambda: service.health == NOT_SERVING, NOTICED_SECONDS)
        aside.rename(folder)
        eventually(lambda: service.health == SERVING, NOTICED_SECONDS)
        orders.append(service.create())
        service.kill()
    with order_service(tmp_path / "data") as service:
        assert service.missing(orders) == []


@pytest.mark.parametrize("vandalise", [remove_log, remove_log_and_index])
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_write_ahead_log_that_is_removed_takes_nothing_with_it(
    tmp_path: Path, vandalise: Callable[[Path], None], end: str
) -> None:
    """A change answered before stands in the file as soon as it is noticed, however the process ends then."""
    with order_service(tmp_path / "data") as service:
        orders = [service.create() for _ in range(20)]
        vandalise(service.file)
        eventually(lambda: service.health == NOT_SERVING, NOTICED_SECONDS)
        getattr(service, end)()
    with order_service(tmp_path / "data") as service:
        assert service.missing(orders) == []


@pytest.mark.parametrize("copy", [online_copy, vacuum_copy])
@pytest.mark.parametrize("since", [20, 400], ids=["same WAL", "later WAL"])
def test_a_backup_copied_over_a_crashed_database_is_refused_or_whole(
    tmp_path: Path, copy: Callable[[Path, Path], None], since: int
) -> None:
    """Never a mixture: it starts with everything that was answered, or says how to restore and changes nothing."""
    with order_service(tmp_path / "data") as service:
        orders = [service.create() for _ in range(30)]
        copy(service.file, backup := tmp_path / "backup.db")
        orders += [service.create() for _ in range(since)]
        service.kill()
    copied_over(backup, service.file)
    before = content(service.file.parent)
    if copy is vacuum_copy or since == 400:  # another time, or other pages: the log does not belong to it
        assert_refused(ended(service.file.parent), str(service.file), "exchanged", "ordersys.order_service restore")
        assert content(service.file.parent) == before
        return
    # All the log holds since then follows from the copy, page for page.
    with order_service(tmp_path / "data") as again:
        assert again.missing(orders) == []
        assert again.refused() == ""


@pytest.mark.parametrize("leftovers", [[], ["-wal"], ["-wal", "-shm"]], ids=["alone", "wal", "wal and shm"])
@pytest.mark.parametrize("vandalise", [remove_the_file_alone, empty])
def test_a_file_that_is_gone_or_empty_is_no_new_database(
    tmp_path: Path, vandalise: Callable[[Path], None], leftovers: list[str]
) -> None:
    """A used database is not replaced: not beside its remains, and not without them. The way to a new one is named."""
    with order_service(tmp_path / "data") as service:
        service.create()
        service.kill()
    kept = {service.file.name + suffix for suffix in leftovers}
    for path in with_suffixes(service.file)[1:]:
        if path.name not in kept:
            path.unlink()
    vandalise(service.file)
    before = content(service.file.parent)
    assert_refused(ended(service.file.parent), str(service.file), "restore a backup", "order.lock")
    assert content(service.file.parent) == before
    remove(service.file)
    service.file.with_suffix(".lock").unlink()
    with order_service(tmp_path / "data") as new:
        assert new.refused() == ""


def test_leftovers_alone_are_no_new_database(tmp_path: Path) -> None:
    """Also where the lock file is gone: a write-ahead log without its database is not thrown away."""
    with order_service(tmp_path / "data") as service:
        service.create()
        service.kill()
    service.file.unlink()
    service.file.with_suffix(".lock").unlink()
    before = content(service.file.parent)
    assert_refused(ended(service.file.parent), str(service.file), "order.db-wal is left")
    assert content(service.file.parent) == before


def test_a_crashed_database_without_its_log_is_refused(tmp_path: Path) -> None:
    """The number of commits that are missing is named; put back, they are there."""
    with order_service(tmp_path / "data") as service:
        orders = [service.create() for _ in range(20)]
        service.kill()
    log = service.file.with_name("order.db-wal")
    log.rename(aside := tmp_path / "aside")
    assert_refused(ended(service.file.parent), str(service.file), "commits are missing", "order.db-wal")
    aside.rename(log)
    with order_service(tmp_path / "data") as again:
        assert again.missing(orders) == []


def test_a_look_with_another_program_is_no_damage(tmp_path: Path) -> None:
    """sqlite3's shell on a crashed database empties the log into the file and removes it: all is there."""
    with order_service(tmp_path / "data") as service:
        orders = [service.create() for _ in range(20)]
        service.kill()
    with closing(sqlite3.connect(service.file)) as shell:
        assert shell.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert with_suffixes(service.file) == [service.file]
    with order_service(tmp_path / "data") as again:
        assert again.missing(orders) == []


def test_checkpoints_by_another_program_are_no_damage(tmp_path: Path) -> None:
    """While the service runs, too: it goes on, and starts again after a crash."""
    with order_service(tmp_path / "data") as service:
        orders = []
        for _ in range(5):
            orders += [service.create() for _ in range(5)]
            with closing(sqlite3.connect(service.file)) as shell:
                shell.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        orders.append(service.create())
        service.kill()
    with order_service(tmp_path / "data") as again:
        assert again.missing(orders) == []


@pytest.mark.parametrize("where", ["page 2", "in the middle", "cut off"])
def test_a_damaged_file_is_refused_and_kept(tmp_path: Path, where: str) -> None:
    """One line that names it and the way out; not one byte changes."""
    with order_service(tmp_path / "data") as service:
        for _ in range(50):
            service.create()
        assert service.stop() == 0
    size = service.file.stat().st_size
    if where == "cut off":
        os.truncate(service.file, size // 2)
    else:
        with service.file.open("r+b") as file:
            file.seek(4096 if where == "page 2" else size // 8192 * 4096)
            file.write(b"\xa5" * 8192)
    before = content(service.file.parent)
    assert_refused(ended(service.file.parent), str(service.file), "damaged", "ordersys.order_service restore")
    assert content(service.file.parent) == before


def test_damage_that_is_met_in_a_call_is_a_state_of_health(tmp_path: Path) -> None:
    """STORAGE_UNAVAILABLE for whoever meets it, NOT_SERVING from then on, and refused at the next start."""
    with order_service(tmp_path / "data") as service:
        order = service.create()
        assert service.stop() == 0
    with order_service(tmp_path / "data") as service:
        with service.file.open("r+b") as file:  # all but the first page, below the feet of the process
            file.seek(4096)
            file.write(b"\xa5" * (service.file.stat().st_size - 4096))
        # What its connections have in memory is good still; what comes from the disk is not.
        refusals = [service.refused() for _ in range(200)]
        assert set(refusals) <= {"", "STORAGE_UNAVAILABLE"}
        assert refusals[-1] == "STORAGE_UNAVAILABLE"
        eventually(lambda: service.health == NOT_SERVING, NOTICED_SECONDS)
        assert service.says("damaged", "ordersys.order_service restore")
        service.kill()
    assert order
    assert_refused(ended(service.file.parent), str(service.file), "damaged")


def test_a_second_process_is_kept_out_though_the_lock_file_is_gone(tmp_path: Path) -> None:
    """The database itself is locked, by whatever name it is opened; the lock file is made again."""
    with order_service(tmp_path / "data") as service:
        lock = service.file.with_suffix(".lock")
        lock.unlink()
        link = tmp_path / "link"
        link.mkdir(0o700)
        (link / "order.db").symlink_to(service.file)
        with ThreadPoolExecutor() as pool:  # each waits for the other to end before it gives up
            by_link = pool.submit(ended, link)
            eventually(lock.exists, NOTICED_SECONDS)
            assert_refused(ended(service.file.parent), "another process uses it")
            assert_refused(by_link.result(), "another process uses it")
        assert service.refused() == ""


def test_a_lock_file_by_another_is_no_way_in(tmp_path: Path) -> None:
    """Replaced by a new one, it locks nothing: the database is locked."""
    with order_service(tmp_path / "data") as service:
        lock = service.file.with_suffix(".lock")
        lock.write_bytes(b"")
        new = lock.with_name("new.lock")
        new.touch()
        new.rename(lock)
        assert_refused(ended(service.file.parent), "another process uses it")
        assert service.refused() == ""

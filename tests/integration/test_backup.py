"""Backup beside a running service, and restore: tried by restoring, with real processes under load."""

import os
import signal
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import pytest

from tests.integration.order_service import SERVING, OrderService, ended, order_service
from tests.integration.test_database_file import assert_refused, content, copied_over, with_suffixes
from tests.running import repeated


@contextmanager
def load(service: OrderService, threads: int = 4) -> Iterator[list[str]]:
    """Orders are created all the time; those that were answered."""
    answered: list[str] = []

    def create() -> None:
        try:
            answered.append(service.create())
        except grpc.RpcError:
            time.sleep(0.01)

    with repeated(create, threads):
        yield answered


def done(folder: Path, *arguments: str) -> str:
    """A command that ends well; its line."""
    finished = ended(folder, *arguments)
    assert (finished.returncode, finished.stderr) == (0, ""), finished
    (line,) = finished.stdout.splitlines()
    return line


def test_what_was_answered_before_a_backup_is_there_after_its_restore(tmp_path: Path) -> None:
    """Made under load, the service killed, its files exchanged: one moment, sound, and the service goes on from it."""
    backup = tmp_path / "order-backup.db"
    with order_service(tmp_path / "data") as service:
        with load(service) as answered:
            while len(answered) < 300:
                assert service.health == SERVING
            before = answered.copy()
            assert str(backup) in done(tmp_path / "data", "backup", str(backup))
        service.kill()
    assert with_suffixes(backup) == [backup]
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    later = content(tmp_path / "data")
    line = done(tmp_path / "data", "restore", str(backup))
    with order_service(tmp_path / "data") as service:
        assert service.missing(before) == []
        assert len(service.missing(answered)) <= len(answered) - len(before)
        assert service.refused() == ""
        assert service.stop() == 0
    aside = Path(line.rpartition("what was there is ")[2].removesuffix(" now"))
    assert {file.read_bytes() for file in with_suffixes(aside)} == set(later.values())


def test_what_was_put_aside_can_be_restored_again(tmp_path: Path) -> None:
    """With its write-ahead log, as it was when the service crashed: nothing is lost by a restore that was wrong."""
    with order_service(tmp_path / "data") as service:
        done(tmp_path / "data", "backup", str(tmp_path / "b.db"))
        orders = [service.create() for _ in range(20)]
        service.kill()
    line = done(tmp_path / "data", "restore", str(tmp_path / "b.db"))
    with order_service(tmp_path / "data") as service:
        assert service.missing(orders) == orders
    done(tmp_path / "data", "restore", line.rpartition("what was there is ")[2].removesuffix(" now"))
    with order_service(tmp_path / "data") as service:
        assert service.missing(orders) == []


def test_a_backup_is_restored_on_another_machine(tmp_path: Path) -> None:
    """Into a folder that does not exist yet; from a medium that can't be written."""
    with order_service(tmp_path / "data") as service:
        orders = [service.create() for _ in range(5)]
        done(tmp_path / "data", "backup", str(tmp_path / "b.db"))
    (tmp_path / "b.db").chmod(0o400)
    done(tmp_path / "new", "restore", str(tmp_path / "b.db"))
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    with order_service(tmp_path / "new") as service:
        assert service.missing(orders) == []


def test_a_backup_copied_by_hand_is_refused_with_the_way_to_restore_it(tmp_path: Path) -> None:
    """Over a crashed database, or over one closed in good order: it is another one than the one that was used."""
    with order_service(tmp_path / "data") as service:
        done(tmp_path / "data", "backup", str(tmp_path / "b.db"))
        service.create()
        service.kill()
    copied_over(tmp_path / "b.db", service.file)
    assert_refused(ended(tmp_path / "data"), "exchanged", "ordersys.order_service restore")
    for file in with_suffixes(service.file)[1:]:
        file.unlink()
    before = content(tmp_path / "data")
    assert_refused(ended(tmp_path / "data"), "exchanged", "ordersys.order_service restore")
    assert content(tmp_path / "data") == before
    done(tmp_path / "data", "restore", str(service.file))
    with order_service(tmp_path / "data") as again:
        assert again.refused() == ""


def test_a_database_at_rest_or_crashed_can_be_backed_up(tmp_path: Path) -> None:
    """With all that is in its write-ahead log, and without a change to it."""
    with order_service(tmp_path / "data") as service:
        orders = [service.create() for _ in range(20)]
        service.kill()
    before = content(tmp_path / "data")
    before.pop("order.db-shm")
    done(tmp_path / "data", "backup", str(tmp_path / "crashed.db"))
    after = content(tmp_path / "data")
    after.pop("order.db-shm")
    assert after == before
    with order_service(tmp_path / "data") as service:
        assert service.stop() == 0
    done(tmp_path / "data", "backup", str(tmp_path / "rest.db"))
    for backup in ("crashed.db", "rest.db"):
        with closing(sqlite3.connect(tmp_path / backup)) as database:
            restored = {row[0] for row in database.execute("SELECT order_id FROM orders")}
        assert set(orders) <= restored


def test_a_backup_overwrites_nothing_unless_told(tmp_path: Path) -> None:
    """An earlier backup when told, and nothing else ever; what fails leaves nothing behind."""
    folder, backup = tmp_path / "data", tmp_path / "backups" / "b.db"
    backup.parent.mkdir()
    with order_service(folder) as service:
        done(folder, "backup", str(backup))
        earlier = backup.read_bytes()
        notes, pipe = tmp_path / "notes.txt", tmp_path / "pipe"
        notes.write_text("of somebody")
        os.mkfifo(pipe)
        assert_refused(ended(folder, "backup", "--overwrite", str(notes)), "is no backup of this service")
        assert_refused(ended(folder, "backup", "--overwrite", str(pipe)), "is no regular file")
        assert notes.read_text() == "of somebody"
        assert_refused(ended(folder, "backup", str(backup)), str(backup), "there already", "--overwrite")
        for own in ("order.db", "order.db-wal", "order.lock"):
            assert_refused(ended(folder, "backup", "--overwrite", str(folder / own)), "the database itself")
        assert_refused(ended(folder, "backup", str(backup.parent)), "is a folder")
        assert_refused(
            ended(folder, "backup", str(tmp_path / "no" / "b.db")), f"there is no folder {tmp_path / 'no'}; make it"
        )
        assert backup.read_bytes() == earlier
        done(folder, "backup", str(backup), "--overwrite")
        assert sorted(backup.parent.iterdir()) == [backup]
        assert service.refused() == ""


def test_a_backup_of_nothing_is_none(tmp_path: Path) -> None:
    """No database: said so, and none is made."""
    assert_refused(ended(tmp_path / "data", "backup", str(tmp_path / "b.db")), "there is no such", "ORDERSYS_DATA_DIR")
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "b.db").exists()


def test_nothing_is_restored_under_a_running_service(tmp_path: Path) -> None:
    """Neither while it has the lock file, nor when that was taken away."""
    with order_service(tmp_path / "data") as service:
        done(tmp_path / "data", "backup", str(tmp_path / "b.db"))
        assert_refused(ended(tmp_path / "data", "restore", str(tmp_path / "b.db")), "another process uses it")
        service.file.with_suffix(".lock").unlink()
        assert_refused(ended(tmp_path / "data", "restore", str(tmp_path / "b.db")), "another process uses it")
        assert service.refused() == ""


def damage(file: Path) -> None:
    with file.open("r+b") as open_file:
        open_file.seek(file.stat().st_size // 8192 * 4096)
        open_file.write(b"\xa5" * 4096)


def make_foreign(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("UPDATE schema_version SET owner = 'product-service'")


def make_newer(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("UPDATE schema_version SET version = 99")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (damage, "damaged"),
        (make_foreign, "give it to python -m ordersys.product_service restore FILE"),
        (make_newer, "version 99"),
        (lambda file: file.write_bytes(b"my holiday pictures" * 100), "not a database"),
        (lambda file: os.truncate(file, 0), "it is empty"),
        (lambda file: os.truncate(file, 20_000), "malformed"),
        (Path.unlink, "is no file"),
    ],
    ids=["damaged", "of another service", "newer", "no database", "empty", "cut off", "missing"],
)
def test_what_is_no_sound_backup_of_this_service_is_not_restored(tmp_path: Path, spoil: object, named: str) -> None:
    """The reason is given in one line; the database stays as it is, to the byte."""
    with order_service(tmp_path / "data") as service:
        done(tmp_path / "data", "backup", str(backup := tmp_path / "b.db"))
        service.kill()
    spoil(backup)  # type: ignore[operator]
    before = content(tmp_path / "data")
    assert_refused(ended(tmp_path / "data", "restore", str(backup)), str(backup), named, "name a")
    assert content(tmp_path / "data") == before


@pytest.mark.parametrize("point", ["restore.aside", "restore.named"])
def test_a_restore_that_is_killed_is_done_again(tmp_path: Path, point: str) -> None:
    """The service does not start with half of it; everything is there, and the same command completes it."""
    with order_service(tmp_path / "data") as service:
        orders = [service.create() for _ in range(5)]
        done(tmp_path / "data", "backup", str(backup := tmp_path / "b.db"))
        service.create()
        service.kill()
    before = set(content(tmp_path / "data").values())
    killed = ended(tmp_path / "data", "restore", str(backup), ORDERSYS_CRASH_POINT=point)
    assert killed.returncode == -signal.SIGKILL
    assert_refused(ended(tmp_path / "data"), str(service.file), "ordersys.order_service restore")
    assert before <= set(content(tmp_path / "data").values())
    done(tmp_path / "data", "restore", str(backup))
    with order_service(tmp_path / "data") as again:
        assert again.missing(orders) == []

"""Odd files in the places of the launcher and the services: one line that names them, soon, and exit status 2."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.test_local import assert_refused, folder, processes_of, start
from tests.integration.test_wrong_input import assert_one_line
from tests.integration.test_wrong_input import start as start_service
from tests.running import addresses, local

__all__ = ["folder"]

ODD: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["order.db", "order.db-wal", "order.db-shm", "order.db-journal", "order.lock"])
def test_a_service_names_what_lies_in_the_place_of_a_file_of_its_database(tmp_path: Path, name: str, odd: str) -> None:
    """A pipe would be waited for, by SQLite too; a device would be written to."""
    ODD[odd](tmp_path / name)
    assert_one_line(start_service("order_service", tmp_path), "order-service: database ", name)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("variable", ["ORDERSYS_ORDERS_FILE", "ORDERSYS_PRODUCTS_FILE"])
def test_a_service_names_what_lies_in_the_place_of_its_static_file(tmp_path: Path, variable: str, odd: str) -> None:
    """Before it serves."""
    ODD[odd](tmp_path / "static.json")
    done = start_service("product_service", tmp_path / "data", **{variable: str(tmp_path / "static.json")})
    assert_one_line(done, f"product-service: {tmp_path / 'static.json'}: ")


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["b.db", "b.db-wal", "b.db-journal"])
def test_a_restore_names_what_is_no_backup(tmp_path: Path, name: str, odd: str) -> None:
    """Or lies where SQLite would look for the rest of one."""
    (tmp_path / "b.db").write_bytes(b"x")
    (tmp_path / name).unlink(missing_ok=True)
    ODD[odd](tmp_path / name)
    done = start_restore(tmp_path / "data", tmp_path / "b.db")
    assert_one_line(done, "order-service: restore of database ", name)


def start_restore(data: Path, backup: Path) -> "subprocess.CompletedProcess[str]":
    """`restore`, with standard input that nobody writes to."""
    return subprocess.run(
        [sys.executable, "-m", "ordersys.order_service", "restore", str(backup)],
        env={**os.environ, "ORDERSYS_DATA_DIR": str(data)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


FILES = ("lock", "processes", "rabbitmq/advanced.config", "rabbitmq/pid", "rabbitmq/log/rabbitmq.log")
LOGS = ("log/order_service.log", "log/notification_service_2.log")
FOLDERS = ("log", "databases", "rabbitmq", "rabbitmq/db", "rabbitmq/log", "rabbitmq/home")


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        *((name, odd) for name in FILES[:2] for odd in ODD),
        *((name, "pipe") for name in FILES[2:]),
        *((name, "pipe") for name in FOLDERS),
        *((name, "loop") for name in FOLDERS),
    ],
)
def test_the_launcher_names_what_lies_in_the_place_of_its_files_and_folders(folder: Path, name: str, odd: str) -> None:
    """The line is the same for files the launcher opens and those Erlang opens, which waits without a word."""
    (folder / name).parent.mkdir(parents=True)
    ODD[odd](folder / name)
    done = start("--data-dir", str(folder), "--broker-only")
    assert done.returncode == 2, done
    assert str(folder / name) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert processes_of(folder) == []


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("odd", ODD)
def test_the_launcher_names_a_log_that_is_no_file(tmp_path: Path, name: str, odd: str) -> None:
    """Before the first process starts."""
    (tmp_path / "log").mkdir()
    ODD[odd](tmp_path / name)
    assert_refused(start("--data-dir", str(tmp_path)), f"{tmp_path / name} can't be used: ")


@pytest.mark.parametrize("odd", ["pipe", "loop", "endless"])
def test_what_the_launcher_can_make_anew_it_makes_anew(folder: Path, odd: str) -> None:
    """An odd file of any kind in its place is replaced."""
    for name in ("ports.json", "home/.erlang.cookie", "enabled_plugins", "rabbitmq.conf"):
        path = folder / "rabbitmq" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        ODD[odd](path)
    with local(folder, "--broker-only") as process:
        assert addresses(process)["ORDERSYS_AMQP_URL"]
        process.terminate()
        assert process.wait(60) == 0


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """Here by a limit on the size of files: not an octet can be written."""
    done = subprocess.run(
        [sys.executable, "-m", "ordersys.local", "--plain", "--broker-only", "--data-dir", str(tmp_path / "d")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    )
    assert done.returncode == 2, done
    assert "File too large" in done.stderr.splitlines()[-1]
    assert str(tmp_path / "d") in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("where", ["/proc/x", "/sys/x", "/dev/null"])
def test_a_folder_that_cant_be_made_is_named(where: str) -> None:
    """On a file system that takes none, or below what is none."""
    assert_refused(start("--data-dir", where), where)


def test_no_home_is_named() -> None:
    """The sign ~ has no meaning without HOME, for a user in no list."""
    script = (
        "import os, pwd, sys\n"
        "os.environ.pop('HOME', None)\n"
        "pwd.getpwuid = lambda uid: pwd.getpwnam('nobody-by-that-name')\n"
        "from ordersys.local.command_line import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--plain", "--broker-only"],
        env={**os.environ, "ORDERSYS_RABBITMQ_DIR": "~"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "ORDERSYS_RABBITMQ_DIR is '~' but must be a path; the home folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_current_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    """A relative path has no meaning in it."""
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    command = [sys.executable, "-m", "ordersys.local", "--plain", "--data-dir", "orders"]
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", str(gone), *command],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert_refused(done, "orders can't be used: No such file or directory")


def make_huge(path: Path) -> None:
    """A terabyte of nothing."""
    with path.open("wb") as file:
        file.truncate(2**40)


PLACED: dict[str, tuple[Callable[[Path], object], str]] = {
    "endless": (lambda path: path.symlink_to("/dev/zero"), "is larger than 64 MiB"),
    "huge": (make_huge, "is larger than 64 MiB"),
    "pipe": (os.mkfifo, "is a pipe that nobody writes to"),
    "folder": (Path.mkdir, "Is a directory"),
    "loop": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "nothing": (lambda path: path.symlink_to("/dev/null"), "not JSON: "),
}


@pytest.mark.parametrize("odd", PLACED)
def test_a_file_of_orders_that_is_none_is_named(tmp_path: Path, odd: str) -> None:
    """Soon, and before anything is placed."""
    make, said = PLACED[odd]
    path = tmp_path / "orders.json"
    make(path)
    done = place(path)
    assert_one_line(done, f"python -m ordersys.grpc_client: {path}: {said}")


@pytest.mark.parametrize("end", [b"", b"[]", b"["])
def test_orders_may_come_out_of_a_pipe(end: bytes) -> None:
    """A pipe that ends early is refused in one line, as any file is."""
    done = place(Path("/dev/stdin"), end)
    assert done.returncode == (0 if end == b"[]" else 2)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_whoever_waits_for_a_pipe_can_be_interrupted(tmp_path: Path) -> None:
    """By one signal."""
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "ordersys.grpc_client", "place", "--file", "/dev/stdin"]
    with subprocess.Popen(command, stdin=reader, stderr=subprocess.PIPE, text=True) as process:
        os.close(reader)
        os.write(writer, b"[")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        os.close(writer)
    assert (process.returncode, said) == (128 + signal.SIGINT, "")


def place(path: Path, said: bytes = b"") -> "subprocess.CompletedProcess[str]":
    """`place --file`."""
    done = subprocess.run(
        [sys.executable, "-m", "ordersys.grpc_client", "place", "--file", str(path)],
        input=said,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

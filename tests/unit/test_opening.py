"""Opening a file: whatever lies in its place holds nobody up, and is named."""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import chdir, closing
from pathlib import Path

import pytest

from ordersys.console.opening import check_regular, open_regular, read_any, read_regular


def listening(path: Path) -> None:
    """A socket in the file system; by its name alone, since its address has room for some hundred bytes."""
    with closing(socket.socket(socket.AF_UNIX)) as listener, chdir(path.parent):
        listener.bind(path.name)


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo, "is no regular file"),
    "folder": (Path.mkdir, "Is a directory"),
    "socket": (listening, "is no regular file"),
    "endless": (lambda path: path.symlink_to("/dev/zero"), "is no regular file"),
    "device": (lambda path: path.symlink_to("/dev/null"), "is no regular file"),
    "loop": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "dangling": (lambda path: path.symlink_to(path.with_name("nowhere") / "x"), "No such file or directory"),
    "below a file": (lambda path: path.touch(), "Not a directory"),
}


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_RDWR | os.O_CREAT])
@pytest.mark.parametrize("odd", ODD)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, odd: str, flags: int) -> None:
    """However it is opened; the path and the reason are in the error."""
    path, (make, said) = tmp_path / "odd", ODD[odd]
    make(path)
    path = path / "x" if odd == "below a file" else path
    with pytest.raises(OSError, match=said) as refused:
        os.close(open_regular(path, flags))
    assert refused.value.filename == str(path)


@pytest.mark.parametrize("odd", ["pipe", "endless", "socket"])
def test_what_another_program_would_open_can_be_looked_at_first(tmp_path: Path, odd: str) -> None:
    """Without opening it; nothing, and a link to nothing, is as good as a file."""
    ODD[odd][0](tmp_path / "odd")
    with pytest.raises(OSError, match="is no regular file"):
        check_regular(tmp_path / "odd")
    ODD["dangling"][0](tmp_path / "none")
    check_regular(tmp_path / "none")


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    """One octet more is refused, whether its size is known before or not."""
    path = tmp_path / "f"
    path.write_bytes(b"x" * 2**20)
    assert read_regular(path, 1) == read_any(path, 1) == b"x" * 2**20
    path.write_bytes(b"x" * (2**20 + 1))
    for read in (read_regular, read_any):
        with pytest.raises(OSError, match="is larger than 1 MiB"):
            read(path, 1)


def test_what_has_no_end_is_read_up_to_the_limit() -> None:
    """/dev/zero; and /dev/null has nothing in it."""
    with pytest.raises(OSError, match="is larger than 1 MiB"):
        read_any("/dev/zero", 1)
    assert read_any("/dev/null", 1) == b""


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    """Whenever somebody comes to write to it, in however many parts."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read = threading.Event()

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            pipe.write(b"one ")
            read.wait(0.05)
            pipe.write(b"two")

    writer = threading.Thread(target=write)
    writer.start()
    assert read_any(path, 1) == b"one two"
    writer.join()


def test_a_pipe_that_nobody_writes_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some seconds, in which somebody may still come."""
    monkeypatch.setattr("ordersys.console.opening._WRITER_SECONDS", 0.05)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is a pipe that nobody writes to"):
        read_any(tmp_path / "pipe", 1)

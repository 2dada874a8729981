"""Paths as a person writes them, files that are whole, and folders nobody else can change."""

import errno
import os
import stat
from pathlib import Path

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class UnusableFolder(OSError):
    """A folder that is none, or can't be made; the text names it."""


class UnsafeFolder(UnusableFolder):
    """A folder that somebody else owns or may write to; the text names it and the way out."""


def path(text: str) -> Path:
    """The path that `text` is, with `~` for the home folder. Raises ValueError with what it must be."""
    if "\0" in text or not _is_utf_8(text):
        raise ValueError("a path in UTF-8")  # SQLite takes no other
    try:
        expanded = Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"a path; the home folder of {text.partition('/')[0]!r} is not known") from None
    # POSIX leaves open what two slashes at the beginning mean; SQLite takes them for the name of another machine.
    return Path("/", *expanded.parts[1:]) if expanded.is_absolute() else expanded


def write_whole(target: Path, text: str, mode: int = 0o600) -> None:
    """Writes a file so that after a crash, at any time, there is the old one or the new one, on disk and complete.

    Raises OSError. One writer at a time.
    """
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    beside = target.with_name(f".{target.name}.new")  # one name: what a crash leaves is written over
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    beside.replace(target)
    sync(target.parent)


def make_private(folder: Path) -> None:
    """Makes `folder` if it is missing, for this user alone. Raises UnusableFolder, UnsafeFolder.

    Whoever owns a folder, or may write to it, can put something else in the place of what is in it: a database, an
    Erlang cookie, a program.
    """
    try:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        why = f"{error.strerror}; mend that, or name another one"
        raise UnusableFolder(f"{folder} can't be used as a folder: {why}") from error
    if status.st_uid != os.geteuid():
        raise UnsafeFolder(f"{folder} belongs to another user (uid {status.st_uid}); name a folder of your own")
    if status.st_mode & _OTHERS_MAY_WRITE:
        raise UnsafeFolder(f"{folder} may be written by others; chmod go-w it, or name another folder")


def _is_utf_8(text: str) -> bool:
    """Octets of the environment that are not come as lone surrogates (PEP 383)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def sync(path: Path) -> None:
    """Brings a file, or the names in a folder, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

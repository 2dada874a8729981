"""Files with secrets: whole at any time, and from the first moment for this user alone, whatever the umask.

Every error is an UnusableFile, whose text names the file or folder and the way out, and nothing of what stands in it.
"""

import fcntl
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from ordersys.console import secret_files
from ordersys.console.opening import open_regular, read_regular

PUBLIC, SECRET = 0o644, 0o600
"""The modes of files: for everybody to read, for this user alone."""
_FOLDER_MODE = 0o700
_OTHERS_MAY = 0o077
_OTHERS_MAY_WRITE = 0o022
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{16}\.new")


class UnusableFile(Exception):
    """A file or folder that can't be used as it is; the text names it and the way out."""


def absolute(path: Path) -> Path:
    """The path from the root. Raises UnusableFile when the current folder has been removed."""
    with _telling(path, "can't be found from the current folder"):
        return path.absolute()


def make_folder(folder: Path) -> None:
    """Makes a folder, and those it lies in where they are missing, for this user alone. Raises UnusableFile."""
    for missing in reversed([path for path in (folder, *folder.parents) if not os.path.lexists(path)]):
        # A process beside this one may make it as well.
        with _telling(missing, "can't be made"), suppress(FileExistsError):
            missing.mkdir(_FOLDER_MODE)
            missing.chmod(_FOLDER_MODE)  # an umask may have taken from it
    check_folder(folder)
    if stat.S_IMODE(folder.lstat().st_mode) != _FOLDER_MODE:
        with _telling(folder, "can't be made private"):
            folder.chmod(_FOLDER_MODE)


def keep_out_of_git(folder: Path) -> None:
    """Has git pass over all that is in a folder. Raises UnusableFile."""
    with _telling(folder / secret_files.IGNORED, "can't be written"):
        secret_files.keep_out_of_git(folder)


def check_folder(folder: Path) -> None:
    """Raises UnusableFile unless it is a folder that nobody else can change.

    Whoever owns a folder, or may write to it, can put another key in the place of one. Whoever made a link can lead it
    elsewhere.
    """
    with _telling(folder, "can't be used"):
        status = folder.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise UnusableFile(f"{folder} is a symbolic link; name the folder itself")
    if not stat.S_ISDIR(status.st_mode):
        raise UnusableFile(f"{folder} is no folder; name another one")
    if status.st_uid != os.geteuid():
        raise UnusableFile(f"{folder} belongs to another user (uid {status.st_uid}); name a folder of your own")
    if status.st_mode & _OTHERS_MAY_WRITE:
        raise UnusableFile(f"{folder} may be written by others; chmod go-w it, or name another folder")


def names(folder: Path) -> Sequence[str]:
    """The names of all that is in a folder. Raises UnusableFile."""
    with _telling(folder, "can't be read"):
        return [path.name for path in folder.iterdir()]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, which all who change what is in it hold. Waits for it. Raises UnusableFile."""
    check_folder(folder)
    with _telling(folder, "can't be locked"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with _telling(folder, "can't be locked"):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write(target: Path, octets: bytes, mode: int) -> None:
    """Writes a file so that at any time there is the old one or the new one, on disk and complete.

    Raises UnusableFile, also for a link or a device of that name, which would be replaced.
    """
    with _telling(target, "can't be written"):
        if os.path.lexists(target) and not stat.S_ISREG(target.lstat().st_mode):
            raise UnusableFile(f"{target} is no regular file; move it away, or name another one")
        beside = target.with_name(f".{target.name}.{token_hex(8)}.new")
        try:
            _write_new(beside, octets, mode)
            beside.replace(target)
        finally:  # also when a signal ends it: a secret would be left where nobody looks
            beside.unlink(missing_ok=True)
        _sync(target.parent)


def is_unfinished(name: str) -> bool:
    """True for the name of a file that is being written, or that a process was writing when it was killed."""
    return _UNFINISHED.fullmatch(name) is not None


def sweep(folder: Path) -> None:
    """Removes what processes that were killed had begun to write. To be called with the lock. Raises UnusableFile."""
    for unfinished in [path for path in folder.rglob("*.new") if is_unfinished(path.name)]:
        with _telling(unfinished, "can't be removed"):
            unfinished.unlink(missing_ok=True)


def read(path: Path) -> bytes | None:
    """The contents of a file, None where there is none. Never waits. Raises UnusableFile."""
    with _telling(path, "can't be read"):
        try:
            return read_regular(path)
        except FileNotFoundError:
            return None


def read_secret(path: Path) -> bytes | None:
    """As `read`; also raises UnusableFile for a file that others may read, or that another user owns."""
    octets = read(path)
    if octets is not None and not is_private(path):
        raise UnusableFile(
            f"{path} may be read by others, or is another user's; chown and chmod 600 it, or, if somebody may have"
            " copied it, move it away to have a new one made"
        )
    return octets


def is_private(path: Path) -> bool:
    """True for a regular file of this user that nobody else may read or write. Raises UnusableFile."""
    with _telling(path, "can't be read"):
        descriptor = open_regular(path, os.O_RDONLY)
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_MAY


def _write_new(path: Path, octets: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)  # an umask may have taken from it; it adds nothing
        file.write(octets)
        file.flush()
        os.fsync(descriptor)


def _sync(folder: Path) -> None:
    """Brings the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _telling(path: Path, trouble: str) -> Iterator[None]:
    """Turns an OSError into an UnusableFile that names the path."""
    try:
        yield
    except OSError as error:
        raise UnusableFile(f"{path} {trouble}: {error.strerror}; mend that, or name another one") from error

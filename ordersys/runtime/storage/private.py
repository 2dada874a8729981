"""Folders and files that are this user's alone: folders 0700, files 0600, whatever the umask."""

import contextlib
import os
import pwd
import stat
from pathlib import Path

from ordersys.runtime.storage.schema import UnusableDatabase

FOLDER_MODE = 0o700
FILE_MODE = 0o600
_OTHERS_MAY = 0o077
_OTHERS_MAY_WRITE = 0o022
_OURS = (".db", ".db-wal", ".db-shm", ".lock")


def private_folder(folder: Path) -> None:
    """Makes `folder` if it is missing, and private if it holds nothing but databases.

    A folder with other things in it keeps its mode: it may be somebody's home. Raises OSError, and UnusableDatabase
    when it belongs to another user (also for root, whose files that user could neither use nor be kept from
    exchanging), or others may write to it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(FOLDER_MODE)
    status = folder.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(20, "Not a directory", str(folder))
    _own(status, f"its folder {folder}", "change its owner, or choose another with ORDERSYS_DATA_DIR")
    if not status.st_mode & _OTHERS_MAY:
        return
    inside = [entry.name for entry in folder.iterdir()]
    # An empty one that others may write to is theirs as well (/dev/shm): only what holds databases is surely ours.
    is_ours = inside or not status.st_mode & _OTHERS_MAY_WRITE
    if is_ours and not status.st_mode & stat.S_ISVTX and all(name.endswith(_OURS) for name in inside):
        folder.chmod(FOLDER_MODE)
    elif status.st_mode & _OTHERS_MAY_WRITE:
        raise UnusableDatabase(
            f"others may write to its folder {folder}; chmod go-w it, or choose another with ORDERSYS_DATA_DIR"
        )


def private_file(path: Path) -> bool:
    """Makes an existing file private; whether there is one.

    Raises OSError, and UnusableDatabase when it is no regular file, or belongs to another user, or has a second name:
    a hard link is no copy but changes with each write, and SQLite finds no WAL by the other name (howtocorrupt, 2.5).
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode):
        raise UnusableDatabase(f"{path.name} is no regular file; move it away")
    _own(status, path.name, "change its owner")
    if status.st_nlink > 1:
        raise UnusableDatabase(f"{path.name} has {status.st_nlink} names (hard links); remove the others, or copy it")
    if status.st_mode & _OTHERS_MAY:
        path.chmod(status.st_mode & FOLDER_MODE)
    return True


def _own(status: os.stat_result, subject: str, way_out: str) -> None:
    if status.st_uid != os.geteuid():
        raise UnusableDatabase(
            f"{subject} belongs to {_name(status.st_uid)}, and this process runs as {_name(os.geteuid())}; {way_out}"
        )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"

"""Small file systems in memory, seen by this process and those it starts: what a full disk is, without one.

Linux only, and only where a process may have a namespace of its own: root, or whoever may make user namespaces.
"""

import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000  # CLONE_NEWNS, CLONE_NEWUSER of sched.h
_PRIVATE = 0x4000 | 1 << 18  # MS_REC | MS_PRIVATE of sys/mount.h
_CHUNK = 1 << 16
_LIBC = ctypes.CDLL(None, use_errno=True)


def have_own() -> bool:
    """Gives this process mounts of its own, before it has a thread; whether it may have them.

    Users stay who they are: files keep their owners, and what is started gets no rights from it.
    """
    user, group = os.geteuid(), os.getegid()
    try:
        if user == 0:
            _call("unshare", _NEW_MOUNTS)
        else:
            _call("unshare", _NEW_MOUNTS | _NEW_USER)
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        _call("mount", None, b"/", None, _PRIVATE, None)
    except (OSError, AttributeError):
        return False
    return True


@contextmanager
def small(folder: Path, size: int) -> Iterator[None]:
    """Lets a folder nobody uses now be a file system of so many bytes for a while, with everything in it kept."""
    aside = folder.with_name(f"{folder.name}-aside")
    shutil.copytree(folder, aside)
    _call("mount", b"tmpfs", bytes(folder), b"tmpfs", 0, f"size={size}".encode())
    try:
        _fill(folder, aside)
        yield
    finally:
        shutil.rmtree(aside)
        shutil.copytree(folder, aside)
        _call("umount2", bytes(folder), 0)
        _fill(folder, aside)
        shutil.rmtree(aside)


@contextmanager
def filled(folder: Path, room: int) -> Iterator[None]:
    """Leaves only so many bytes free in the file system of a folder for a while."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while (free := shutil.disk_usage(folder).free) > room or room == 0:
            file.write(bytes(max(1, min(free - room, _CHUNK))))
    try:
        yield
    finally:
        ballast.unlink()


def _fill(folder: Path, source: Path) -> None:
    """Makes the content of one folder that of another."""
    for there in folder.iterdir():
        shutil.rmtree(there) if there.is_dir() else there.unlink()
    shutil.copytree(source, folder, dirs_exist_ok=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_LIBC, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")

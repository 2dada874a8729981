"""Files by the names that people give them: what is no file, or has no end, is an error and holds nobody up.

Whoever opens a pipe (FIFO) waits until somebody opens its other end; whoever reads /dev/zero never comes to an end.
Every error is an OSError whose `strerror` says what is wrong.
"""

import errno
import os
import select
import stat
from pathlib import Path

from ordersys.console.interrupts import interrupts

_MIB = 1024 * 1024
_CHUNK = 65_536
_WRITER_SECONDS = 5.0
_ODD = "is no regular file"

Name = str | bytes | Path


def open_regular(path: Name, flags: int) -> int:
    """A descriptor of a regular file, made for its user alone where `flags` say so. Never waits. Raises OSError."""
    descriptor = _opened(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _error(errno.EINVAL, _ODD, path)
    return descriptor


def check_regular(path: Path) -> None:
    """Raises OSError for what is there and is no regular file; a link counts as what it leads to."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):
        raise _error(errno.EINVAL, _ODD, path)


def read_regular(path: Name, most_mib: int = 1) -> bytes:
    """Reads a regular file of at most so many MiB. Raises OSError."""
    descriptor = open_regular(path, os.O_RDONLY)
    try:
        if os.fstat(descriptor).st_size > most_mib * _MIB:
            raise _too_large(path, most_mib)
        return _read(descriptor, b"", path, most_mib)
    finally:
        os.close(descriptor)


def read_any(path: Name, most_mib: int) -> bytes:
    """Reads a file, a pipe or a device: at most so many MiB. Raises OSError, and Interrupted.

    Waits for whoever writes to a pipe (`/dev/stdin`), but only some seconds for somebody to open it.
    """
    descriptor = _opened(path, os.O_RDONLY)
    try:
        first = _first(descriptor, path) if stat.S_ISFIFO(os.fstat(descriptor).st_mode) else b""
        os.set_blocking(descriptor, True)
        with interrupts.blocking():
            return _read(descriptor, first, path, most_mib)
    finally:
        os.close(descriptor)


def _opened(path: Name, flags: int) -> int:
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a pipe that nobody reads, a socket
            raise _error(errno.EINVAL, _ODD, path) from None
        raise
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _error(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return descriptor


def _first(descriptor: int, path: Name) -> bytes:
    """The first bytes of a pipe, if any have come; a pipe that nobody has opened to write to is an error."""
    ready = select.poll()
    ready.register(descriptor, select.POLLIN)
    with interrupts.blocking():
        said = ready.poll(_WRITER_SECONDS * 1000)
    try:
        octets = os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return b""  # there is somebody who has not written yet
    if not octets and not said:
        raise _error(errno.EPIPE, "is a pipe that nobody writes to", path)
    return octets


def _read(descriptor: int, first: bytes, path: Name, most_mib: int) -> bytes:
    octets = bytearray(first)
    while part := os.read(descriptor, _CHUNK):
        octets += part
        if len(octets) > most_mib * _MIB:
            raise _too_large(path, most_mib)
    return bytes(octets)


def _too_large(path: Name, most_mib: int) -> OSError:
    return _error(errno.EFBIG, f"is larger than {most_mib} MiB", path)


def _error(number: int, text: str, path: Name) -> OSError:
    return OSError(number, text, os.fsdecode(path))

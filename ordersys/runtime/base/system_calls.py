"""System calls that keep the interpreter's lock, on Linux.

Python gives its lock away around each system call and has to win it back afterwards: while the event loop is busy that
takes 5 ms or more each time. Whoever has to look at hundreds of descriptors in between can't afford that. None of these
calls waits for anything.
"""

import ctypes
import os

_LIBC = ctypes.PyDLL(None, use_errno=True)
_READ_ONLY = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
_FIRST = ctypes.c_long(0)  # off_t
_ADDRESS_BYTES = 128  # struct sockaddr_storage


def open_file(path: bytes) -> int:
    """A descriptor of a file of the kernel's (/proc), to be read again and again. Raises OSError."""
    return int(_checked(_LIBC.open(path, _READ_ONLY)))


def read_again(number: int, most: int) -> bytes:
    """The first bytes of an open file, as they are now. Raises OSError."""
    buffer = ctypes.create_string_buffer(most)
    size = _checked(_LIBC.pread(number, buffer, ctypes.c_size_t(most), _FIRST))
    return buffer.raw[:size]


def read(path: bytes, most: int = 4096) -> bytes:
    """The first bytes of a file of the kernel's (/proc). Raises OSError."""
    number = open_file(path)
    try:
        return read_again(number, most)
    finally:
        close(number)


def own_address(number: int) -> bytes | None:
    """The address a socket is bound to (struct sockaddr); None when the descriptor is none."""
    return _address(_LIBC.getsockname, number)


def peer_address(number: int) -> bytes | None:
    """The address a socket is connected to; None when it is not."""
    return _address(_LIBC.getpeername, number)


def option(number: int, level: int, name: int, most: int) -> bytes | None:
    """An option of a socket; None when it has none such."""
    buffer, size = ctypes.create_string_buffer(most), ctypes.c_uint32(most)
    failed = _LIBC.getsockopt(number, level, name, buffer, ctypes.byref(size))
    return None if failed else buffer.raw[: size.value]


def copy(number: int) -> int | None:
    """Another descriptor of the same file, to be closed; None when there is none."""
    descriptor = _LIBC.dup(number)
    return None if descriptor < 0 else int(descriptor)


def connect(number: int, address: bytes) -> None:
    """Connects a socket, as far as that goes at once."""
    _LIBC.connect(number, address, len(address))


def close(number: int) -> None:
    """Closes a descriptor."""
    _LIBC.close(number)


def _address(call: "ctypes._NamedFuncPointer", number: int) -> bytes | None:
    buffer, size = ctypes.create_string_buffer(_ADDRESS_BYTES), ctypes.c_uint32(_ADDRESS_BYTES)
    return None if call(number, buffer, ctypes.byref(size)) else buffer.raw[: size.value]


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

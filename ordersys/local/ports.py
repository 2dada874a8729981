"""TCP ports of the loopback interface."""

import errno
import socket
from collections.abc import Collection

LOOPBACK = "127.0.0.1"


def free(count: int, besides: Collection[int] = ()) -> list[int]:
    """That many different ports nobody listens on now, none of `besides`."""
    sockets = [socket.socket() for _ in range(count + len(besides))]
    try:
        for one in sockets:
            one.bind((LOOPBACK, 0))
        found = [int(one.getsockname()[1]) for one in sockets]
        return [port for port in found if port not in besides][:count]
    finally:
        for one in sockets:
            one.close()


def is_free(port: int) -> bool:
    """Whether nobody listens on `port` now."""
    return trouble(port) is None


def trouble(port: int) -> str | None:
    """Why `port` can't be listened on now, None when it can: such as "is in use"."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((LOOPBACK, port))
        except OSError as error:
            return "is in use" if error.errno == errno.EADDRINUSE else f"can't be listened on ({error.strerror})"
    return None

"""TCP ports of the loopback interface."""

import errno
import socket
from collections.abc import Collection

LOOPBACK = "127.0.0.1"


def free(count: int, besides: Collection[int] = ()) -> list[int]:
    """That many different ports nobody listens on now, none of `besides`."""
    sockets = [socket.socket() for _ in range(count + len(besides))]
    try:
        for unused in sockets:
            unused.bind((LOOPBACK, 0))
        bound = [int(unused.getsockname()[1]) for unused in sockets]
        return [port for port in bound if port not in besides][:count]
    finally:
        for unused in sockets:
            unused.close()


def is_free(port: int) -> bool:
    """True where nobody listens on `port` now."""
    return trouble(port) is None


def trouble(port: int) -> str | None:
    """The reason for which `port` can't be listened on now, None when it can: such as "is in use"."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            return "is in use" if error.errno == errno.EADDRINUSE else f"can't be listened on ({error.strerror})"
    return None

"""TCP ports of the loopback interface."""

import errno
import random
import socket
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LOWEST = 10_000  # below are those that many services have as their own
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL_FLOOR = 32_768  # of the ephemeral ports on Linux; elsewhere they begin higher
_TRIES = 1_000


def free(count: int, besides: Collection[int] = ()) -> list[int]:
    """That many different ports nobody listens on now, none of `besides`. Raises OSError when none can be found.

    From below the ephemeral ports: any outgoing connection may get one of those, between choosing and listening.
    """
    ports: list[int] = []
    with ExitStack() as held:
        for _ in range(_TRIES):
            if len(ports) == count:
                return ports
            port = random.randrange(_LOWEST, ephemeral_floor())  # noqa: S311 - no secret
            probe = held.enter_context(socket.socket())
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            if port not in besides:
                ports.append(port)
    raise OSError(errno.EADDRINUSE, f"no {count} free ports between {_LOWEST} and {ephemeral_floor()}")


def ephemeral_floor() -> int:
    """The lowest port the system gives to outgoing connections, as far as it says so."""
    try:
        return max(_LOWEST + _TRIES, int(_EPHEMERAL_RANGE.read_text(encoding="ascii").split()[0]))
    except (OSError, ValueError, IndexError):
        return _USUAL_FLOOR


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

"""The socket by which the live page asks for actions: a file for its user alone, one line of JSON each way.

Both sides make sure of the other: the folder and the socket are for one user, who owns them; and whoever connects has
to run as that user, where the system tells (SO_PEERCRED).
"""

import asyncio
import errno
import json
import logging
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ordersys.local.breaking.actions import MOST_BYTES, Refused

FILE = "break-it"
_LOG = logging.getLogger(__name__)
_LONGEST = 100  # bytes of a path to a socket: sun_path has 104 and more, by system
_MODE = 0o600
_REQUEST_SECONDS = 5.0
_ANSWER_SECONDS = 20.0
_MOST_ANSWER = 1024 * 1024
Answer = Callable[[bytes], Awaitable[Mapping[str, Any]]]
"""Does what a line asks for, and returns what is answered. Raises Refused."""


class NotThere(Exception):
    """Nobody who may be trusted answers at the socket; the text says why."""


async def serve(folder: Path, answer: Answer) -> asyncio.Server:
    """Answers at the socket of a folder that is for this user alone. Raises OSError."""
    path = folder / FILE
    if os.path.lexists(path):  # noqa: ASYNC240 - a file of ours, before anything else happens
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "it is no socket of an earlier start", str(path))
        path.unlink()  # whoever has left it is gone: the folder is locked

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            try:
                writer.write(json.dumps(await _answered(reader, writer, answer)).encode() + b"\n")
                await writer.drain()
            finally:
                writer.close()
                await writer.wait_closed()

    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _short(path) as name:
        listening.bind(name)  # nobody can connect before it listens
    path.chmod(_MODE)
    return await asyncio.start_unix_server(connected, sock=listening, limit=MOST_BYTES)


async def _answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> Mapping[str, Any]:
    if not is_ours(writer.get_extra_info("socket")):
        return {"error": "this socket is for the user who started the system", "conflict": False}
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            line = await reader.readuntil(b"\n")
        return await answer(line)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
        return {"error": f"a request is one line of {MOST_BYTES} bytes at most", "conflict": False}
    except Refused as refused:
        return {"error": str(refused), "conflict": refused.conflict}
    except Exception:  # noqa: BLE001 - whoever asks waits for an answer, and a person reads it
        _LOG.exception("an action has failed")
        return {"error": "the action has failed; the launcher's own output says why", "conflict": False}


def is_ours(connection: Any) -> bool:
    """True where the other side runs as this user, or the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True
    credentials = connection.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", credentials)
    return bool(user == os.geteuid())


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for the path that is short enough for a socket. Raises OSError where there is none."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not (by_number := Path(f"/proc/self/fd/{folder}")).exists():
            raise OSError(errno.ENAMETOOLONG, "the path is too long for a socket", str(path))
        yield str(by_number / path.name)
    finally:
        os.close(folder)


async def ask(folder: Path, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer of the system that runs with a folder: an `error`, or the state. Raises NotThere."""
    path = folder / FILE
    try:
        status = os.lstat(path)
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid():
            raise NotThere(f"{path} is not the socket of this user")
        async with asyncio.timeout(_ANSWER_SECONDS):
            with _short(path) as name:
                reader, writer = await asyncio.open_unix_connection(name, limit=_MOST_ANSWER)
            try:
                writer.write(json.dumps(request).encode() + b"\n")
                answer = json.loads(await reader.readuntil(b"\n"))
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise NotThere(f"the launcher does not answer: {error or 'in time'}") from error
    if not isinstance(answer, dict):
        raise NotThere("the launcher does not answer with an object")
    return answer

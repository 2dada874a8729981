"""Crashes of what is judged: services are killed as `kill -9` does, and started again by whoever watches over them.

Only processes that this run has started are killed: those of our own system, found by what the launcher says of them,
and a Product Service of ours. A service that was started by hand is killed by a command of its owner's (`--restart`).
"""

import json
import os
import shlex
import signal
import socket
import subprocess
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import psutil

from ordersys.contract.addresses import Address

_COMMAND_SECONDS = 60.0
_CONNECT_SECONDS = 5.0
# Start times are read with the precision of a clock tick.
_TICK = 0.05


class NotCrashed(Exception):
    """A service was not ended, or not as it has to be, which is no fault of its own; the text says how it was tried."""


class Crasher(Protocol):
    """Kills services, each in the midst of whatever it does; somebody starts them again, at once or soon."""

    @property
    def roles(self) -> frozenset[str]:
        """The roles it can kill."""

    def crash(self, roles: Collection[str]) -> None:
        """Kills services. Raises NotCrashed."""


class Leader(NamedTuple):
    """The process that leads a service's group, by its id and its start, in seconds since that of this machine."""

    pid: int
    started: float

    def kill(self) -> None:
        """Kills the whole group with one signal: a service may be a script with a server below it."""
        try:
            if abs(psutil.Process(self.pid).create_time() - psutil.boot_time() - self.started) <= _TICK:
                os.killpg(self.pid, signal.SIGKILL)
        except (psutil.NoSuchProcess, ProcessLookupError):
            return  # it has ended by itself, and is started again


class Launched:
    """The services that `ordersys.local` runs in a folder; it starts again what has ended."""

    def __init__(self, folder: Path, roles: Collection[str]) -> None:
        self._state = folder / "running.json"
        self.roles = frozenset(roles)

    def crash(self, roles: Collection[str]) -> None:
        """Kills them all at once."""
        leaders = self._leaders()
        for role in roles:
            leaders[role.replace("-", "_")].kill()

    def _leaders(self) -> dict[str, Leader]:
        state: dict[str, Any] = json.loads(self._state.read_text(encoding="utf-8"))
        return {module: Leader(at["pid"], at["started"]) for module, at in state["processes"].items()}


class Commands:
    """Commands of the services' owner, each of which kills services and starts them again, by role."""

    def __init__(self, commands: Mapping[str, str]) -> None:
        self._commands = commands
        self.roles = frozenset(commands)

    def crash(self, roles: Collection[str]) -> None:
        """Runs the command of each, once where several have the same."""
        for command in dict.fromkeys(self._commands[role] for role in roles):
            _run(command)


class Lifeline:
    """A connection to a service that ends with it: the proof that it did end."""

    def __init__(self, role: str, address: Address) -> None:
        self._role = role
        self._connection = socket.create_connection(address, _CONNECT_SECONDS)

    def wait_cut(self, seconds: float) -> None:
        """Returns when it has ended. Raises NotCrashed."""
        self._connection.settimeout(seconds)
        try:
            while self._connection.recv(65_536):
                continue  # what a server says before it is asked
        except TimeoutError:
            raise NotCrashed(
                f"the {self._role} was not ended: a connection made before the crash is still there after"
                f" {seconds:.0f} s; its whole process group has to end, or the command of --restart has to kill it,"
                " each process of several"
            ) from None
        except OSError:
            pass  # reset
        finally:
            self._connection.close()


def _run(command: str) -> None:
    """Runs a command to its end; what it starts may go on, and may keep its output open."""
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                shlex.split(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        except OSError as error:
            raise NotCrashed(f"--restart {command!r} can't be run: {error.strerror}") from error
        try:
            status = process.wait(_COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise NotCrashed(
                f"--restart {command!r} did not end within {_COMMAND_SECONDS:.0f} s; it has to start the service in the"
                " background"
            ) from None
        if status:
            output.seek(0)
            last = (output.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise NotCrashed(f"--restart {command!r} ended with status {status}: {last}")

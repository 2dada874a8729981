"""Implementations to be judged: whole or broken systems, and a service alone; each with the options of the suite."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from ordersys.contract.addresses import parse
from tests import virtual_host
from tests.contract.harness.launch import free_address
from tests.mutants.mutant import PRODUCT, SERVICES
from tests.running import addresses

# So that a call that gets no answer is over within a law's patience, and recovery begins soon.
_IMPATIENT = {"ORDERSYS_CALL_TIMEOUT_SECONDS": "1", "ORDERSYS_SWEEP_SECONDS": "1"}
_LISTENING_SECONDS = 60.0
_ASK_SECONDS = 1.0
_PAUSE_SECONDS = 0.05
_END_SECONDS = 30.0
_SHOWN = 200


class DoesNotStart(Exception):
    """A service ends, or listens to nobody, before it is judged; the text says how."""


class Implementation(NamedTuple):
    """Our services, those of `services` broken as the mutant `name` says; whole without a name."""

    name: str | None = None
    services: tuple[str, ...] = SERVICES

    def command(self, module: str) -> list[str]:
        """The command line of a module of ours, broken or whole."""
        if self.name is None:
            return [sys.executable, "-m", f"ordersys.{module}"]
        return [sys.executable, "-m", "tests.mutants.run", self.name, module]

    def programs(self) -> list[str]:
        """The options by which broken services run in the place of ours."""
        if self.name is None:
            return []
        return [f"--program={role}={shlex.join(self.command(_module(role)))}" for role in self.services]


@contextmanager
def together(judged: Implementation, amqp_url: str, folder: Path) -> Iterator[Sequence[str]]:
    """All services, started by the suite; where each is broken, by whoever starts them in a broken way as well."""
    if judged.name is None or judged.services != SERVICES:
        yield judged.programs()
        return
    command = [*judged.command("local"), "--plain", "--data-dir", str(folder / "system"), "--amqp-url", amqp_url]
    with (
        virtual_host.emptied(amqp_url),
        subprocess.Popen(
            [*command, *judged.programs()], stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as process,
        _ended(process),
    ):
        said = addresses(process)
        yield [f"--amqp-url={amqp_url}", *(f"--{role}={said[_variable(role)]}" for role in SERVICES)]


@contextmanager
def replicated(judged: Implementation, count: int, amqp_url: str, folder: Path) -> Iterator[Sequence[str]]:
    """All services, `count` processes of each on one PostgreSQL, started by the suite. It plays nobody then."""
    yield [f"--amqp-url={amqp_url}", *judged.programs(), "--database=postgresql", f"--replicas={count}"]


@contextmanager
def secured(judged: Implementation, amqp_url: str, folder: Path) -> Iterator[Sequence[str]]:
    """All services, with identities, started by the suite, on a broker of its own: there it makes a user for each."""
    yield [*judged.programs(), "--secure"]


@contextmanager
def alone(judged: Implementation, role: str, amqp_url: str, folder: Path) -> Iterator[Sequence[str]]:
    """One service, as docs/implement.md has it judged: the suite plays everybody else, and may kill it.

    Raises DoesNotStart.
    """
    address, proxy, order_service = free_address(), free_address(), free_address()
    environment = {
        **os.environ,
        **_IMPATIENT,
        "ORDERSYS_AMQP_URL": _at(amqp_url, proxy),
        "ORDERSYS_DATA_DIR": str(folder / "data"),
        "ORDERSYS_ORDER_SERVICE_ADDRESS": order_service,
        _variable(role): address,
    }
    pid = folder / "pid"
    command = [sys.executable, "-m", "tests.mutants.kept", str(pid), *judged.command(_module(role))]
    kill = shlex.join(["sh", "-c", f"kill -9 $(cat {shlex.quote(str(pid))})"])
    options = [f"--{role}={address}", f"--amqp-url={amqp_url}", f"--amqp-proxy={proxy}", f"--restart={kill}"]
    with virtual_host.emptied(amqp_url), running(command, environment, folder, address):
        yield [*options, *([f"--stand-in={order_service}"] if role == PRODUCT else [])]


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], folder: Path, address: str) -> Iterator[None]:
    """A service in a process group of its own, once it listens. Raises DoesNotStart."""
    file = folder / "log"
    with (
        file.open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True) as process,
        _ended(process),
    ):
        until = time.monotonic() + _LISTENING_SECONDS
        while not _listens(address):
            if process.poll() is not None:
                raise DoesNotStart(f"it ends with status {process.returncode}: {_last_line(file)}")
            if time.monotonic() > until:
                raise DoesNotStart(f"it does not listen after {_LISTENING_SECONDS:.0f} s")
            time.sleep(_PAUSE_SECONDS)
        yield


@contextmanager
def _ended(process: "subprocess.Popen[Any]") -> Iterator[None]:
    """SIGTERM at the end, and SIGKILL for the whole group where that is not enough: a mutant may ignore it."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _listens(address: str) -> bool:
    parsed = parse(address)
    try:
        socket.create_connection((parsed.host, parsed.port), _ASK_SECONDS).close()
    except OSError:
        return False
    return True


def _last_line(file: Path) -> str:
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip()[:_SHOWN] for line in reversed(lines) if line.strip()), "")


def _at(url: str, address: str) -> str:
    """A broker's URL with another address."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}{at}{address}"))


def _variable(role: str) -> str:
    return f"ORDERSYS_{_module(role).upper()}_ADDRESS"


def _module(role: str) -> str:
    return role.replace("-", "_")

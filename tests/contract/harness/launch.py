"""Launches our own services for a run: the system with the proxy before its broker, and a Product Service alone."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ordersys.contract.addresses import parse
from tests import virtual_host
from tests.contract.harness.amqp_proxy import AmqpProxy
from tests.contract.harness.broker_users import Users
from tests.contract.harness.client import PRODUCT, ROLES, NotReachable
from tests.contract.harness.identity import Identity
from tests.contract.harness.system_under_test import STARTED_SECONDS
from tests.running import addresses, local

_END_SECONDS = 30.0
_POLL = 0.05


@contextmanager
def broker(folder: Path, given: str | None) -> Iterator[str]:
    """The URL of a RabbitMQ: the given one, or a private one."""
    if given:
        with virtual_host.emptied(given) as url:
            yield url
        return
    with local(folder, "--broker-only") as process:
        yield addresses(process)["ORDERSYS_AMQP_URL"]


@contextmanager
def system(folder: Path, proxy: AmqpProxy, programs: Sequence[str]) -> Iterator[dict[str, str]]:
    """All services; their addresses by role. `programs` run in the place of ours, each ROLE=COMMAND."""
    with _running(folder, proxy, programs) as said:
        yield _by_role(said)


@contextmanager
def secured_system(
    folder: Path, proxy: AmqpProxy, programs: Sequence[str], users: Users | None
) -> Iterator[tuple[dict[str, str], Identity]]:
    """As `system`, with identities, and with a user for each service where there are `users`; also whoever may call."""
    if users is not None:
        programs = list(_with_users(folder.with_name("urls"), proxy, programs, users))
    with _running(folder, proxy, programs, insecure=False) as said:
        yield _by_role(said), Identity(folder / "identity", said["ORDERSYS_ORDER_SERVICE_INTERNAL_ADDRESS"])


@contextmanager
def _running(
    folder: Path, proxy: AmqpProxy, programs: Sequence[str], insecure: bool = True
) -> Iterator[dict[str, str]]:
    """The settings that a system prints, as long as it runs."""
    replaced = [word for program in programs for word in ("--program", program)]
    with local(folder, "--amqp-url", proxy.url, *replaced, insecure=insecure) as process:
        yield addresses(process)


def _with_users(folder: Path, proxy: AmqpProxy, programs: Sequence[str], users: Users) -> Iterator[str]:
    """A program for each service, that is told the URL of its user by a file, and checks publishers."""
    given = dict(program.split("=", 1) for program in programs)
    folder.mkdir()
    for role in ROLES:
        file = folder / role
        file.touch(0o600)
        file.write_text(users.url_of(role, proxy.url))
        ours = shlex.join([sys.executable, "-m", f"ordersys.{role.replace('-', '_')}"])
        variables = ["-u", "ORDERSYS_AMQP_URL", f"ORDERSYS_AMQP_URL_FILE={file}", "ORDERSYS_PUBLISHER_USERS=checked"]
        yield f"{role}={shlex.join(['env', *variables])} {given.get(role, ours)}"


def _by_role(said: Mapping[str, str]) -> dict[str, str]:
    return {role: said[_variable(role)] for role in ROLES}


class ProductService:
    """A Product Service with these settings, in an environment otherwise like this one. Ended by `close`."""

    roles = frozenset({PRODUCT})

    def __init__(self, folder: Path, settings: Mapping[str, str], program: str | None) -> None:
        """Starts ours, or `program` in its place."""
        self._command = shlex.split(program) if program else [sys.executable, "-m", "ordersys.product_service"]
        self._environment = {**os.environ, "ORDERSYS_DATA_DIR": str(folder), **settings}
        self._log = folder / "log"
        folder.mkdir(parents=True)
        self._process = self._started()

    def wait(self, address: str) -> None:
        """Returns when it listens. Raises NotReachable when it has ended, or does not listen in time."""
        until = time.monotonic() + STARTED_SECONDS
        while True:
            try:
                socket.create_connection(parse(address), _POLL).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > until:
                    said = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
                    raise NotReachable(f"the {PRODUCT} at {address} does not listen: {said}") from None
                time.sleep(_POLL)
            else:
                return

    def crash(self, roles: Collection[str]) -> None:
        """Kills it with all that it has started, and starts it again."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = self._started()

    def close(self) -> None:
        """SIGTERM, and SIGKILL for the whole group when that was not enough."""
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _started(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )


def free_address() -> str:
    """An address of this machine nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host, port = probe.getsockname()
        return f"{host}:{port}"


def _variable(role: str) -> str:
    return f"ORDERSYS_{role.upper().replace('-', '_')}_ADDRESS"

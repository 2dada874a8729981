"""Several processes of each of our services behind one list of addresses, their state in one PostgreSQL."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.contract.harness.client import ORDER, PRODUCT, ROLES, NotReachable
from tests.contract.harness.launch import free_address
from tests.contract.harness.system_under_test import STARTED_SECONDS

_END_SECONDS = 30.0
_ASK_SECONDS = 2.0
_POLL = 0.05


class Replica:
    """A process of a service, with an address of its own."""

    def __init__(
        self, role: str, address: str, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        self.role = role
        self.address = address
        self._command = command
        self._environment = {**environment, _variable(role): address}
        self._log = log
        self._process = self._started()

    def kill(self) -> None:
        """Kills it with all it has started, and does not wait."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def start_again(self) -> None:
        """Starts it again at the same address, once it has ended."""
        self._process.wait()
        self._process = self._started()

    def wait(self) -> None:
        """Returns when it says SERVING. Raises NotReachable."""
        until = time.monotonic() + STARTED_SECONDS
        with grpc.insecure_channel(self.address, options=[("grpc.enable_http_proxy", 0)]) as channel:
            while not self._serves(HealthStub(channel)):
                if self._process.poll() is not None or time.monotonic() > until:
                    said = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
                    raise NotReachable(f"the {self.role} at {self.address} does not serve: {said}")
                time.sleep(_POLL)

    def stop(self) -> None:
        """Has it end in good order, and does not wait."""
        self._process.terminate()

    def close(self) -> None:
        """Returns when it has ended."""
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    @staticmethod
    def _serves(stub: HealthStub) -> bool:
        try:
            answer = stub.Check(HealthCheckRequest(), timeout=_ASK_SECONDS)  # type: ignore[attr-defined]
        except grpc.RpcError:
            return False
        return bool(answer.status == HealthCheckResponse.SERVING)

    def _started(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )


class Replicas:
    """All services, `count` processes of each. `roles` can be killed; ended by `close`."""

    roles = frozenset(ROLES)

    def __init__(
        self, folder: Path, settings: Mapping[str, str], count: int, commands: Mapping[str, Sequence[str]]
    ) -> None:
        """`commands` are run in the place of ours, by role. Raises NotReachable."""
        folder.mkdir(parents=True)
        each = {role: [free_address() for _ in range(count)] for role in ROLES}
        self.addresses = {role: ",".join(addresses) for role, addresses in each.items()}
        environment = {**os.environ, **settings, "ORDERSYS_DATA_DIR": str(folder)}
        self._replicas: list[Replica] = []
        try:
            for role, addresses in each.items():
                shown = {**environment, _variable(ORDER): self.addresses[ORDER]} if role == PRODUCT else environment
                command = commands.get(role) or [sys.executable, "-m", f"ordersys.{role.replace('-', '_')}"]
                for number, address in enumerate(addresses, 1):
                    log = folder / f"{role}-{number}.log"
                    self._replicas.append(Replica(role, address, command, shown, log))
            for replica in self._replicas:
                replica.wait()
        except BaseException:
            self.close()
            raise

    def crash(self, roles: Collection[str]) -> None:
        """Kills every process of these services, and starts them again."""
        concerned = [replica for replica in self._replicas if replica.role in roles]
        for replica in concerned:
            replica.kill()
        for replica in concerned:
            replica.start_again()

    def close(self) -> None:
        """SIGTERM to all, and SIGKILL to those that take too long."""
        for replica in self._replicas:
            replica.stop()
        for replica in self._replicas:
            replica.close()


def _variable(role: str) -> str:
    return f"ORDERSYS_{role.upper().replace('-', '_')}_ADDRESS"

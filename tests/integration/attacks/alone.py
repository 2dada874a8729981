"""A service of a secured system as a process beside it, with settings of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ordersys.local import ports
from tests.integration.api import eventually
from tests.integration.test_secured import SECONDS, Secured

_START_SECONDS = 60.0
_END_SECONDS = 30.0


class Alone(NamedTuple):
    """A running process."""

    address: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def memory(self) -> int:
        """The memory it holds, in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)


@contextmanager
def alone(secured: Secured, module: str, folder: Path, **settings: str) -> Iterator[Alone]:
    """Another process of a service, once it answers; `settings` without their prefix."""
    name, address = module.replace("_", "-"), f"{ports.LOOPBACK}:{ports.free(1).pop()}"
    own = {f"{module.upper()}_ADDRESS": address, "DATA_DIR": str(folder / name), **settings}
    if module == "order_service":
        own.setdefault("ORDER_SERVICE_INTERNAL_ADDRESS", f"{ports.LOOPBACK}:{ports.free(1).pop()}")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ORDERSYS_")},
        **{name: value for name, value in secured.system.environment.items() if not name.endswith("_TOKEN_FILE")},
        **secured.authority.layout.service_environment(name),
        **{f"ORDERSYS_{variable}": value for variable, value in own.items()},
    }
    log = folder / f"{name}.log"
    command = [sys.executable, "-m", f"ordersys.{module}"]
    with log.open("wb") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as process:
        try:
            eventually(lambda: process.poll() is not None or answers(secured, address, name), _START_SECONDS)
            assert process.poll() is None, log.read_text(errors="replace")
            yield Alone(address, process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_END_SECONDS)


def answers(secured: Secured, address: str, name: str) -> bool:
    """True where a service answers there, healthy or not."""
    with secured.channel(address, name) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]
        try:
            check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        except grpc.RpcError:
            return False
        return True

"""Watches the services while something is done to them: their memory, and how a client that does no harm is served."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import psutil
from grpc_health.v1.health_pb2 import HealthCheckRequest

from ordersys.local.system import SERVICES
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.environment.environment import Environment

MOST_BYTES = 256 * 1024 * 1024
"""The memory no service takes more of (resident), whatever clients do."""
MOST_SECONDS = 10.0
"""The longest a call of a client that does no harm may take, whatever others do."""
_PAUSE = 0.1
_PATIENCE = 20.0
Ask = Callable[[grpc.Channel, float], object]


@dataclass
class Seen:
    """The measurements: seconds of calls, failures, and memory."""

    memory: dict[str, int] = field(default_factory=dict)
    """The most memory each service had, in bytes."""
    took: list[float] = field(default_factory=list)
    """Seconds each call that was answered took."""
    failed: list[str] = field(default_factory=list)
    """The failures of the other calls."""


def harm(seen: Seen, most_bytes: int = MOST_BYTES) -> Iterator[Finding]:
    """Finds harm: too much memory, or a client that does no harm and was not served in time."""
    for name, most in seen.memory.items():
        if most > most_bytes:
            yield Finding(Kind.UNRECOVERED, f"{name} took {most >> 20} MiB of memory")
    for failed in seen.failed:
        yield Finding(Kind.UNRECOVERED, f"a client that does no harm was answered {failed}")
    if not seen.took or max(seen.took) > MOST_SECONDS:
        yield Finding(Kind.UNRECOVERED, f"a client that does no harm waited {max(seen.took, default=0):.1f} s")


def health(channel: grpc.Channel, timeout: float) -> object:
    """Asks a service whether it works (grpc.health.v1)."""
    check: Any = channel.unary_unary(
        "/grpc.health.v1.Health/Check", request_serializer=HealthCheckRequest.SerializeToString
    )
    return check(HealthCheckRequest(), timeout=timeout)


@contextmanager
def watching(environment: Environment, ask: Ask = health) -> Iterator[Seen]:
    """Asks the Product Service again and again, and looks at all of them."""
    seen, over = Seen(), threading.Event()
    processes = {name: psutil.Process(environment.pid(name)) for name in SERVICES}
    with environment.channel("product_service") as channel:
        health(channel, _PATIENCE)
        asking = threading.Thread(target=_ask, args=(channel, ask, seen, over))
        looking = threading.Thread(target=_look, args=(processes, seen, over))
        for thread in (asking, looking):
            thread.start()
        try:
            yield seen
        finally:
            over.set()
            for thread in (asking, looking):
                thread.join()


def _ask(channel: grpc.Channel, ask: Ask, seen: Seen, over: threading.Event) -> None:
    while not over.wait(_PAUSE):
        began = time.monotonic()
        try:
            ask(channel, _PATIENCE)
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            seen.failed.append(f"{error.code().name}: {error.details()}")
        else:
            seen.took.append(time.monotonic() - began)


def _look(processes: Mapping[str, psutil.Process], seen: Seen, over: threading.Event) -> None:
    while not over.wait(_PAUSE):
        for name, process in processes.items():
            seen.memory[name] = max(seen.memory.get(name, 0), process.memory_info().rss)

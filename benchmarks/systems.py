"""The systems that are measured: real processes, a broker of their own, databases on disk."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType

import psutil

from benchmarks import processor
from benchmarks.bench import Bench
from benchmarks.observing import Records
from benchmarks.processor import Meter
from benchmarks.seeding import Stored, fill
from ordersys.local.groups import group_of, members
from ordersys.local.rabbitmq import Node, NotStarted
from ordersys.local.system import SERVICES, Choices, System

BROKER = "rabbitmq"
_TRIES = 3  # of a rabbitmqctl command: it may hang on a busy machine


@dataclass(frozen=True)
class Measured:
    """A running system, its catalogue's size, and its broker, which may be shared with another."""

    system: System
    catalogue: int
    node: Node

    @property
    def door(self) -> str:
        """The address of the Product Service."""
        return self.system.services["product_service"].address

    @property
    def records(self) -> Records:
        """The records of its notification services."""
        return Records(self.system.folder / "databases")

    def meter(self, *names: str) -> Meter:
        """A meter of the processor time of these services (all when none is named), and of the broker."""
        services = self.system.services
        pids = {name: [pid] for name in names or SERVICES if (pid := services[name].pid) is not None}
        if self.node.pid is not None:
            pids[BROKER] = [process.pid for process in members(group_of(self.node.pid))]
        return lambda: {name: processor.whole(of) for name, of in pids.items()}

    def resident_bytes(self) -> dict[str, int]:
        """The resident memory of each service."""
        return {name: psutil.Process(s.pid).memory_info().rss for name, s in self.system.services.items()}


@contextmanager
def running(bench: Bench, name: str, stored: Stored) -> Iterator[Measured]:
    """Starts a system with these contents and a broker of its own."""
    with _filled(bench, name, stored, Choices()) as system:
        yield Measured(system, stored.products, system.nodes[0])


@contextmanager
def beside(
    bench: Bench,
    other: Measured,
    name: str,
    stored: Stored,
    programs: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Iterator[Measured]:
    """Starts another system, in a virtual host of its own on the broker of `other`."""
    _control(other.node, "add_vhost", name)
    _control(other.node, "set_permissions", "-p", name, "guest", ".*", ".*", ".*")
    choices = Choices(amqp_url=other.node.url.replace("%2F", name), programs=programs)
    with _filled(bench, name, stored, choices) as system:
        yield Measured(system, stored.products, other.node)


@contextmanager
def _filled(bench: Bench, name: str, stored: Stored, choices: Choices) -> Iterator[System]:
    folder = bench.folder / name
    with bench.terminal.stage(f"fill {name}"):
        fill(folder / "databases", stored)
    with System(folder, bench.terminal.stage, choices) as system:
        yield system


def _control(node: Node, *command: str) -> None:
    """Runs a rabbitmqctl command, which may be repeated: on a busy machine it may hang. Raises NotStarted."""
    for _ in range(_TRIES):
        with suppress(subprocess.TimeoutExpired):
            node.control(*command)
            return
    raise NotStarted(f"rabbitmqctl {command[0]} did not answer {_TRIES} times")

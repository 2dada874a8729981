"""The systems that are measured: real processes, a broker of their own, databases on disk."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType

import psutil

from benchmarks.bench import Bench
from benchmarks.observing import Records
from benchmarks.seeding import Stored, fill
from ordersys.local.groups import group_of, members
from ordersys.local.rabbitmq import Node, NotStarted
from ordersys.local.system import Choices, System

BROKER = "rabbitmq"
_TRIES = 3


@dataclass(frozen=True)
class Measured:
    """A running system, and its catalogue's size."""

    system: System
    catalogue: int

    @property
    def door(self) -> str:
        """The address of the Product Service."""
        return self.system.services["product_service"].address

    @property
    def node(self) -> Node:
        """Its private broker."""
        return self.system.nodes[0]

    @property
    def records(self) -> Records:
        """What its notification services have recorded."""
        return Records(self.system.folder / "databases")

    def processor_seconds(self) -> dict[str, float]:
        """What each process has used of the processor so far, the broker's included where it is ours."""
        used = {name: sum(psutil.Process(s.pid).cpu_times()[:2]) for name, s in self.system.services.items()}
        for pid in (node.pid for node in self.system.nodes if node.pid is not None):
            used[BROKER] = sum(sum(process.cpu_times()[:2]) for process in members(group_of(pid)))
        return used

    def resident_bytes(self) -> dict[str, int]:
        """The resident memory of each service."""
        return {name: psutil.Process(s.pid).memory_info().rss for name, s in self.system.services.items()}


@contextmanager
def running(
    bench: Bench,
    name: str,
    stored: Stored,
    amqp_url: str | None = None,
    programs: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Iterator[Measured]:
    """A system with that much in its databases; with a broker of its own unless it is given one."""
    folder = bench.folder / name
    with bench.terminal.stage(f"fill {name}"):
        fill(folder / "databases", stored)
    with System(folder, bench.terminal.stage, Choices(amqp_url=amqp_url, programs=programs)) as system:
        yield Measured(system, stored.products)


@contextmanager
def beside(
    bench: Bench,
    other: Measured,
    name: str,
    stored: Stored,
    programs: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Iterator[Measured]:
    """Another system, in a virtual host of its own on the broker of `other`."""
    _control(other.node, "add_vhost", name)
    _control(other.node, "set_permissions", "-p", name, "guest", ".*", ".*", ".*")
    with running(bench, name, stored, other.node.url.replace("%2F", name), programs) as measured:
        yield measured


def _control(node: Node, *command: str) -> None:
    """Both commands may be given twice; on a busy machine Erlang takes its time. Raises NotStarted."""
    for _ in range(_TRIES):
        with suppress(subprocess.TimeoutExpired):
            node.control(*command)
            return
    raise NotStarted(f"rabbitmqctl {command[0]} did not answer {_TRIES} times")

"""Faults of disks: nothing more can be written, by one service, by all of them, or by the broker."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from ordersys.local.system import SERVICES
from tests.integration.faults import mounts
from tests.integration.faults.administration import DISK_ALARM
from tests.integration.faults.facts import Finding
from tests.integration.faults.fault import Act, Fault, Scene
from tests.integration.faults.stage import BROKER, Stage

_ROOM = 96 << 20
"""How much more than what they hold the small file systems take: more than a broker wants to have free (50 MB)."""
_LOW = 24 << 20
"""What a broker has left whose disk is low. One that has nothing left may lose what it has confirmed; see
docs/reliability.md.
"""
_TRAFFIC_SECONDS = 0.5


def disk_faults() -> Iterator[Fault]:
    """By a limit to the size of files; by a file system that is full, where one can be had."""
    for service in SERVICES:
        yield Fault(f"disk of {service} full", _fills_disks(service))
    limited = _fills_disks(*SERVICES)
    yield Fault("file system of all services full", _fills_file_system("databases", 0, SERVICES, limited))
    yield Fault("file system of rabbitmq low", _fills_file_system("rabbitmq/db", _LOW, [BROKER], DISK_ALARM))


def _fills_disks(*names: str) -> Act:
    """No file of theirs may grow any more: every write of a database fails, and of a log, too."""

    def act(scene: Scene) -> Sequence[Finding]:
        with ExitStack() as limited:
            for name in names:
                limited.enter_context(_limited(scene.stage, name))
            scene.last(2.0, 10.0)
        return ()

    return act


@contextmanager
def _limited(stage: Stage, name: str) -> Iterator[None]:
    process = psutil.Process(stage.pid(name))
    before = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (1, before[1]))
    yield
    process.rlimit(psutil.RLIMIT_FSIZE, before)


def _fills_file_system(folder: str, room: int, names: Sequence[str], otherwise: Act) -> Act:
    """They work on a small file system, on which there is that little room for a while; then they are started anew."""

    def act(scene: Scene) -> Sequence[Finding]:
        if not scene.stage.may_mount:
            return otherwise(scene)
        path = scene.stage.folder / folder
        with _stopped(scene.stage, names), mounts.small(path, _size(path) + _ROOM), _running(scene.stage, names):
            time.sleep(_TRAFFIC_SECONDS)
            with mounts.filled(path, room):
                scene.last(2.0, 20.0)
            time.sleep(_TRAFFIC_SECONDS)
        return ()

    return act


@contextmanager
def _stopped(stage: Stage, names: Sequence[str]) -> Iterator[None]:
    for name in names:
        stage.stop(name)
    yield
    for name in names:
        stage.start(name)


@contextmanager
def _running(stage: Stage, names: Sequence[str]) -> Iterator[None]:
    for name in names:
        stage.start(name)
    for name in set(names) & set(SERVICES):
        stage.service(name).wait_healthy()
    yield
    for name in names:
        stage.stop(name)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

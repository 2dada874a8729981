"""Faults of disks: nothing more can be written, by one service, by all of them, or by the broker; files are moved."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from ordersys.local.system import SERVICES
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.environment import mounts
from tests.integration.faults.environment.environment import Environment
from tests.integration.faults.environment.setup import BROKER
from tests.integration.faults.environment.state import file_of
from tests.integration.faults.faults.administration import DISK_ALARM
from tests.integration.faults.faults.fault import Act, Fault, FaultContext
from tests.integration.faults.faults.releases import refuses

_ROOM = 96 << 20
"""The bytes that small file systems take beyond their contents: more than a broker wants to have free (50 MB)."""
_LOW = 24 << 20
"""The space left to a broker whose disk is low. One that has nothing left may lose what it has confirmed; see
docs/reliability.md.
"""
_TRAFFIC_SECONDS = 0.5
_ELSEWHERE = "services keep nothing in files of their own"


def disk_faults() -> Iterator[Fault]:
    """By a limit to the size of files; by a file system that is full, where one can be had."""
    for service in SERVICES:
        yield Fault(f"disk of {service} full", _fills_disks(service), files_only=_ELSEWHERE)
    limited = _fills_disks(*SERVICES)
    full = _fills_file_system("databases", 0, SERVICES, limited)
    yield Fault("file system of all services full", full, files_only=_ELSEWHERE)
    yield Fault("file system of rabbitmq low", _fills_file_system("rabbitmq/db", _LOW, [BROKER], DISK_ALARM))
    moved = "databases moved away under the running services, and back"
    yield Fault(moved, _moves_databases, files_only=_ELSEWHERE)
    copied = "backups of all services, one copied over the database of a service that crashed"
    yield Fault(copied, _copies_backup, files_only="backups of PostgreSQL are made with its own tools")


def _fills_disks(*names: str) -> Act:
    """No file of theirs may grow any more: every write of a database fails, and of a log, too."""

    def act(context: FaultContext) -> Sequence[Finding]:
        with ExitStack() as limited:
            for name in names:
                limited.enter_context(_limited(context.environment, name))
            context.last(2.0, 10.0)
        return ()

    return act


@contextmanager
def _limited(environment: Environment, name: str) -> Iterator[None]:
    process = psutil.Process(environment.pid(name))
    before = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (1, before[1]))
    yield
    process.rlimit(psutil.RLIMIT_FSIZE, before)


def _fills_file_system(folder: str, room: int, names: Sequence[str], otherwise: Act) -> Act:
    """They work on a small file system, on which there is that little room for a while; then they are started anew."""

    def act(context: FaultContext) -> Sequence[Finding]:
        if not context.environment.may_mount:
            return otherwise(context)
        path = context.environment.folder / folder
        with (
            _stopped(context.environment, names),
            mounts.small(path, size_of(path) + _ROOM),
            _running(context.environment, names),
        ):
            time.sleep(_TRAFFIC_SECONDS)
            with mounts.filled(path, room):
                context.last(2.0, 20.0)
            time.sleep(_TRAFFIC_SECONDS)
        return ()

    return act


@contextmanager
def _stopped(environment: Environment, names: Sequence[str]) -> Iterator[None]:
    for name in names:
        environment.stop(name)
    yield
    for name in names:
        environment.start(name)


@contextmanager
def _running(environment: Environment, names: Sequence[str]) -> Iterator[None]:
    for name in names:
        environment.start(name)
    for name in set(names) & set(SERVICES):
        environment.service(name).wait_healthy()
    yield
    for name in names:
        environment.stop(name)


def _moves_databases(context: FaultContext) -> Sequence[Finding]:
    """Nothing is answered from files that are not at their path, and all go on when they are there again."""
    folder = context.environment.databases
    folder.rename(aside := folder.with_name("moved"))
    context.last(2.0, 10.0)
    # Nobody may have made another meanwhile: none of them runs on anything but what it had opened.
    aside.rename(folder)
    return ()


def _copies_backup(context: FaultContext) -> Sequence[Finding]:
    """Under load each backup is made; copied by hand over what a crash left, it is refused until all is put back."""
    environment, name = context.environment, context.dice.choice(SERVICES)
    backups = environment.folder / f"backups-{context.name}"
    backups.mkdir()
    findings = [finding for service in SERVICES for finding in _backup(environment, service, backups / f"{service}.db")]
    time.sleep(_TRAFFIC_SECONDS)
    environment.kill(name)
    file = file_of(environment.databases, name)
    shutil.copytree(environment.databases, aside := backups / "crashed")
    file.write_bytes((backups / f"{name}.db").read_bytes())
    findings += refuses(environment, name, "was exchanged")
    file.write_bytes((aside / file.name).read_bytes())
    environment.start(name)
    return findings


def _backup(environment: Environment, name: str, target: Path) -> Iterator[Finding]:
    command = [sys.executable, "-m", f"ordersys.{name}", "backup", str(target)]
    variables = {**os.environ, "ORDERSYS_DATA_DIR": str(environment.databases)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        yield Finding(Kind.UNRECOVERED, f"no backup of {name} beside it: {done.stderr}")


def size_of(folder: Path) -> int:
    """The bytes of all files in it."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

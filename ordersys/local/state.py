"""The state file of a running system: where its services listen, for clients that are given its folder.

It also names the process of each service, for tests that kill one: its id, which is its group's, and its start, in
seconds since the start of this machine.

It is written when all services work, and when one was started again, and removed before the first is stopped. It
holds no secret; it is for its user alone all the same, since whoever could write it could send clients elsewhere.
Whoever reads it trusts neither its text nor its age: the process that wrote it has to run still, recognised by its id
and start time. The folder's lock would say so, too, but could be asked only by taking it, which would keep a system
from starting.
"""

import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import psutil

from ordersys.console.opening import open_regular
from ordersys.contract import addresses as contract_addresses
from ordersys.contract.addresses import Address, Addresses
from ordersys.local.groups import Group, boot, is_the_same, started

FILE, LOCK = "running.json", "lock"
DATA_DIR = "ORDERSYS_DATA_DIR"
"""The variable that names the folder; to a service that of its database."""
INSECURE = "ORDERSYS_INSECURE"
"""The variable by which everything goes in clear, and nobody is to be known."""
_MOST_BYTES = 65_536
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class NotRunning(Exception):
    """No system runs with a folder, as far as can be trusted; the text says why, and the way out."""


class Known(NamedTuple):
    """The settings by which others are known to the system: names of files, and the URL of a private broker.

    `operator` are those of a client that calls as one; `broker` those by which somebody may look at the queues of a
    private broker, and do nothing else to it. `live` is the `address` of the live page, where there is one, and the
    `key_file` of programs that read waterfalls there.
    """

    operator: Mapping[str, str] = MappingProxyType({})
    broker: Mapping[str, str] = MappingProxyType({})
    live: Mapping[str, str] = MappingProxyType({})


_NOBODY = Known()


def secure_by_default() -> bool:
    """False where the environment asks for none; what is neither true nor false is refused with the settings."""
    return os.environ.get(INSECURE, "").strip().lower() != "true"


def text(
    addresses: Mapping[str, Address | Addresses],
    groups: Mapping[str, Group],
    rolls: Sequence[str] = (),
    known: Known = _NOBODY,
    metrics: Mapping[str, Address] = MappingProxyType({}),
) -> str:
    """The state of this process, whose services listen at `addresses` and run as `groups`.

    Addresses by module; groups by module too, with `-2` and so on behind it for the other processes of one; of each
    restart one at a time what kept it from its end, empty where nothing did. `metrics` are the addresses at which
    processes serve them, by the names that groups have.
    """
    by_module = {module: str(address) for module, address in addresses.items()}
    leaders = {module: {"pid": group.leader, "started": group.started} for module, group in groups.items()}
    own = {"pid": os.getpid(), "started": started(os.getpid()), "boot": boot()}
    shared = {"addresses": by_module, "processes": leaders, "rolls": list(rolls)}
    settings = {name: dict(values) for name, values in known._asdict().items()}
    at_metrics = {name: str(address) for name, address in metrics.items()}
    return json.dumps({**own, **shared, **settings, "metrics": at_metrics})


def is_there(folder: str) -> bool:
    """True where `folder` holds a state file, be it of a running system or left by one that was killed."""
    return os.path.lexists(Path(folder) / FILE)


def was_used(folder: str) -> bool:
    """True where an `ordersys.local` runs with `folder`, or ever did: its lock stays."""
    return any(os.path.lexists(Path(folder) / name) for name in (FILE, LOCK))


class Running(NamedTuple):
    """A running system, as its state file tells of it."""

    pid: int
    addresses: Mapping[str, Address | Addresses]
    rolls: Sequence[str]
    operator: Mapping[str, str]
    metrics: Mapping[str, Address] = MappingProxyType({})
    broker: Mapping[str, str] = MappingProxyType({})
    live: Mapping[str, str] = MappingProxyType({})


def addresses(folder: str) -> Mapping[str, Address | Addresses]:
    """The addresses of the system that runs with `folder`, by module. Raises NotRunning."""
    return running(folder).addresses


def running(folder: str) -> Running:
    """The system that runs with `folder`. Raises NotRunning."""
    start = f"start it with `python -m ordersys.local --data-dir {folder}`"
    try:
        content = json.loads(_read(Path(folder) / FILE))
        pid, since, booted = int(content["pid"]), float(content["started"]), str(content["boot"])
        by_module = {str(module): contract_addresses.parse_any(at) for module, at in content["addresses"].items()}
        rolls = [str(outcome) for outcome in content.get("rolls", ())]
        operator, broker, live = (_texts(content, name) for name in Known._fields)
        metrics = {str(name): contract_addresses.parse(at) for name, at in content.get("metrics", {}).items()}
    except FileNotFoundError:
        raise NotRunning(f"no system runs with {folder!r}, or it is still starting; {start}") from None
    except OSError as error:
        raise NotRunning(f"{folder}/{FILE} can't be used: {error.strerror}; {start}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise NotRunning(f"{folder}/{FILE} is damaged; stop that system, if it runs, and {start}") from error
    if booted != boot() or not _runs(pid, since):
        raise NotRunning(f"the system that ran with {folder!r} has ended without a word; {start}")
    return Running(pid, by_module, rolls, operator, metrics, broker, live)


def _texts(content: Mapping[str, Any], name: str) -> Mapping[str, str]:
    return {str(key): str(value) for key, value in content.get(name, {}).items()}


def _read(path: Path) -> bytes:
    """Raises OSError, also for a file that somebody else has written or may write."""
    descriptor = open_regular(path, os.O_RDONLY)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            raise PermissionError(1, f"it belongs to another user (uid {status.st_uid})", str(path))
        if status.st_mode & _OTHERS_MAY_WRITE:
            raise PermissionError(1, "others may write it", str(path))
        return os.read(descriptor, _MOST_BYTES)
    finally:
        os.close(descriptor)


def _runs(pid: int, since: float) -> bool:
    """True where the process with this id is the one that started then, and has not ended."""
    try:
        return is_the_same(pid, since) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError, OverflowError):
        return False

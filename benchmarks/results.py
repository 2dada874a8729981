"""A run as a file: machine, versions, settings, goals, figures, curves."""

import json
import os
import platform
import re
import sqlite3
import sysconfig
import timeit
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from benchmarks import plan as plans
from benchmarks.figures import Figures, read
from benchmarks.goals import judged
from benchmarks.plan import Plan
from ordersys.local.packages import provision

FOLDER = Path(__file__).parent / "results"
LATEST = FOLDER / "latest.json"
SECURED = FOLDER / "secured.json"
"""The result of a run with identities: beside the others, of which none is without them."""
_PACKAGES = (
    "uvloop",
    "grpcio",
    "protobuf",
    "protovalidate",
    "pika",
    "sqlalchemy",
    "aio-pika",
    "faststream",
    "kombu",
    "nameko",
)


def document(plan: Plan, figures: Figures, began: str, seconds: float, more: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a run as JSON; the goals are at the top, by name."""
    return {
        "date": began,
        "mode": plan.mode,
        "seconds": round(seconds, 1),
        **judged(figures),
        "machine": machine(),
        "versions": versions(),
        "settings": {
            **asdict(plan),
            "publish_window": plans.WINDOW,
            "prefetch": plans.PREFETCH,
            "small_catalogue": plans.SMALL_CATALOGUE,
        },
        **more,
        "figures": figures.document(),
        "series": figures.series,
    }


def merged(latest: Mapping[str, Any], part: Mapping[str, Any], facts: str, firsts: Sequence[str]) -> dict[str, Any]:
    """The latest result with the figures of `part`, whose names begin with one of `firsts`, in the place of its own.

    `facts` is the name under which a result says how that part was measured.
    """
    names = (*firsts, *(f"processor.{first}" for first in firsts))
    kept = {name: figure for name, figure in latest["figures"].items() if not name.startswith(names)}
    whole = {**latest, "figures": {**kept, **part["figures"]}, facts: part[facts]}
    return {**whole, **judged(read(whole))}


def write(found: Mapping[str, Any], began: str, folder: Path = FOLDER) -> Path:
    """Writes a new file, named by the time a run began, and `latest.json`; the path of the first."""
    path = folder / f"{began.replace(':', '')}.json"
    for file in (path, folder / LATEST.name):
        _write(found, file)
    return path


def write_secured(found: Mapping[str, Any], folder: Path = FOLDER) -> Path:
    """Writes `secured.json`, and returns its path: the other files stay."""
    path = folder / SECURED.name
    _write(found, path)
    return path


def _write(found: Mapping[str, Any], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """The machine and the versions: enough to tell whether two runs may be compared."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_mb": psutil.virtual_memory().total // 2**20,
    }


def load_average() -> float:
    """The load average of the last minute: figures of a busy machine say little."""
    return round(os.getloadavg()[0], 2)


def interpreter() -> dict[str, Any]:
    """The build of this Python, as far as it is recorded, and the speed of a loop: builds differ by half."""
    said = " ".join(str(value) for value in sysconfig.get_config_vars().values())
    profiled = "--enable-optimizations" in said or "-fprofile-use" in str(sysconfig.get_config_var("PY_CFLAGS"))
    linked = "--with-lto" in said or "-flto" in said
    return {
        "build": built(profiled, linked),
        # Without what names a folder of this machine.
        "configured": " ".join(re.findall(r"'(--[\w-]+)'", sysconfig.get_config_var("CONFIG_ARGS") or "")),
        "flags": sysconfig.get_config_var("PY_CFLAGS") or "",
        "loop_ms": 1000 * min(timeit.repeat(_a_million_additions, number=1, repeat=5)),
    }


def built(profiled: bool, linked: bool) -> str:
    """A description of the build. A distribution may optimise in ways that the configuration does not show."""
    done = [name for name, was in (("PGO", profiled), ("LTO", linked)) if was]
    return f"built with {' and '.join(done)}" if done else "built without PGO and LTO, as far as its configuration says"


def _a_million_additions() -> None:
    total = 0
    for number in range(1_000_000):
        total += number


def versions() -> dict[str, str]:
    """The versions of everything that affects speed."""
    versions = {name: _version(name) for name in _PACKAGES}
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "rabbitmq": provision().version,
        **{name: number for name, number in versions.items() if number},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    """The name of the processor model, where the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()

"""Facts about a run: the contract and the suite by their versions, the machine and the time."""

import os
import platform
import shutil
import subprocess
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tools import codegen

_ROOT = Path(__file__).parents[3]
_GIT_SECONDS = 5.0


class Contract(NamedTuple):
    """The contract: its version, and the digest of its .proto files, as the folder contract/ states it, too."""

    version: str
    digest: str


class Suite(NamedTuple):
    """The suite: its version, and the commit it was run from, empty where nobody knows; `+` where it was changed."""

    version: str
    commit: str


class Machine(NamedTuple):
    """The machine and the Python that ran the suite."""

    system: str
    cores: int
    python: str


def contract() -> Contract:
    """The contract as it stands in this folder."""
    released = [path.stem for path in (_ROOT / "proto" / "released").glob("*.binpb")]
    return Contract(max(released, default="unreleased"), codegen.digest(_ROOT))


def suite() -> Suite:
    """The suite as it stands in this folder."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    commit = _git("rev-parse", "--short=12", "HEAD")
    changed = "+" if commit and _git("status", "--porcelain", "--untracked-files=no") else ""
    return Suite(str(project["project"]["version"]), f"{commit}{changed}")


def machine() -> Machine:
    """This machine, without its name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return Machine(system, cores, platform.python_version())


def now() -> str:
    """The time in UTC, to the second (RFC 3339)."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _git(*arguments: str) -> str:
    """The output of git, empty where it has none: this may be no clone."""
    git = shutil.which("git")
    if git is None:
        return ""
    try:
        done = subprocess.run(
            [git, *arguments], cwd=_ROOT, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

"""Packages of Debian, unpacked as any user: what a test runs need not be installed."""

import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

_MINUTES = 10


class NotToBeHad(Exception):
    """The packages can't be fetched here; the text says why."""


def options(scratch: Path, settings: Mapping[str, str]) -> list[str]:
    """The options that have apt keep everything below `scratch`, made if missing; `settings` go before them."""
    for part in ("state/lists/partial", "cache/archives/partial"):
        (scratch / part).mkdir(parents=True, exist_ok=True)
    every = {
        "Dir::State": f"{scratch}/state",
        "Dir::Cache": f"{scratch}/cache",
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "",
        **settings,
    }
    return [word for name, value in every.items() for word in ("-o", f"{name}={value}")]


def unpack(scratch: Path, options: Iterable[str], packages: Iterable[str]) -> Path:
    """The folder `root` of `scratch`, with these packages, without those they depend on. Raises NotToBeHad."""
    downloads, root = scratch / "packages", scratch / "root"
    for part in (downloads, root):
        part.mkdir()
    run(downloads, "apt-get", *options, "-qq", "download", *packages)
    for package in sorted(downloads.glob("*.deb")):
        run(scratch, "dpkg", "-x", str(package), str(root))
    return root


def run(folder: Path, *command: str) -> str:
    """The output of a command. Raises NotToBeHad, also when it takes longer than 10 minutes."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            timeout=_MINUTES * 60,
            check=False,
        )
    except FileNotFoundError:
        raise NotToBeHad(f"there is no {command[0]} on this machine") from None
    except subprocess.TimeoutExpired:
        raise NotToBeHad(f"{command[0]} took longer than {_MINUTES} minutes") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise NotToBeHad(f"{command[0]} says: {said[-1] if said else done.returncode}")
    return done.stdout

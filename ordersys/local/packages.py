"""Finds a RabbitMQ to run: an installed one, else the distribution's packages unpacked into a cache, as any user."""

import fcntl
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

CACHE_VARIABLE = "ORDERSYS_CACHE_DIR"
RABBITMQ_VARIABLE = "ORDERSYS_RABBITMQ_DIR"
_INSTALLED = (
    "usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",
    "usr/lib/rabbitmq/bin",
    "opt/homebrew/opt/rabbitmq/sbin",
    "usr/local/opt/rabbitmq/sbin",
    "opt/rabbitmq/sbin",
)
_WANTED = re.compile(
    r"(erlang-\S+|rabbitmq-server|zlib1g"
    r"|lib(stdc\+\+6|tinfo6|ncurses6|ssl3\S*|systemd0|sctp1|cap2|zstd1|lz4-1|lzma5|gcrypt20|gpg-error0))"
)
_DEPENDS = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
_WAYS_OUT = (
    "Three ways out: give the address of a running RabbitMQ with --amqp-url; install RabbitMQ (package"
    " rabbitmq-server); or run on Debian or Ubuntu with their package mirrors in reach, so that it can be"
    " unpacked into a cache folder without being installed."
)


class NoRabbitMQ(Exception):
    """There is no RabbitMQ to run; the text says what was tried, and the ways out."""


class Installation(NamedTuple):
    """A RabbitMQ that can be run: the folder of its programs, and what its environment needs."""

    programs: Path
    path: str
    library_path: str = ""

    @property
    def version(self) -> str:
        """Such as 3.10.8, empty when the folder does not tell."""
        found = re.search(r"rabbitmq_server-([\w.]+)", str(self.programs.resolve()))
        return found.group(1) if found else ""


def provision() -> Installation:
    """The RabbitMQ below ORDERSYS_RABBITMQ_DIR, else that of this machine; raises NoRabbitMQ.

    The first time without one, downloads some 30 MB.
    """
    if given := os.environ.get(RABBITMQ_VARIABLE):
        return _named(Path(given))
    return installed(Path("/")) or unpacked(cache())


def _named(root: Path) -> Installation:
    """RabbitMQ and its Erlang, both below `root`."""
    erlang = root / "usr/lib/erlang/bin"
    for pattern in _INSTALLED:
        for programs in root.glob(pattern):
            if (programs / "rabbitmq-server").exists() and (erlang / "erl").exists():
                return Installation(programs, os.pathsep.join((str(erlang), os.environ.get("PATH", ""), "/usr/bin")))
    raise NoRabbitMQ(f"{RABBITMQ_VARIABLE} is {str(root)!r}, but there is no RabbitMQ with an Erlang below it")


def installed(root: Path) -> Installation | None:
    """A RabbitMQ installed below `root`, with the Erlang on the PATH."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"))
    for pattern in _INSTALLED:
        for programs in sorted(root.glob(pattern), reverse=True):
            if (programs / "rabbitmq-server").exists() and shutil.which("erl", path=path):
                return Installation(programs, path)
    return None


def cache() -> Path:
    """The folder that unpacked packages are kept in, made if missing."""
    given = os.environ.get(CACHE_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    for folder in (Path(given) if given else Path(base) / "ordersys", _scratch()):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            if given:
                raise NoRabbitMQ(f"{CACHE_VARIABLE} is {given!r} but must be a folder that can be written") from None
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise NoRabbitMQ(f"no folder to unpack RabbitMQ in; name one with {CACHE_VARIABLE}")


def unpacked(folder: Path) -> Installation:
    """The distribution's RabbitMQ, unpacked below `folder`, now or before. Raises NoRabbitMQ."""
    root = folder / f"rabbitmq-{_release()}"
    with _locked(folder / "rabbitmq.lock"):
        if not root.exists():
            with tempfile.TemporaryDirectory(dir=folder, prefix="unpacking-") as scratch:
                _unpack(Path(scratch), root)
    (programs,) = root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin")
    libraries = [str(path) for pattern in ("usr/lib/*-linux-gnu", "lib/*-linux-gnu") for path in root.glob(pattern)]
    path = os.pathsep.join((str(root / "usr/lib/erlang/bin"), os.environ.get("PATH", ""), "/usr/bin", "/bin"))
    return Installation(programs, path, os.pathsep.join(libraries))


def _scratch() -> Path:
    return Path(tempfile.gettempdir()) / f"ordersys-cache-{os.getuid()}"


def _release() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    if not {"debian", "ubuntu"} & {release.get("ID", ""), *release.get("ID_LIKE", "").split()}:
        raise NoRabbitMQ(f"There is no RabbitMQ on this machine. {_WAYS_OUT}")
    return f"{release['ID']}-{release.get('VERSION_ID', 'testing')}-{platform.machine()}"


def _unpack(scratch: Path, root: Path) -> None:
    packages = scratch / "packages"
    made = scratch / "root"
    for part in (packages, made, scratch / "state/lists/partial", scratch / "cache/archives/partial"):
        part.mkdir(parents=True)
    options = ["-o", f"Dir::State={scratch}/state", "-o", f"Dir::Cache={scratch}/cache"]
    options += [
        "-o",
        "Dir::State::status=/var/lib/dpkg/status",
        "-o",
        "Debug::NoLocking=1",
        "-o",
        "APT::Sandbox::User=",
    ]
    _run(scratch, "apt-get", *options, "-qq", "update")
    without = [f"--no-{kind}" for kind in _DEPENDS]
    names = _run(scratch, "apt-cache", *options, "depends", "--recurse", *without, "rabbitmq-server")
    wanted = sorted({name for name in names.split() if _WANTED.fullmatch(name)})
    _run(packages, "apt-get", *options, "-qq", "download", *wanted)
    for package in sorted(packages.glob("*.deb")):
        _run(scratch, "dpkg", "-x", str(package), str(made))
    _relocate(made / "usr/lib/erlang", root / "usr/lib/erlang")
    made.rename(root)


def _relocate(erlang: Path, final: Path) -> None:
    """Erlang's start script knows where it is installed: tells it where that will be."""
    script = erlang / "bin/erl"
    script.write_text(script.read_text().replace("ROOTDIR=/usr/lib/erlang", f'ROOTDIR="{final}"'))


def _run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    environment["PATH"] = os.pathsep.join((environment.get("PATH", ""), "/usr/bin", "/bin", "/usr/sbin"))
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise NoRabbitMQ(f"There is no RabbitMQ on this machine, and no {command[0]}. {_WAYS_OUT}") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        why = said[-1] if said else f"exit status {done.returncode}"
        raise NoRabbitMQ(f"RabbitMQ could not be fetched: {command[0]} says: {why}. {_WAYS_OUT}")
    return done.stdout


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

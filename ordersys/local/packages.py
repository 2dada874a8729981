"""Finds a RabbitMQ to run: an installed one, else the distribution's packages unpacked into a cache, as any user."""

import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from ordersys.console.opening import open_regular, read_regular
from ordersys.runtime.base import files
from ordersys.runtime.base.files import UnsafeFolder, UnusableFolder, make_private, write_whole

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
# What a PATH, or a script of RabbitMQ, takes for more than a part of a path.
_DIVIDING = re.compile(r"[^\w/.,@%+=~-]")
_PROGRAMS = "usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin"
_START_SCRIPT = "usr/lib/erlang/bin/erl"
_CONTENTS = "contents.json"
_SCRATCH = "unpacking-"
_DEPENDS = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
# By the ID and ID_LIKE of os-release(5).
_INSTALLING = {
    "fedora": "sudo dnf install rabbitmq-server",
    "alpine": "sudo apk add rabbitmq-server",
    "debian": "sudo apt-get install rabbitmq-server",
}


def ways_out() -> str:
    """The ways to a RabbitMQ, with the command that installs one on this system, as far as it is known."""
    return (
        f"Four ways out: give the address of a running RabbitMQ with --amqp-url; install RabbitMQ ({_installing()});"
        " have Docker or Podman work for this user, who then run its official image; or run on Debian or Ubuntu with"
        " their package mirrors in reach, so that it can be unpacked into a cache folder without being installed."
    )


def _installing() -> str:
    if platform.system() == "Darwin":
        return "brew install rabbitmq"
    release = _os_release()
    likes = (release.get("ID", ""), *release.get("ID_LIKE", "").split())
    return next((_INSTALLING[like] for like in likes if like in _INSTALLING), "package rabbitmq-server")


def _os_release() -> Mapping[str, str]:
    """The description of the system (os-release(5)), empty where there is none."""
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


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
        version = re.search(r"rabbitmq_server-([\w.]+)", str(self.programs.resolve()))
        return version.group(1) if version else ""


def provision() -> Installation:
    """The RabbitMQ below ORDERSYS_RABBITMQ_DIR, else that of this machine; raises NoRabbitMQ.

    Raises UnusableFolder when what is named is no folder. The first time without one, downloads some 30 MB.
    """
    if given := os.environ.get(RABBITMQ_VARIABLE):
        return _named(given)
    return installed(Path("/")) or unpacked(cache())


def _named(given: str) -> Installation:
    """RabbitMQ and its Erlang, both below the folder that was named."""
    try:
        root = files.path(given).absolute()
    except ValueError as error:
        raise UnusableFolder(f"{RABBITMQ_VARIABLE} is {given!r} but must be {error}") from None
    erlang = root / "usr/lib/erlang/bin"
    for pattern in _INSTALLED:
        for programs in root.glob(pattern):
            if (programs / "rabbitmq-server").exists() and (erlang / "erl").exists():
                return Installation(programs, os.pathsep.join((str(erlang), os.environ.get("PATH", ""), "/usr/bin")))
    raise NoRabbitMQ(
        f"{RABBITMQ_VARIABLE} is {str(root)!r}, but there is no RabbitMQ with an Erlang below it,"
        " in usr/lib/rabbitmq and usr/lib/erlang; name the folder that holds both, or leave the variable out"
    )


def installed(root: Path) -> Installation | None:
    """A RabbitMQ installed below `root`, with the Erlang on the PATH."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"))
    for pattern in _INSTALLED:
        for programs in sorted(root.glob(pattern), reverse=True):
            if (programs / "rabbitmq-server").exists() and shutil.which("erl", path=path):
                return Installation(programs, path)
    return None


def cache() -> Path:
    """The folder that unpacked packages are kept in, made if missing.

    Raises UnusableFolder when the one that is named can't be used, UnsafeFolder when somebody else could put programs
    of theirs there, NoRabbitMQ.
    """
    if given := os.environ.get(CACHE_VARIABLE, "").strip():
        return _given_cache(given)
    for folder in _likely_caches():
        if _DIVIDING.search(str(folder)):
            continue
        try:
            make_private(folder)
        except UnsafeFolder:
            raise
        except UnusableFolder:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise NoRabbitMQ(f"no folder to unpack RabbitMQ in; name one with {CACHE_VARIABLE}")


def _given_cache(given: str) -> Path:
    try:
        folder = files.path(given).absolute()
    except ValueError as error:
        raise UnusableFolder(f"{CACHE_VARIABLE} is {given!r} but must be {error}") from None
    if _DIVIDING.search(str(folder)):
        raise UnusableFolder(
            f"{CACHE_VARIABLE} is {given!r} but must be a path without blanks or signs that a shell reads"
        )
    make_private(folder)
    if not os.access(folder, os.W_OK):
        raise UnusableFolder(f"{CACHE_VARIABLE} is {given!r} but must be a folder that can be written")
    return folder


def _likely_caches() -> Iterator[Path]:
    """As the XDG Base Directory Specification has it, where a relative path counts as none; then a temporary folder."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():
        yield base / "ordersys"
    else:
        with suppress(RuntimeError):  # HOME is not set, and the user is in no list
            yield Path.home().absolute() / ".cache" / "ordersys"
    yield Path(tempfile.gettempdir()) / f"ordersys-cache-{os.getuid()}"


def unpacked(folder: Path) -> Installation:
    """The distribution's RabbitMQ, unpacked below `folder`, now or before. Raises NoRabbitMQ.

    What was unpacked before is looked at: what is missing, or of another size, has it unpacked anew.
    """
    root = folder / f"rabbitmq-{_release()}"
    with _locked(folder / "rabbitmq.lock"):
        for left in folder.glob(f"{_SCRATCH}*"):  # by somebody who was killed
            shutil.rmtree(left)
        if not _is_complete(root):
            with tempfile.TemporaryDirectory(dir=folder, prefix=_SCRATCH) as scratch:
                _unpack(Path(scratch))
                if root.exists():
                    root.rename(Path(scratch) / "before")
                (Path(scratch) / "root").rename(root)
        _relocate(root)
    (programs,) = root.glob(_PROGRAMS)
    libraries = [str(path) for pattern in ("usr/lib/*-linux-gnu", "lib/*-linux-gnu") for path in root.glob(pattern)]
    path = os.pathsep.join((str(root / "usr/lib/erlang/bin"), os.environ.get("PATH", ""), "/usr/bin", "/bin"))
    return Installation(programs, path, os.pathsep.join(libraries))


def _is_complete(root: Path) -> bool:
    """True where all is there that was unpacked, each file as long as it was."""
    try:
        recorded = json.loads(read_regular(root / _CONTENTS))
        return isinstance(recorded, dict) and bool(recorded) and _contents(root) == recorded
    except (OSError, ValueError, RecursionError):
        return False


def _contents(root: Path) -> Mapping[str, int]:
    """The size of each file; that of the script which knows where it is depends on that."""
    files = (path for path in root.rglob("*") if path.is_file() or path.is_symlink())
    sizes = {str(path.relative_to(root)): path.lstat().st_size for path in files}
    return {name: size for name, size in sizes.items() if name not in {_CONTENTS, _START_SCRIPT}}


def _release() -> str:
    release = _os_release()
    if not {"debian", "ubuntu"} & {release.get("ID", ""), *release.get("ID_LIKE", "").split()}:
        raise NoRabbitMQ(f"There is no RabbitMQ on this machine. {ways_out()}")
    return f"{release['ID']}-{release.get('VERSION_ID', 'testing')}-{platform.machine()}"


def _unpack(scratch: Path) -> None:
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
    if not (any(made.glob(_PROGRAMS)) and (made / _START_SCRIPT).exists()):
        raise NoRabbitMQ(f"The packages of this distribution hold no RabbitMQ that can be unpacked. {ways_out()}")
    write_whole(made / _CONTENTS, json.dumps(_contents(made)))


def _relocate(root: Path) -> None:
    """Erlang's start script knows where it is installed: tells it where that is now, if it was moved."""
    script = root / _START_SCRIPT
    said = script.read_text(encoding="utf-8")
    wanted = re.sub(r"(?m)(?<=ROOTDIR=)(/usr/lib/erlang|\".*\")$", lambda _: f'"{root}/usr/lib/erlang"', said)
    if wanted != said:
        write_whole(script, wanted, 0o755)


def _run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    environment["PATH"] = os.pathsep.join((environment.get("PATH", ""), "/usr/bin", "/bin", "/usr/sbin"))
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise NoRabbitMQ(f"There is no RabbitMQ on this machine, and no {command[0]}. {ways_out()}") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        why = said[-1] if said else f"exit status {done.returncode}"
        raise NoRabbitMQ(f"RabbitMQ could not be fetched: {command[0]} says: {why}. {ways_out()}")
    return done.stdout


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with os.fdopen(open_regular(path, os.O_WRONLY | os.O_CREAT), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

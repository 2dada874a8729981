"""A Prometheus for tests: an installed one, else the distribution's package, unpacked below the cache folder."""

import json
import platform
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache as once
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from ordersys.local import ports
from ordersys.local.packages import NoRabbitMQ, cache
from ordersys.runtime.base.files import UnusableFolder
from tests.debian import NotToBeHad, options, run, unpack

_BINARIES = Path("usr/bin")
_SECONDS = 30.0
_POLL = 0.05


class Programs(NamedTuple):
    """The server, and what checks its files."""

    prometheus: Path
    promtool: Path


@once
def programs() -> Programs:
    """Those on the PATH, else those of the distribution, unpacked now or before. Raises NotToBeHad."""
    server, tool = shutil.which("prometheus"), shutil.which("promtool")
    if server and tool:
        return Programs(Path(server), Path(tool))
    binaries = _unpacked() / _BINARIES
    return Programs(binaries / "prometheus", binaries / "promtool")


def _unpacked() -> Path:
    """Some 20 MB are downloaded the first time. Its page in a browser is not among them."""
    try:
        folder = cache()
        release = platform.freedesktop_os_release()
    except (NoRabbitMQ, UnusableFolder, OSError) as error:
        raise NotToBeHad(f"there is no Prometheus on this machine, and none can be unpacked: {error}") from error
    final = folder / f"prometheus-{release['ID']}-{release.get('VERSION_ID', 'testing')}-{platform.machine()}"
    if not final.exists():
        with tempfile.TemporaryDirectory(dir=folder, prefix="fetching-") as scratch:
            made = _fetched(Path(scratch))
            with suppress(FileExistsError):  # somebody else was first
                made.rename(final)
    return final


def _fetched(scratch: Path) -> Path:
    of_machine = options(scratch, {"Dir::State::status": "/var/lib/dpkg/status"})
    run(scratch, "apt-get", *of_machine, "-qq", "update")
    root = unpack(scratch, of_machine, ["prometheus"])
    if not all((root / _BINARIES / name).exists() for name in Programs._fields):
        raise NotToBeHad("the package prometheus of this distribution does not hold prometheus and promtool")
    return root


def programs_or_skip() -> Programs:
    """The programs; skips the test where there are none, and says why."""
    try:
        return programs()
    except NotToBeHad as error:
        pytest.skip(f"no Prometheus: {error}")


class Refused(AssertionError):
    """Prometheus does not take a request; the text is its own."""


class Prometheus:
    """A running server, asked over HTTP."""

    def __init__(self, address: str) -> None:
        """`address` is HOST:PORT."""
        self._url = f"http://{address}"

    def query(self, expression: str) -> Sequence[Mapping[str, Any]]:
        """The series that an expression has now: `metric`, its labels, and `value`, time and text. Raises Refused."""
        result: Sequence[Mapping[str, Any]] = self.ask("query", query=expression)["result"]
        return result

    def ask(self, endpoint: str, **parameters: str) -> Any:
        """The data that an endpoint of the API answers with. Raises Refused."""
        try:
            with urlopen(f"{self._url}/api/v1/{endpoint}?{urlencode(parameters)}", timeout=_SECONDS) as answer:  # noqa: S310
                return json.load(answer)["data"]
        except URLError as error:
            said = getattr(error, "fp", None)
            raise Refused(f"{parameters}: {said.read().decode() if said else error}") from error

    def is_ready(self) -> bool:
        """True once it answers queries."""
        with suppress(OSError), urlopen(f"{self._url}/-/ready", timeout=_SECONDS) as answer:  # noqa: S310
            return bool(answer.status == 200)
        return False


@contextmanager
def running(folder: Path, configuration: Path) -> Iterator[Prometheus]:
    """A server on a free loopback port, with its data in `folder`. Skips the test where there is none."""
    program = programs_or_skip().prometheus
    address = f"127.0.0.1:{ports.free(1)[0]}"
    command = [str(program), f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'data'}"]
    with (
        (folder / "prometheus.log").open("w") as log,
        subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=log, cwd=folder) as process,
    ):
        try:
            server = Prometheus(address)
            _wait(server, process, folder / "prometheus.log")
            yield server
        finally:
            process.send_signal(signal.SIGTERM)


def _wait(server: Prometheus, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while not server.is_ready():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, f"Prometheus is not ready: {log.read_text()}"
        time.sleep(_POLL)

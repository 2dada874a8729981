"""A RabbitMQ node as processes of an installed RabbitMQ, or of one that was unpacked; and their port mapper."""

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Collection
from pathlib import Path

from ordersys.console.opening import check_regular, read_regular
from ordersys.local import ports
from ordersys.local.child import Child, last_lines, not_started
from ordersys.local.guard import Guard
from ordersys.local.log_words import LogWords
from ordersys.local.packages import Installation
from ordersys.local.rabbitmq import Membership, Node, NotStarted
from ordersys.runtime.base.files import UnusableFolder, write_whole

_COOKIE_MODE = 0o400  # Erlang takes none that others may read
_CONTROL_SECONDS = 180.0
_MAPPER_START_SECONDS, _MAPPER_STOP_SECONDS = 30.0, 30.0
_MOST_TRIES, _POLL = 3, 0.02
_TAIL = 5  # lines of a log
_IN_CLEAR = "listeners.tcp.1 = 127.0.0.1:{port}\n"
_CONFIGURATION = """\
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
log.file.level = warning
"""
# Erlang's own port mapper would outlive the node and listen everywhere.
_ERLANG = "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false"
# After so many seconds a node that is there and says nothing counts as lost, a quarter more or less. The default, a
# minute, would be longer than publishing may rest.
_NET_TICK_SECONDS = 10


class PortMapper:
    """Erlang's epmd, by which nodes find each other. Not running until `start`."""

    def __init__(self, installation: Installation, guard: Guard) -> None:
        self._installation = installation
        self._guard = guard
        self._child: Child | None = None
        self.port = 0

    def start(self, port: int, log: Path, reserved: Collection[int] = ()) -> None:
        """Starts it unless it runs, and returns when it listens: where it was before, else at `port`.

        Where somebody else has that port, maybe the mapper of another system, it takes a free one, none of `reserved`.
        Raises NotStarted.
        """
        if self._child is not None and self._child.running:
            return
        self.port = self.port or port
        for _ in range(_MOST_TRIES):
            self.stop()  # what is left of it
            self._child = self._launched(log)
            if self._listens(self._child):
                return
            (self.port,) = ports.free(1, reserved)
        raise NotStarted(not_started("Erlang's port mapper", log, last_lines(log)[-_TAIL:], None))

    def _launched(self, log: Path) -> Child:
        installation = self._installation
        command = [_program("epmd", installation.path), "-port", str(self.port), "-address", ports.LOOPBACK]
        # Its home tells whose it is, should it ever be left.
        home = {"HOME": str(log.parent)}
        environment = {"PATH": installation.path, "LD_LIBRARY_PATH": installation.library_path, **home}
        return Child(command, environment, log, self._guard)

    def _listens(self, child: Child) -> bool:
        """Waits until it does; false where it has ended, or has not for long."""
        until = time.monotonic() + _MAPPER_START_SECONDS
        while not child.listens(self.port):
            if not child.running or time.monotonic() > until:
                return False
            time.sleep(_POLL)
        return True

    def stop(self) -> None:
        """Ends it."""
        if self._child is not None:
            self._child.stop(_MAPPER_STOP_SECONDS)
            self._child = None


class InstalledNode(Node):
    """A node as processes of an installed RabbitMQ, or of one that was unpacked."""

    _port_count = 3  # for clients, for Erlang's port mapper and between nodes
    _in_use = ("eaddrinuse", "dist_port_already_used")  # as Erlang and RabbitMQ say it

    def __init__(
        self, folder: Path, installation: Installation, guard: Guard, membership: Membership, mapper: PortMapper
    ) -> None:
        super().__init__(folder, guard, membership)
        self._installation = installation
        self._mapper = mapper
        self._own_log = folder / "log" / f"{self.name}.log"
        self._complaints: LogWords | None = None

    def _run(self) -> Child:
        self._complaints = LogWords(self._own_log, self._in_use)
        _, mapper, distribution = self._ports
        self._mapper.start(mapper, self.log, self._membership.reserved)
        environment = self._environment(self._mapper.port, distribution)
        program = str(self._installation.programs / "rabbitmq-server")
        # What Mnesia and Erlang dump when they fail lies where they run.
        return Child([program], environment, self.log, self._guard, self._folder / "log")

    def control(self, *command: str) -> str:
        """Has `rabbitmqctl` do something with the running node; what it prints. Raises CalledProcessError."""
        program = str(self._installation.programs / "rabbitmqctl")
        environment = self._environment(self._mapper.port, self._ports[2])
        return subprocess.run(
            [program, *command],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=_CONTROL_SECONDS,
        ).stdout

    def prepare(self) -> None:
        """Makes anew whatever is missing, or of no use, of what the node needs to start. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._begin_anew()
        self._check_place()
        for part in ("home", "db", "log", "schema"):
            (self._folder / part).mkdir(exist_ok=True)
        cookie = _cookie_file(self._folder)
        if not (_is_for_us_alone(cookie) and read_cookie(self._folder) == self._membership.cookie):
            write_whole(cookie, self._membership.cookie, _COOKIE_MODE)
        write_whole(self._folder / "env.conf", "")
        self._settle_ports()
        # Seen from its folder of logs, where it runs: what stands in its configuration is not to be quoted.
        listen, version = f"{ports.LOOPBACK}:{self.port}", self._installation.version
        who = self._secured(listen, _IN_CLEAR.format(port=self.port), "..", version)
        write_whole(self._folder / "rabbitmq.conf", who + _CONFIGURATION + self._membership.configuration)
        for folder in (self._folder, self._folder / "home", self._folder / "log"):
            for path in folder.iterdir():  # Erlang would wait for a pipe, and say nothing
                if not path.is_dir():
                    check_regular(path)

    def _listens_in_vain(self) -> bool:
        return self._complaints is not None and self._complaints.are_there()

    def _begin_anew(self) -> None:
        """Forgets a first start that was killed: RabbitMQ refuses tables of which it had changed but some.

        It never answered, so nothing is lost. Of several nodes another one may know it already.
        """
        if self.new:
            write_whole(self._first_start, "")
        elif self._first_start.exists() and not self._membership.configuration:
            shutil.rmtree(self._folder / "db")

    def _check_place(self) -> None:
        """Queues remember the path of their logs: a folder that was moved has none for them, a copy has another's.

        Raises UnusableFolder.
        """
        record = self._folder / "place"
        try:
            place = "" if self.new else read_regular(record).decode()
        except (OSError, ValueError):
            place = ""  # of an earlier release, or lost
        if place and not _is_same(Path(place), self._folder):
            raise UnusableFolder(
                f"{self._folder} was {place} when its queues were made, which remember that; move it back, or remove it"
                " to begin with empty queues: what was in them and not recorded yet is lost"
            )
        if not place:
            write_whole(record, str(self._folder))

    def _environment(self, mapper: int, distribution: int) -> dict[str, str]:
        folder = self._folder
        return {
            "PATH": self._installation.path,
            "LD_LIBRARY_PATH": self._installation.library_path,
            "HOME": str(folder / "home"),
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "schema"),
            "RABBITMQ_MNESIA_BASE": str(folder / "db"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_DIST_PORT": str(distribution),
            "ERL_EPMD_PORT": str(mapper),
            "ERL_EPMD_ADDRESS": ports.LOOPBACK,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{_ERLANG} -kernel net_ticktime {_NET_TICK_SECONDS}",
            **{name: os.environ[name] for name in ("TMPDIR",) if name in os.environ},
        }


def _is_same(path: Path, other: Path) -> bool:
    """True where both lead to one folder, such as one by a link."""
    try:
        return path == other or path.samefile(other)
    except OSError:
        return False


def read_cookie(folder: Path) -> str:
    """The Erlang cookie of the node in `folder`, empty where there is none that can be read."""
    try:
        return read_regular(_cookie_file(folder)).decode("ascii", errors="replace")
    except OSError:
        return ""


def _program(program: str, path: str) -> str:
    """epmd stands beside erl, or deep inside Erlang's own folder."""
    for folder in path.split(os.pathsep):
        for candidate in (Path(folder) / program, *Path(folder).glob(f"../erts-*/bin/{program}")):
            if candidate.exists():
                return str(candidate)
    return program


def _cookie_file(folder: Path) -> Path:
    return folder / "home" / ".erlang.cookie"


def _is_for_us_alone(file: Path) -> bool:
    """Erlang insists on it."""
    if not file.exists():
        return False
    status = file.stat()
    return status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == _COOKIE_MODE

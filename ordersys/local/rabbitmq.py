"""A private RabbitMQ node in a folder: no root, loopback only, its own Erlang cookie and port mapper.

The folder is the node: stopped, killed and started again on it, it has the same queues and messages.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path

from ordersys.local import ports
from ordersys.local.groups import Group, end, gone, send
from ordersys.local.guard import Guard
from ordersys.local.packages import Installation

# Not the port, which may change: the node's name is the name of its data.
_NODE = "ordersys@localhost"
_BOOT_SECONDS = 90.0
_POLL = 0.1
_STOP_SECONDS = 30.0
_CONTROL_SECONDS = 60.0
_GREETING = b"AMQP\0\0\x09\x01"
_METHOD_FRAME = b"\x01"
_CONFIGURATION = """\
listeners.tcp.1 = 127.0.0.1:{port}
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
log.file.level = warning
"""


class NotStarted(Exception):
    """The node did not start; the text says why, and where its log is."""


class Node:
    """A RabbitMQ node. Not running until `start`."""

    def __init__(self, folder: Path, installation: Installation, guard: Guard, port: int | None = None) -> None:
        self._folder = folder
        self._installation = installation
        self._guard = guard
        self._given_port = port
        self._groups: list[Group] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self.port = 0
        self.log = folder / "log" / "rabbitmq.log"
        self._ports_file = folder / "ports.json"

    @property
    def url(self) -> str:
        """Where it answers, with the user every RabbitMQ has on loopback."""
        return f"amqp://guest:guest@{ports.LOOPBACK}:{self.port}/%2F"

    @property
    def running(self) -> bool:
        """Whether its server runs."""
        return bool(self._processes) and self._processes[-1].poll() is None

    @property
    def pid(self) -> int | None:
        """The process that leads its server's group, None while it does not run."""
        return self._processes[-1].pid if self.running else None

    def start(self) -> None:
        """Starts the node and returns when it answers. Raises NotStarted."""
        self._lay_out()
        self.port, mapper, distribution = self._ports()
        (self._folder / "rabbitmq.conf").write_text(_CONFIGURATION.format(port=self.port))
        environment = self._environment(mapper, distribution)
        epmd = ["epmd", "-port", str(mapper), "-address", ports.LOOPBACK]
        self._spawn(epmd, environment)
        self._spawn([str(self._installation.programs / "rabbitmq-server")], environment)
        self._wait()

    def stop(self) -> None:
        """Stops it in good order."""
        if self.running:
            self._processes[-1].send_signal(signal.SIGTERM)
            gone(self._groups[-1:], _STOP_SECONDS)
        end(self._groups)
        self._forget()

    def kill(self) -> None:
        """Kills it at once, as a crash would."""
        send(self._groups, signal.SIGKILL)
        gone(self._groups, _STOP_SECONDS)
        self._forget()

    def control(self, *command: str) -> None:
        """Has `rabbitmqctl` do something with the running node. Raises CalledProcessError."""
        _, mapper, distribution = self._ports_given()
        program = str(self._installation.programs / "rabbitmqctl")
        environment = self._environment(mapper, distribution)
        subprocess.run([program, *command], env=environment, check=True, capture_output=True, timeout=_CONTROL_SECONDS)

    def _lay_out(self) -> None:
        for part in ("home", "db", "log", "schema"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        cookie = self._folder / "home" / ".erlang.cookie"
        if not cookie.exists():
            cookie.touch(0o600)
            cookie.write_text(secrets.token_hex(16))
            cookie.chmod(0o400)
        (self._folder / "enabled_plugins").write_text("[].\n")
        (self._folder / "env.conf").touch()

    def _ports(self) -> list[int]:
        """Those of the last start where they are free still."""
        last = self._ports_given()
        chosen = last if last and all(map(ports.is_free, last)) else ports.free(3)
        if self._given_port is not None:
            chosen[0] = self._given_port
        self._ports_file.write_text(json.dumps(chosen))
        return list(chosen)

    def _ports_given(self) -> list[int]:
        """For clients, for Erlang's port mapper and between nodes; none before the first start."""
        return list(json.loads(self._ports_file.read_text())) if self._ports_file.exists() else []

    def _environment(self, mapper: int, distribution: int) -> dict[str, str]:
        folder = self._folder
        return {
            "PATH": self._installation.path,
            "LD_LIBRARY_PATH": self._installation.library_path,
            "HOME": str(folder / "home"),
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": _NODE,
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
            # Erlang's own port mapper would outlive the node and listen everywhere.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false",
            **{name: os.environ[name] for name in ("TMPDIR",) if name in os.environ},
        }

    def _spawn(self, command: list[str], environment: dict[str, str]) -> None:
        program = [_found(command[0], environment["PATH"]), *command[1:]]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                program, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._processes.append(process)
        self._groups.append(self._guard.watch(process.pid))

    def _wait(self) -> None:
        until = time.monotonic() + _BOOT_SECONDS
        while not answers(self.port):
            if not self.running or time.monotonic() > until:
                self.kill()
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
                raise NotStarted(f"RabbitMQ did not start; the end of its log {self.log}:\n{tail}")
            time.sleep(_POLL)

    def _forget(self) -> None:
        for process in self._processes:
            process.wait()
        for group in self._groups:
            self._guard.forget(group)
        self._processes.clear()
        self._groups.clear()


def answers(port: int, host: str = ports.LOOPBACK) -> bool:
    """Whether something there speaks AMQP 0-9-1 (§4.2.2: the server answers the greeting with a method frame)."""
    try:
        with socket.create_connection((host, port), timeout=2) as connection:
            connection.settimeout(2)
            connection.sendall(_GREETING)
            return connection.recv(1) == _METHOD_FRAME
    except OSError:
        return False


def _found(program: str, path: str) -> str:
    """epmd stands beside erl, or deep inside Erlang's own folder."""
    for folder in path.split(os.pathsep):
        for candidate in (Path(folder) / program, *Path(folder).glob(f"../erts-*/bin/{program}")):
            if candidate.exists():
                return str(candidate)
    return program

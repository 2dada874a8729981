"""One service as a child process: started, asked whether it works, stopped."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ordersys.contract.addresses import channel_options, parse
from ordersys.identity.layout import TLS_CA_FILE
from ordersys.local.child import Child, last_lines
from ordersys.local.groups import Group, wait
from ordersys.local.guard import Guard

HEALTHY_SECONDS = 60.0
_ASK_SECONDS = 2.0
_STOP_SECONDS = 20.0
_TAIL = 10
_WRONG_USE = 2
# A process that has just started is known to listen soon after it does; gRPC itself would look again after a second.
_RECONNECTING = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 100))


class NotHealthy(Exception):
    """A service ended, or did not become healthy in time; the text says which, and the end of its log."""


class Misused(NotHealthy):
    """A service says that it can't start with what it was given; the text is its own, in one line."""


class Program(NamedTuple):
    """A program that is run as a service: its command line and its environment."""

    command: Sequence[str]
    environment: Mapping[str, str]


def ours(module: str) -> Sequence[str]:
    """The command line of a service of this package."""
    return sys.executable, "-m", f"ordersys.{module}"


class Service:
    """A service process. Not running until `start`."""

    def __init__(self, name: str, address: str, program: Program, folder: Path, guard: Guard) -> None:
        """`name` is the module, with `-2` and so on behind it for the other processes of one."""
        self.name = name
        self.module = name.partition("-")[0]
        self.address = address
        self.log = folder / "log" / f"{name}.log"
        self._program = program
        self._guard = guard
        self._child: Child | None = None

    @property
    def running(self) -> bool:
        """True while the process runs."""
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int | None:
        """The process, None before it was started."""
        return None if self._child is None else self._child.pid

    @property
    def group(self) -> Group | None:
        """The process group it leads, None before it was started."""
        return None if self._child is None else self._child.group

    @property
    def exit_status(self) -> int | None:
        """The exit status of the process, None while it runs."""
        return None if self._child is None else self._child.exit_status

    def start(self) -> None:
        """Starts the process; its output is appended to the log. Whatever is left of the one before is killed."""
        if self._child is not None:
            self._child.kill()  # the workers of a program in the place of ours would hold its port
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._child = Child(self._program.command, self._program.environment, self.log, self._guard)

    @property
    def listens(self) -> bool:
        """True where this process listens at its port; somebody else may have taken that since it was free."""
        return self._child is not None and self._child.listens(parse(self.address).port)

    def wait_healthy(self, seconds: float = HEALTHY_SECONDS) -> None:
        """Returns when the service says SERVING. Raises NotHealthy."""
        wait(self.getting_healthy(seconds))

    def getting_healthy(self, seconds: float = HEALTHY_SECONDS) -> Iterator[None]:
        """As `wait_healthy`, for whoever has more to do meanwhile: yields until it says so. Raises NotHealthy."""
        until = time.monotonic() + seconds
        with self._channel() as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while not self._serving(stub):
                if not self.running:
                    raise self._ended()
                if time.monotonic() > until:
                    raise NotHealthy(f"{self.name} is not healthy after {seconds:.0f} s; {self.tail()}")
                yield

    def _channel(self) -> grpc.Channel:
        options = (*_RECONNECTING, *channel_options(parse(self.address)))
        authorities = self._program.environment.get(TLS_CA_FILE)
        if not authorities:
            return grpc.insecure_channel(self.address, options=options)
        trusted = grpc.ssl_channel_credentials(Path(authorities).read_bytes())
        return grpc.secure_channel(self.address, trusted, options=options)

    def stop(self) -> int | None:
        """Ends it in good order; its exit status."""
        if self._child is not None:
            self._child.stop(_STOP_SECONDS)
        return self.exit_status

    def stopping(self) -> Iterator[None]:
        """As `stop`, for whoever has more to do meanwhile: yields while there is something to wait for."""
        if self._child is not None:
            yield from self._child.stopping(_STOP_SECONDS)

    def kill(self) -> None:
        """Kills it at once, as a crash would."""
        if self._child is not None:
            self._child.kill()

    def tail(self) -> str:
        """The end of its log."""
        return f"the end of its log {self.log}:\n" + "\n".join(self._lines()[-_TAIL:])

    @property
    def misused(self) -> bool:
        """True where it has ended since it can't work with what it was given: starting it again is no cure."""
        return self.exit_status == _WRONG_USE

    def last_line(self) -> str:
        """The last line of its log."""
        return (self._lines() or [""])[-1]

    def _lines(self) -> Sequence[str]:
        return last_lines(self.log)

    def _ended(self) -> NotHealthy:
        if self.misused:
            return Misused(f"{self.name} can't start: {self.last_line()} (log: {self.log})")
        return NotHealthy(f"{self.name} ended with status {self.exit_status}; {self.tail()}")

    def _serving(self, stub: health_pb2_grpc.HealthStub) -> bool:
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_ASK_SECONDS)  # type: ignore[attr-defined]
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING) and self._listens()

    def _listens(self) -> bool:
        """True where it is this process that answers: somebody else may have taken the port since it was free.

        A program in the place of ours may be a container, whose processes are not its children: nobody can tell.
        """
        return self._program.command != ours(self.module) or self.listens

"""A private RabbitMQ node as a container of the official image, where no RabbitMQ can be run as it is.

The container runs in the foreground of a `docker run` or `podman run`, which is a child like any other: it passes
SIGTERM on to RabbitMQ. It holds the container's standard input as well, whose end stops RabbitMQ: so a client that
was killed leaves no container behind. The folder is mounted, belongs to this user inside as well, and is the node as
ever.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ordersys.local import ports
from ordersys.local.child import Child
from ordersys.local.containers import CommandFailed, Engine, NoEngine, find
from ordersys.local.guard import Guard
from ordersys.local.packages import RABBITMQ_VARIABLE, Installation, NoRabbitMQ, provision
from ordersys.local.rabbitmq import Membership, Node, NotStarted
from ordersys.runtime.base.files import UnusableFolder, write_whole

IMAGE_VARIABLE = "ORDERSYS_RABBITMQ_IMAGE"
_IMAGE = "docker.io/library/rabbitmq:4"  # in full: Podman may know several registries, or none
_AMQP_PORT, _AMQPS_PORT = 5672, 5671
_MOUNTED = "/var/lib/rabbitmq"  # the volume of the image
# guest is for loopback only, and a connection from outside comes from the engine's bridge. Outside, the port is
# published on loopback alone.
_IN_CLEAR = f"""\
listeners.tcp.1 = 0.0.0.0:{_AMQP_PORT}
loopback_users.guest = false
"""
_CONFIGURATION = """\
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
log.file = false
log.console = true
log.console.level = warning
"""
_ENVIRONMENT = {
    "HOME": f"{_MOUNTED}/home",
    "LANG": "C.UTF-8",
    "RABBITMQ_NODENAME": "ordersys@localhost",  # a part of the data's path; the host name changes with each container
    "RABBITMQ_CONFIG_FILE": f"{_MOUNTED}/rabbitmq.conf",
    "RABBITMQ_ENABLED_PLUGINS_FILE": f"{_MOUNTED}/enabled_plugins",
    "RABBITMQ_GENERATED_CONFIG_DIR": f"{_MOUNTED}/schema",
    "RABBITMQ_MNESIA_BASE": f"{_MOUNTED}/db",
    "RABBITMQ_PID_FILE": f"{_MOUNTED}/pid",
    "RABBITMQ_LOGS": "-",
    # As the image's own entry point has it: Erlang takes the place of the script, and its signals.
    "RUNNING_UNDER_SYSTEMD": "true",
}
# In the place of the image's entry point, which would hand the folder over to a user of its own.
_SERVER = "exec 3<&0; (cat <&3 >/dev/null; kill -TERM 1) & exec rabbitmq-server 3<&- </dev/null"
# Standard input that never ends by itself: the client holds both ends of a pipe, and nobody writes.
_HOLDING = 'exec "$@" <>"$0"'
# RabbitMQ needs few; Docker's default of a thousand million lets Erlang reserve memory for as many.
_FILES = "nofile=4096:4096"


class Image(NamedTuple):
    """An image of RabbitMQ, and the engine that has it."""

    engine: Engine
    name: str


def provide() -> Installation | Image:
    """The RabbitMQ of this machine, else the official image where Docker or Podman works. Raises NoRabbitMQ.

    As `packages.provision`; downloads the image the first time, some 100 MB.
    """
    try:
        return provision()
    except NoRabbitMQ as error:
        if os.environ.get(RABBITMQ_VARIABLE):
            raise
        try:
            engine = find()
        except NoEngine as none:
            raise NoRabbitMQ(f"{error} ({none})") from None
    name = os.environ.get(IMAGE_VARIABLE, "").strip() or _IMAGE
    try:
        engine.ensure(name)
    except CommandFailed as error:
        raise NoRabbitMQ(
            f"There is no RabbitMQ on this machine, and {engine.name} can't get the image {name}: {error}; mend that,"
            f" name another image with {IMAGE_VARIABLE}, or a running RabbitMQ with --amqp-url"
        ) from error
    return Image(engine, name)


class ContainerNode(Node):
    """A node as a container."""

    _in_use = ("address already in use", "port is already allocated")  # as Podman and Docker say it

    def __init__(self, folder: Path, image: Image, guard: Guard, membership: Membership) -> None:
        super().__init__(folder, guard, membership)
        self._image = image
        self._container = f"ordersys-{hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]}"

    def prepare(self) -> None:
        """Makes anew whatever is missing, or of no use, of what the node needs to start. Raises OSError."""
        if ":" in str(self._folder):
            raise UnusableFolder(f"{self._folder} can't be mounted, for its colon; name another folder with --data-dir")
        self._folder.mkdir(parents=True, exist_ok=True)
        for part in ("home", "db", "log", "schema"):
            (self._folder / part).mkdir(exist_ok=True)
        who = self._secured(f"0.0.0.0:{_AMQPS_PORT}", _IN_CLEAR, _MOUNTED)
        write_whole(self._folder / "rabbitmq.conf", who + _CONFIGURATION)
        self._input.unlink(missing_ok=True)
        os.mkfifo(self._input, 0o600)
        self._settle_ports()

    def stop(self) -> None:
        """Stops it in good order; one that does not answer is killed."""
        was_started = self._child is not None
        super().stop()
        if was_started:
            self._remove()

    def kill(self) -> None:
        """Kills it at once, as a crash would."""
        was_started = self._child is not None
        super().kill()  # the client, which does not start it any more; it says nothing to the container
        if was_started:
            self._remove()

    def control(self, *command: str) -> str:
        """Has `rabbitmqctl` do something with the running node; what it prints. Raises CommandFailed."""
        return self._image.engine.execute(self._container, "rabbitmqctl", *command)

    def _run(self) -> Child:
        try:
            self._image.engine.remove(self._container)  # that of a launcher which was killed together with its guard
        except CommandFailed as error:
            raise NotStarted(f"the container {self._container} of an earlier start stays: {error}") from error
        command = ["/bin/sh", "-c", _HOLDING, str(self._input), *self._image.engine.command(*self._arguments())]
        # DOCKER_HOST, XDG_RUNTIME_DIR, HOME and others tell an engine where its own things are.
        return Child(command, os.environ, self.log, self._guard, self._folder)

    def _arguments(self) -> list[str]:
        """Those of `docker run`, or `podman run`."""
        inside = _AMQP_PORT if self._membership.security is None else _AMQPS_PORT
        variables = [word for name, value in _ENVIRONMENT.items() for word in ("--env", f"{name}={value}")]
        return [
            *("run", "--rm", "--interactive", "--pull", "never", "--name", self._container),
            *("--user", self._image.engine.user),
            *("--publish", f"{ports.LOOPBACK}:{self.port}:{inside}"),
            *("--volume", f"{self._folder.absolute()}:{_MOUNTED}:Z"),  # Z: labelled for it alone, under SELinux
            *("--ulimit", _FILES),
            *variables,
            *("--entrypoint", "/bin/sh", self._image.name, "-c", _SERVER),
        ]

    def _answers(self) -> bool:
        """True where it is this container that answers: the engine starts none whose port it can't publish."""
        if not (self._greets() and self.running):
            return False
        try:
            return self._image.engine.runs(self._container)
        except CommandFailed:  # it is asked again
            return False

    def _remove(self) -> None:
        # An engine that is gone runs none; what it may have left is removed before the next start.
        with suppress(CommandFailed):
            self._image.engine.remove(self._container)

    @property
    def _input(self) -> Path:
        return self._folder / "stdin"

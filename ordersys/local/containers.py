"""Docker or Podman, whichever works on this machine: finds one, and gives it the few commands that are needed here.

The commands are those that both understand (docs.docker.com, "docker run"; docs.podman.io, "podman-run"). Nothing of
either is imported or configured: whoever uses one has set it up, with its registries and its proxies.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_ANSWER_SECONDS = 20.0  # one whose machine (macOS) or daemon is just starting takes some
_PULL_SECONDS = 900.0
_STOP_SECONDS = 60.0


class NoEngine(Exception):
    """Neither Docker nor Podman works here; the text says of each why."""


class CommandFailed(Exception):
    """A command of Docker or Podman failed; the text is the last line it wrote."""


class Engine(NamedTuple):
    """Docker or Podman, and whether its root is this user (rootless)."""

    program: str
    rootless: bool

    @property
    def name(self) -> str:
        """Its name, docker or podman."""
        return Path(self.program).name

    def command(self, *words: str) -> Sequence[str]:
        """A command line of it."""
        return self.program, *words

    def ensure(self, image: str) -> None:
        """Has `image` on this machine, downloaded if it is not: minutes at most. Raises CommandFailed."""
        try:
            _output(self.command("image", "inspect", image), _ANSWER_SECONDS)
        except CommandFailed:
            _output(self.command("pull", "--quiet", image), _PULL_SECONDS)

    def execute(self, container: str, *command: str, seconds: float = _STOP_SECONDS) -> str:
        """Runs a command inside a running container; what it prints. Raises CommandFailed."""
        return _output(self.command("exec", container, *command), seconds)

    def remove(self, container: str) -> None:
        """Kills a container and removes it, if it is there. Raises CommandFailed where it stays."""
        try:
            _output(self.command("rm", "--force", container), _STOP_SECONDS)
        except CommandFailed:
            if self.has(container):  # else there was none: Docker before version 23 calls that an error
                raise

    def has(self, container: str) -> bool:
        """True while the container is there, running or not. Raises CommandFailed."""
        return self._lists(container, "--all")

    def runs(self, container: str) -> bool:
        """True while the container runs: from when its ports are published. Raises CommandFailed."""
        return self._lists(container)

    @property
    def user(self) -> str:
        """The user inside a container to whom the files of this user belong, as --user takes it."""
        return "0:0" if self.rootless else f"{os.geteuid()}:{os.getegid()}"

    def _lists(self, container: str, *flags: str) -> bool:
        listing = ("ps", *flags, "--quiet", "--filter", f"name=^{container}$")
        return bool(_output(self.command(*listing), _ANSWER_SECONDS).strip())


def find() -> Engine:
    """Docker if it works, else Podman. Raises NoEngine."""
    reasons = []
    for name, rootless in (("docker", _docker_rootless), ("podman", _podman_rootless)):
        program = shutil.which(name)
        if program is None:
            reasons.append(f"{name} is not installed")
            continue
        try:
            return Engine(program, rootless(program))
        except CommandFailed as error:
            reasons.append(f"{name} does not work: {error}")
    raise NoEngine("; ".join(reasons))


def _docker_rootless(program: str) -> bool:
    """Asks the daemon. Raises CommandFailed where none answers; `docker info` alone has exited 0 without one."""
    _output((program, "version", "--format", "{{.Server.Version}}"), _ANSWER_SECONDS)
    return "rootless" in _output((program, "info", "--format", "{{json .SecurityOptions}}"), _ANSWER_SECONDS)


def _podman_rootless(program: str) -> bool:
    return _output((program, "info", "--format", "{{.Host.Security.Rootless}}"), _ANSWER_SECONDS).strip() == "true"


def _output(command: Sequence[str], seconds: float) -> str:
    """Standard output of a command that reads nothing. Raises CommandFailed."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except OSError as error:
        raise CommandFailed(str(error.strerror or error)) from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"no answer within {seconds:.0f} s") from error
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise CommandFailed(lines[-1] if lines else f"exit status {done.returncode}")
    return done.stdout

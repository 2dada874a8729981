"""A stand-in for the programs `docker` and `podman`, for machines on which neither can run a container.

It takes the commands that `ordersys.local.containers` gives, and refuses all others as the real ones do. A container is
a real RabbitMQ of this machine that outlives its client, as with a daemon: it has the client's standard input, gets the
signals the client passes on, and is found again by its name. What the flags mean is as documented (docs.docker.com,
"docker container run"): --publish, --volume, --env, --interactive, --rm, --name, --pull never. A published port is
taken before the container starts, and who connects before RabbitMQ listens is hung up on.

ENGINE_STATE is the folder of the images and containers it knows; ENGINE_MODE=dead is one whose daemon is not there.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from ordersys.local import ports
from ordersys.local.packages import provision

FAILED = 125
"""The exit status of the real ones where they, and not the container, have failed."""
STATE = "ENGINE_STATE"
MODE = "ENGINE_MODE"
_MODULE = "tests.integration.container_engine"
_AMQP_PORTS = ("5671", "5672")
_OF_A_TAKEN_PORT = {
    "docker": "docker: Error response from daemon: driver failed: Bind for {address} failed: port is already allocated",
    "podman": "Error: rootlessport listen tcp {address}: bind: address already in use",
}
_ANSWERS: Mapping[tuple[str, ...], str] = {
    ("docker", "version", "--format", "{{.Server.Version}}"): "28.2.2",
    ("docker", "info", "--format", "{{json .SecurityOptions}}"): '["name=seccomp,profile=builtin"]',
    ("podman", "info", "--format", "{{.Host.Security.Rootless}}"): "false",
}


def install(folder: Path, name: str) -> Path:
    """Makes the stand-in a program called `name` in `folder`, to be put on a PATH."""
    program = folder / name
    root = Path(__file__).parent.parent.parent
    program.write_text(f'#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} -m {_MODULE} {name} "$@"\n')
    program.chmod(0o755)
    return program


def containers(state: Path) -> list[int]:
    """The processes that lead the containers which run."""
    recorded = (json.loads(file.read_text())["pid"] for file in state.glob("*.json"))
    return [pid for pid in recorded if _runs(pid)]


def main(name: str, words: Sequence[str]) -> int:
    """Does one command, and returns its exit status."""
    state = Path(os.environ[STATE])
    if os.environ.get(MODE) == "dead":
        return _fail("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", 1)
    with (state / "commands").open("a", encoding="utf-8") as commands:
        commands.write(json.dumps([name, *words]) + "\n")
    if (name, *words) in _ANSWERS:
        print(_ANSWERS[name, *words])
        return 0
    match list(words):
        case ["image", "inspect", image]:
            status = 0 if image in _images(state) else _fail(f"Error response from daemon: No such image: {image}", 1)
        case ["pull", "--quiet", image]:
            status = _pull(state, image)
        case ["rm", "--force", container]:
            status = _remove(state, container)
        case ["ps", "--all", "--quiet", "--filter", wanted] | ["ps", "--quiet", "--filter", wanted]:
            status = _list(state, wanted.removeprefix("name="))
        case ["exec", container, *command]:
            status = _execute(state, container, command)
        case ["run", *rest]:
            status = _run(state, name, rest)
        case _:
            status = _fail(f"unknown command or flag: {name} {' '.join(words)}", FAILED)
    return status


class _Flags(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        sys.exit(_fail(message, FAILED))


def _flags(words: Sequence[str]) -> argparse.Namespace:
    parser = _Flags(add_help=False, allow_abbrev=False)
    for flag in ("--rm", "--interactive"):
        parser.add_argument(flag, action="store_true", required=True)
    for flag in ("--name", "--user", "--publish", "--volume", "--ulimit", "--entrypoint"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--pull", choices=["never"], required=True)
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("image")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    return parser.parse_args(words)


def _run(state: Path, engine: str, words: Sequence[str]) -> int:
    """The client of a container in the foreground."""
    flags = _flags(words)
    if flags.image not in _images(state):
        return _fail(f"Unable to find image '{flags.image}' locally", FAILED)
    file = state / f"{flags.name}.json"
    if file.exists() and _runs(json.loads(file.read_text())["pid"]):
        return _fail(f'Conflict. The container name "/{flags.name}" is already in use', FAILED)
    host, port, inside = flags.publish.split(":")
    assert inside in _AMQP_PORTS and flags.entrypoint == "/bin/sh"
    try:
        published = socket.create_server((host, int(port)))
    except OSError:
        return _fail(_OF_A_TAKEN_PORT[engine].format(address=f"{host}:{port}"), FAILED)
    (at,) = ports.free(1)
    environment = _environment(flags, state, at)
    script = flags.command[-1].replace("kill -TERM 1)", "kill -TERM $$)")  # there is no namespace in which it is 1
    way = [str(published.fileno()), str(at)]
    command = [sys.executable, "-m", _MODULE, "container", *way, "/bin/sh", *flags.command[:-1], script]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, env=environment, start_new_session=True, pass_fds=[published.fileno()]
    ) as container:
        published.close()
        file.write_text(json.dumps({"pid": container.pid, "environment": dict(environment)}))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: container.send_signal(number))
        threading.Thread(target=_pass_on, args=[container], daemon=True).start()
        status = container.wait()
    # Another one may have been started under this name as soon as this was removed.
    if file.exists() and json.loads(file.read_text())["pid"] == container.pid:
        file.unlink(missing_ok=True)
    return status


def _environment(flags: argparse.Namespace, state: Path, port: int) -> Mapping[str, str]:
    """The one of --env, with paths inside the container as those they are outside, and a RabbitMQ on the PATH.

    `port` is where RabbitMQ listens, as it is inside the container.
    """
    folder, mounted, _ = flags.volume.split(":")
    source = Path(folder)
    rabbitmq = provision()
    inside = flags.publish.rpartition(":")[2]
    configuration = (source / "rabbitmq.conf").read_text()
    configuration = configuration.replace(f"0.0.0.0:{inside}", f"{ports.LOOPBACK}:{port}")
    (state / f"{flags.name}.conf").write_text(configuration.replace(mounted, str(source)))
    distribution, mapper = ports.free(2, {port})
    return {
        **{name: value.replace(mounted, str(source)) for name, _, value in (text.partition("=") for text in flags.env)},
        "PATH": os.pathsep.join((str(rabbitmq.programs), rabbitmq.path)),
        "LD_LIBRARY_PATH": rabbitmq.library_path,
        "PYTHONPATH": os.environ["PYTHONPATH"],
        "RABBITMQ_CONFIG_FILE": str(state / f"{flags.name}.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(state / "none"),
        "RABBITMQ_LOG_BASE": str(source / "log"),
        "RABBITMQ_DIST_PORT": str(distribution),
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": ports.LOOPBACK,
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false",
    }


def contain(published: socket.socket, port: int, command: Sequence[str]) -> int:
    """Runs the first process of a container and Erlang's port mapper; with the first all end.

    What comes in at the `published` port goes to `port` inside.
    """
    threading.Thread(target=asyncio.run, args=[_forward(published, port)], daemon=True).start()
    erlang = Path(os.environ["PATH"].split(os.pathsep)[1]).parent
    (epmd,) = [*erlang.glob("bin/epmd"), *erlang.glob("erts-*/bin/epmd")][:1]
    mapper = subprocess.Popen([epmd, "-address", ports.LOOPBACK], stdin=subprocess.DEVNULL)
    first = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: first.send_signal(signal.SIGTERM))
    status = first.wait()
    mapper.kill()
    mapper.wait()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    return status


async def _forward(published: socket.socket, port: int) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, requests = await asyncio.open_connection(ports.LOOPBACK, port)
        except OSError:  # nobody listens there yet
            writer.close()
            return
        await asyncio.gather(_copy(reader, requests), _copy(answers, writer))

    server = await asyncio.start_server(connect, sock=published)
    await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):  # of which the other side is told by the end of its own connection
        while octets := await reader.read(1 << 16):
            writer.write(octets)
            await writer.drain()
    writer.close()


def _pass_on(container: "subprocess.Popen[bytes]") -> None:
    assert container.stdin is not None
    while octets := os.read(0, 4096):
        container.stdin.write(octets)
        container.stdin.flush()
    container.stdin.close()


def _execute(state: Path, name: str, command: Sequence[str]) -> int:
    file = state / f"{name}.json"
    if not file.exists():
        return _fail(f"Error response from daemon: No such container: {name}", 1)
    recorded: dict[str, Any] = json.loads(file.read_text())
    return subprocess.run(command, env=recorded["environment"], check=False).returncode


def _remove(state: Path, name: str) -> int:
    file = state / f"{name}.json"
    if not file.exists():
        return _fail(f"Error response from daemon: No such container: {name}", 1)
    pid = json.loads(file.read_text())["pid"]
    if _runs(pid):
        os.killpg(pid, signal.SIGKILL)
    file.unlink(missing_ok=True)
    return 0


def _list(state: Path, pattern: str) -> int:
    names = [file.stem for file in state.glob("*.json") if _runs(json.loads(file.read_text())["pid"])]
    print("".join(f"{known}\n" for known in names if re.search(pattern, known)), end="")
    return 0


def _pull(state: Path, image: str) -> int:
    (state / "images").write_text("\n".join([*_images(state), image]))
    print(image)
    return 0


def _images(state: Path) -> Sequence[str]:
    file = state / "images"
    return file.read_text().splitlines() if file.exists() else []


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _fail(text: str, status: int) -> int:
    print(text, file=sys.stderr)
    return status


def _program(first: str, *rest: str) -> int:
    if first != "container":
        return main(first, rest)
    published, port, *command = rest
    return contain(socket.socket(fileno=int(published)), int(port), command)


if __name__ == "__main__":
    sys.exit(_program(*sys.argv[1:]))

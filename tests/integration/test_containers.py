"""A machine without RabbitMQ: Docker or Podman runs one, and nothing of it is left when the launcher has ended."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest

from ordersys.local import ports, supervision
from ordersys.local.containers import Engine
from ordersys.local.guard import Guard
from ordersys.local.rabbitmq import Membership, NotStarted
from ordersys.local.rabbitmq_container import ContainerNode, Image
from ordersys.local.supervision import Supervision
from tests.integration import container_engine
from tests.integration.api import Api, eventually
from tests.integration.conftest import skip_without_rabbitmq
from tests.running import addresses

IMAGE = "docker.io/library/rabbitmq:4"
ENGINES = ("docker", "podman")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The folder in which the stand-in keeps its images and containers."""
    skip_without_rabbitmq()
    folder = tmp_path / "engine"
    folder.mkdir()
    return folder


@contextmanager
def bare(folder: Path, state: Path, *engines: str, **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """The launcher on a machine with nothing but these programs that run containers."""
    programs = state / "programs"
    programs.mkdir(exist_ok=True)
    for name in engines:
        container_engine.install(programs, name)
    environment = {**os.environ, "PATH": str(programs), container_engine.STATE: str(state), **variables}
    command = [sys.executable, "-m", "tests.integration.bare_machine", "--data-dir", str(folder), "--plain"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


def processes_of(folder: Path) -> list[int]:
    """The processes with this folder in their command line or environment."""
    processes = psutil.process_iter(["cmdline", "environ"])
    return [process.pid for process in processes if str(folder) in repr(process.info)]


def commands(state: Path) -> list[list[str]]:
    """The commands that were given to the engine."""
    return [json.loads(line) for line in (state / "commands").read_text().splitlines()]


@pytest.mark.parametrize(("engine", "starts"), [("docker", 2), ("podman", 1)])
def test_a_system_with_its_broker_in_a_container_keeps_its_messages_and_leaves_nothing(
    tmp_path: Path, state: Path, engine: str, starts: int
) -> None:
    """The image is fetched once, and the folder can be used again."""
    folder = tmp_path / "system"
    for _ in range(starts):
        with bare(folder, state, engine) as launcher:
            with Api(addresses(launcher)) as api:
                order = api.place({"paper-a4": 1})
                eventually(partial(api.heard, 1, order.id))
            launcher.send_signal(signal.SIGTERM)
            assert launcher.wait(60) == 0
        assert container_engine.containers(state) == []
        eventually(lambda: not processes_of(folder))
    assert [command[1] for command in commands(state)].count("pull") == 1


def test_a_container_of_a_system_with_identities_knows_each_service(tmp_path: Path, state: Path) -> None:
    """It finds certificates and definitions where its folder is mounted, and has no port in clear."""
    folder = tmp_path / "system"
    with bare(folder, state, "docker", ORDERSYS_INSECURE="false") as launcher:
        url = shlex.split(addresses(launcher)["ORDERSYS_AMQP_URL"])[0]
        (started,) = (command for command in commands(state) if command[1] == "run")
        assert started[started.index("--publish") + 1].endswith(":5671")
        environment = {**os.environ, "ORDERSYS_AMQP_URL": url}
        for words in (["grpc_client", "--data-dir", str(folder), "status"], ["topology", "check"]):
            command = [sys.executable, "-m", f"ordersys.{words[0]}", *words[1:]]
            subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    eventually(lambda: not processes_of(folder))


@pytest.mark.parametrize("with_its_guard", [False, True])
def test_a_hard_killed_launcher_leaves_no_container(tmp_path: Path, state: Path, with_its_guard: bool) -> None:
    """Also where nobody is left who could end the client: its standard input is the container's."""
    folder = tmp_path / "system"
    with bare(folder, state, "docker") as launcher:
        addresses(launcher)
        (container,) = container_engine.containers(state)
        ours = [p for p in psutil.Process(launcher.pid).children(recursive=True) if os.getsid(p.pid) != container]
        launcher.kill()
        if with_its_guard:
            for process in ours:
                with contextlib.suppress(psutil.NoSuchProcess):  # it ended by itself meanwhile
                    process.kill()
    eventually(lambda: not container_engine.containers(state))
    eventually(lambda: not processes_of(folder))


def test_a_container_that_was_left_is_removed_before_the_next_start(tmp_path: Path, state: Path) -> None:
    """It has the name, the port and the data."""
    folder = tmp_path / "system"
    with bare(folder, state, "docker") as launcher:
        addresses(launcher)
        eventually(lambda: len(container_engine.containers(state)) == 1)
        (before,) = container_engine.containers(state)
        os.kill(before, signal.SIGSTOP)  # it notices nothing of what follows
        launcher.kill()
    eventually(lambda: [*processes_of(folder)] and container_engine.containers(state) == [before])
    with bare(folder, state, "docker") as launcher:
        with Api(addresses(launcher)) as api:
            api.place({"paper-a4": 1})
        assert before not in container_engine.containers(state)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stranger_at_the_port_is_not_taken_for_the_broker_of_the_container(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """One that took it since it was free, and speaks AMQP too, is seen before the engine is refused the port."""
    monkeypatch.setenv(container_engine.STATE, str(state))
    image = Image(Engine(str(container_engine.install(state, engine)), False), IMAGE)
    image.engine.ensure(IMAGE)
    guard = Guard(tmp_path)
    node = ContainerNode(tmp_path / "node", image, guard, Membership("node", None, ["node"], "", set()))
    node.prepare()
    try:
        with broker_of_somebody_else(node.port) as stranger:
            with pytest.raises(NotStarted, match="has ended before it answered"):
                node.start()
            assert node.move()
            node.start()
            assert node.port != stranger
            assert image.engine.runs(node._container)
        node.stop()
        assert not image.engine.runs(node._container)
    finally:
        node.kill()
        guard.close()


def test_an_engine_that_is_away_is_tried_again(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that is restarted takes its containers along; the rest of the system waits for both."""
    monkeypatch.setattr(supervision, "_RESTART_PAUSE", 0.0)
    monkeypatch.setenv(container_engine.STATE, str(state))
    image = Image(Engine(str(container_engine.install(state, "docker")), False), IMAGE)
    image.engine.ensure(IMAGE)
    guard = Guard(tmp_path)
    node = ContainerNode(tmp_path / "node", image, guard, Membership("node", None, ["node"], "", set()))
    try:
        node.start()
        watching = Supervision(tmp_path)
        said: list[str] = []
        with monkeypatch.context() as away:
            away.setenv(container_engine.MODE, "dead")
            node.kill()
            for _ in range(2):
                watching.watch_node(node, said.append)
        (ended, why) = said
        assert "starting it again" in ended and "Cannot connect to the Docker daemon" in why
        watching.watch_node(node, said.append)
        node.wait()
    finally:
        node.kill()
        guard.close()


@contextmanager
def broker_of_somebody_else(port: int) -> Iterator[int]:
    """Answers every greeting of AMQP with the first octet of a method frame."""
    with socket.create_server((ports.LOOPBACK, port)) as listener:

        def answer() -> None:
            with contextlib.suppress(OSError):  # it was shut down
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(8)
                        connection.sendall(b"\x01")

        answering = threading.Thread(target=answer)
        answering.start()
        try:
            yield port
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            answering.join()


def test_without_any_engine_the_ways_out_are_named(tmp_path: Path, state: Path) -> None:
    """The command that installs RabbitMQ on this system is among them."""
    with bare(tmp_path / "system", state) as launcher:
        _, said = launcher.communicate(timeout=60)
    assert launcher.returncode == 1
    for words in ("sudo dnf install rabbitmq-server", "--amqp-url", "docker is not installed; podman is not installed"):
        assert words in said


def test_a_docker_without_its_daemon_is_no_way_out(tmp_path: Path, state: Path) -> None:
    """The reason is its own."""
    with bare(tmp_path / "system", state, "docker", **{container_engine.MODE: "dead"}) as launcher:
        _, said = launcher.communicate(timeout=60)
    assert launcher.returncode == 1
    assert "docker does not work: Cannot connect to the Docker daemon" in said


def test_several_nodes_need_an_installed_rabbitmq(tmp_path: Path, state: Path) -> None:
    """In one line, before anything runs."""
    programs = state / "programs"
    programs.mkdir()
    container_engine.install(programs, "docker")
    environment = {**os.environ, "PATH": str(programs), container_engine.STATE: str(state)}
    command = [sys.executable, "-m", "tests.integration.bare_machine", "--brokers=3", "--broker-only"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "3 nodes need an installed RabbitMQ" in done.stderr


@pytest.mark.parametrize("name", ENGINES)
def test_the_real_program_takes_these_commands(tmp_path: Path, name: str) -> None:
    """If it is installed: it fails for want of a daemon or of the image, and not for a flag it does not know."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    environment = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/no.sock", "HOME": str(tmp_path)}
    image = Image(Engine(program, False), "docker.io/library/no-such-image-of-ordersys:4")
    membership = Membership("node", None, ["node"], "", set())
    guard = Guard(tmp_path)
    try:
        node = ContainerNode(tmp_path / "node", image, guard, membership)
        node.prepare()
        asked: list[list[str]] = [
            node._arguments(),
            ["image", "inspect", image.name],
            ["rm", "--force", f"{ports.LOOPBACK}-none"],
            ["ps", "--all", "--quiet", "--filter", "name=^none$"],
            ["ps", "--quiet", "--filter", "name=^none$"],
            ["exec", "none", "rabbitmqctl", "status"],
        ]
        for words in asked:
            done = subprocess.run(
                [program, *words], env=environment, capture_output=True, text=True, timeout=60, check=False
            )
            said = done.stdout + done.stderr
            assert "unknown" not in said and "invalid" not in said, (words, said)
            assert done.returncode in (0, 1, 125), (words, said)
    finally:
        guard.close()

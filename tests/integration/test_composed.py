"""The system that deploy/compose.yaml describes, as processes of this machine: its commands, environment and secrets.

Only addresses and paths are others. No image is built and no container is started.
"""

import json
import os
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pika
import pytest
import yaml
from pika.exceptions import ProbableAuthenticationError

from ordersys.local import ports
from ordersys.local.guard import Guard
from ordersys.local.packages import provision
from ordersys.local.rabbitmq import Membership
from ordersys.local.rabbitmq_installed import InstalledNode, PortMapper
from ordersys.runtime.metrics.table import BUILD_INFO
from tests.integration.api import eventually
from tests.integration.conftest import skip_without_rabbitmq

pytestmark = pytest.mark.timeout(240)
ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
SECONDS = 60.0
STOP_SECONDS = 40.0
MOUNTED = "/run/ordersys"
AMQPS = 5671
METRICS = "ORDERSYS_METRICS_ADDRESS"
ADDRESS = re.compile(r"([a-z0-9.-]+):(\d{5})")
Service = Mapping[str, Any]


class ComposedNode(InstalledNode):
    """RabbitMQ with deploy/rabbitmq.conf, whose paths and port are others."""

    secrets: Path

    def prepare(self) -> None:
        """As any node, but for its configuration."""
        super().prepare()
        text = (DEPLOY / "rabbitmq.conf").read_text(encoding="utf-8").replace(MOUNTED, str(self.secrets))
        listener = f"listeners.ssl.1 = {ports.LOOPBACK}:{self.port}"
        (self._folder / "rabbitmq.conf").write_text(text.replace(f"listeners.ssl.default = {AMQPS}", listener))

    def _answers(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.secrets / "ca.pem"))
        try:
            with socket.create_connection((ports.LOOPBACK, self.port), timeout=2) as plain:
                context.wrap_socket(plain, server_hostname="rabbitmq").close()
        except OSError:
            return False
        return True


class Composed:
    """The services of the compose file, and where they are here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
        loaded = yaml.safe_load(re.sub(r"\$\{\w+:[-?]([^}]*)\}", r"\1", text))
        self.services: Mapping[str, Service] = loaded["services"]
        used = sorted({port for _, port in ADDRESS.findall(text)})
        self.ports = dict(zip(used, ports.free(len(used)), strict=True))
        # Of each container its own: here they are one machine.
        self.metrics = dict(zip(self.services, ports.free(len(self.services), self.ports.values()), strict=True))
        self.secrets = folder / ".secrets"
        self.broker_port = 0

    def environment(self, name: str) -> Mapping[str, str]:
        """The environment of a service, and what it has from the image."""
        stated = self.services[name].get("environment", {})
        given = {variable: self.mapped(name, text) for variable, text in stated.items()}
        if METRICS in given:
            given[METRICS] = f"{ports.LOOPBACK}:{self.metrics[name]}"
        data = {"ORDERSYS_DATA_DIR": str(self.folder / "data" / name)}
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **data, **given}

    def mapped(self, name: str, text: str) -> str:
        """With the addresses and paths that are here."""
        for volume in self.services[name].get("volumes", []):
            if volume.startswith("./.secrets/"):
                source, target = volume.removesuffix(":ro").split(":")
                text = re.sub(rf"^{target}\b", str(self.folder / source), text)
        return ADDRESS.sub(lambda address: f"{ports.LOOPBACK}:{self.ports[address[2]]}", text)

    def command(self, name: str, words: Sequence[str] = ()) -> Sequence[str]:
        """The entry point, that of the image where it has none of its own, and its command."""
        entry = ["-m", *self.services[name].get("entrypoint", [])]
        entry = [word.replace("ordersys", "ordersys.grpc_client") for word in entry]
        return [sys.executable, *entry, *(self.mapped(name, word) for word in words or self.services[name]["command"])]

    def run(self, name: str, *words: str) -> "subprocess.CompletedProcess[str]":
        """A container that ends, as `docker compose run` starts it."""
        command, environment = self.command(name, words), self.environment(name)
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=self.folder
        )

    def is_healthy(self, name: str) -> bool:
        """The answer of its health check."""
        _, python, *words = self.services[name]["healthcheck"]["test"]
        assert python == "python"
        command = [sys.executable, *(self.mapped(name, word) for word in words)]
        environment = self.environment(name)
        return (
            subprocess.run(command, env=environment, capture_output=True, timeout=SECONDS, check=False).returncode == 0
        )

    def start(self, name: str) -> "subprocess.Popen[bytes]":
        """A container that stays."""
        with (self.folder / f"{name}.log").open("wb") as log:
            environment = self.environment(name)
            return subprocess.Popen(self.command(name), env=environment, stdout=log, stderr=log, cwd=self.folder)


def make_secrets(folder: Path) -> None:
    """Those of Compose, for this user."""
    for name in ("make-secrets.sh", "make_secrets.py"):
        shutil.copy(DEPLOY / name, folder)
    environment = {**os.environ, "ORDERSYS_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    subprocess.run([str(folder / "make-secrets.sh"), "compose"], env=environment, timeout=SECONDS, check=True)
    for path in (folder / ".secrets", *(folder / ".secrets").rglob("*")):
        os.chown(path, os.geteuid(), os.getegid())  # root has given them to the user of the image


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """All of it, healthy, in the order that the compose file says."""
    skip_without_rabbitmq()
    system = Composed(tmp_path_factory.mktemp("composed"))
    make_secrets(system.folder)
    with ExitStack() as stack:
        node = started_broker(system, stack)
        for path in system.secrets.glob("*/amqp-url"):
            url = path.read_text().replace(f"@rabbitmq:{AMQPS}", f"@localhost:{node.port}")
            path.write_text(url.replace(MOUNTED, str(path.parent)))
        system.broker_port = node.port
        declared = system.run("topology")
        assert (declared.returncode, declared.stderr) == (0, "")
        names = [name for name, service in system.services.items() if "deploy" in service]
        assert len(names) == 4
        for name in names:
            process = system.start(name)
            stack.callback(process.wait, STOP_SECONDS)
            stack.callback(process.terminate)
        for name in names:
            eventually(lambda name=name: system.is_healthy(name), SECONDS)  # type: ignore[misc]
        yield system


def started_broker(system: Composed, stack: ExitStack) -> ComposedNode:
    """RabbitMQ, until the stack ends."""
    folder = system.folder / "rabbitmq"
    folder.mkdir()
    (folder / "log").mkdir()
    guard = Guard(folder)
    stack.callback(guard.close)
    installation = provision()
    mapper = PortMapper(installation, guard)
    stack.callback(mapper.stop)
    membership = Membership("ordersys@localhost", None, ["ordersys@localhost"], secrets.token_hex(16), set())
    node = ComposedNode(folder, installation, guard, membership, mapper)
    node.secrets = system.secrets / "rabbitmq"
    stack.callback(node.stop)
    node.start()
    return node


def client(composed: Composed, *words: str) -> Sequence[str]:
    """The lines that the client prints, with a token that was just made."""
    token = composed.run("token")
    assert (token.returncode, token.stderr) == (0, "")
    done = composed.run("client", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_client_may_do_what_an_operator_may(composed: Composed) -> None:
    """It lists products and dead letters, and sees every service work."""
    assert "paper-a4" in client(composed, "products", "--output", "id")
    (dead_letters,) = client(composed, "dead-letters", "--json")
    assert not any(json.loads(dead_letters).values())
    assert client(composed)


def test_an_order_reaches_every_service(composed: Composed) -> None:
    """The Product Service shows its certificate to the Order Service, and all have their users of the broker."""
    (order,) = client(composed, "place", "paper-a4=1", "--customer", "anna", "--output", "id")

    def notified() -> bool:
        (line,) = client(composed, "notifications", "--order", order, "--json")
        return len(json.loads(line)) == 2

    eventually(notified, SECONDS)


def test_each_service_serves_its_metrics(composed: Composed) -> None:
    """By its own name."""
    for name in (name for name, service in composed.services.items() if "deploy" in service):
        with urlopen(f"http://{ports.LOOPBACK}:{composed.metrics[name]}/metrics", timeout=SECONDS) as answer:
            lines = [line for line in answer.read().decode().splitlines() if line.startswith(BUILD_INFO.name)]
        assert [f'service="{name}"' in line for line in lines] == [True]


def test_a_customer_has_a_token_by_the_same_service(composed: Composed) -> None:
    """Printed; with it the client lists her own orders, and nobody's dead letters."""
    client(composed, "place", "paper-a4=1", "--customer", "ben")
    printed = composed.run("token", "ordersys.identity", "token", "/identity", "--customer", "anna")
    (composed.secrets / "client/operator.token").write_text(printed.stdout)
    listed = composed.run("client", "orders", "--json")
    assert {order["customer_id"] for order in json.loads(listed.stdout)} <= {"anna"}
    assert composed.run("client", "dead-letters").returncode != 0


def test_nobody_else_is_let_in(composed: Composed) -> None:
    """Not without a token, and not into the broker: there is no guest."""
    (composed.secrets / "client/operator.token").write_text("e30.e30.e30")
    assert composed.run("client", "products").returncode != 0
    context = ssl.create_default_context(cafile=str(composed.secrets / "client/ca.pem"))
    url = pika.URLParameters(f"amqps://guest:guest@localhost:{composed.broker_port}/%2F")
    url.ssl_options = pika.SSLOptions(context, "rabbitmq")
    with pytest.raises(ProbableAuthenticationError):
        pika.BlockingConnection(url)

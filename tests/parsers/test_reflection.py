"""Reflection tells a client all it needs, in both versions: as grpcurl asks, and with buf as a client of today."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest as Request
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionResponse as Response

from ordersys.local import ports
from ordersys.local.system import SERVICES
from tests.parsers.facts import Read

VERSIONS = pytest.mark.parametrize("version", ["v1", "v1alpha"])
# By program, the services that it alone serves.
SERVED = {
    "order_service": {"ordersys.api.order.v1.OrderService"},
    "product_service": {"ordersys.api.product.v1.ProductService"},
    "notification_service_1": {
        "ordersys.api.notification.v1.NotificationLog",
        "ordersys.api.notification.v1.DeadLetterService",
    },
}
EXTENDED = ("buf.validate.StringRules", "buf.validate.RepeatedRules", "google.protobuf.FieldOptions")
_SECONDS = 60


class Served(NamedTuple):
    """A service that serves reflection: the name of its program, and its address."""

    module: str
    address: str


@pytest.fixture(scope="module", params=SERVED)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service by itself, without a broker."""
    folder = tmp_path_factory.mktemp("service")
    numbers = ports.free(len(SERVICES))
    addresses = {module: f"127.0.0.1:{port}" for module, port in zip(SERVICES, numbers, strict=True)}
    environment = {f"ORDERSYS_{module.upper()}_ADDRESS": address for module, address in addresses.items()}
    environment |= {"ORDERSYS_REFLECTION": "true", "ORDERSYS_DATA_DIR": str(folder)}
    environment |= {"ORDERSYS_AMQP_URL": "amqp://guest:guest@127.0.0.1:1/%2F"}
    command = [sys.executable, "-m", f"ordersys.{request.param}"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log) as process,
    ):
        try:
            yield Served(request.param, addresses[request.param])
        finally:
            process.kill()


class Client:
    """Asks one question after the other, on one stream each."""

    def __init__(self, channel: grpc.Channel, version: str) -> None:
        self._ask = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=Request.SerializeToString,
            response_deserializer=Response.FromString,
        )

    def ask(self, **question: Any) -> Any:
        """The one answer to a question; an error is a failure of the test."""
        (answer,) = self._ask(iter([Request(**question)]), timeout=_SECONDS, wait_for_ready=True)
        assert not answer.HasField("error_response"), answer
        return answer

    def services(self) -> set[str]:
        """The names of all services."""
        return {service.name for service in self.ask(list_services="").list_services_response.service}

    def walk(self, symbols: set[str]) -> dict[str, FileDescriptorProto]:
        """The files in which these symbols are declared, and all those they import, each asked for by its name."""
        files: dict[str, FileDescriptorProto] = {}
        for symbol in symbols:
            files |= _files(self.ask(file_containing_symbol=symbol))
        while missing := {name for file in files.values() for name in file.dependency} - files.keys():
            for name in missing:
                files |= _files(self.ask(file_by_filename=name))
        return files


def _files(answer: Any) -> dict[str, FileDescriptorProto]:
    files = map(FileDescriptorProto.FromString, answer.file_descriptor_response.file_descriptor_proto)
    return {file.name: file for file in files}


def linked(files: dict[str, FileDescriptorProto]) -> Read:
    """The files as a descriptor set, each after those that it imports."""
    ordered: dict[str, FileDescriptorProto] = {}

    def add(name: str) -> None:
        for imported in files[name].dependency:
            add(imported)
        ordered.setdefault(name, files[name])

    for name in files:
        add(name)
    return Read(FileDescriptorSet(file=ordered.values()).SerializeToString())


@VERSIONS
def test_all_that_a_service_serves_is_told(version: str, served: Served, read: Read) -> None:
    """Its services, and every message, field, rule and option in their files, as the contract has them."""
    with grpc.insecure_channel(served.address) as channel:
        client = Client(channel, version)
        services = client.services()
        assert (
            SERVED[served.module] | {"grpc.health.v1.Health", f"grpc.reflection.{version}.ServerReflection"} <= services
        )
        facts = linked(client.walk(services)).facts()
    expected = read.facts()
    for part, things in facts.items():
        ours = {name: each for name, each in things.items() if not name.startswith("grpc.reflection.")}
        assert ours == {name: expected[part][name] for name in ours}
    assert SERVED[served.module] <= facts["services"].keys()


@VERSIONS
def test_what_no_service_names_is_told(version: str, served: Served, read: Read) -> None:
    """The details of a refusal, by name; options that a client does not know, by number."""
    extensions = read.facts()["extensions"]
    with grpc.insecure_channel(served.address) as channel:
        client = Client(channel, version)
        assert _files(client.ask(file_containing_symbol="google.rpc.ErrorInfo"))
        for kind in EXTENDED:
            ours = {
                each["number"]
                for name, each in extensions.items()
                if each["extends"] == kind and name.startswith("ordersys.api.rules.")
            }
            numbers = client.ask(all_extension_numbers_of_type=kind).all_extension_numbers_response.extension_number
            assert ours
            assert ours <= set(numbers)
            for number in ours:
                asked = {"containing_type": kind, "extension_number": number}
                assert "ordersys/api/rules/v1/rules.proto" in _files(client.ask(file_containing_extension=asked))


@VERSIONS
def test_a_method_is_told_by_its_name(version: str, served: Served, read: Read) -> None:
    """As grpcurl asks that describes one: the file of its service."""
    services = read.facts()["services"]
    with grpc.insecure_channel(served.address) as channel:
        client = Client(channel, version)
        for service in SERVED[served.module]:
            ours = _files(client.ask(file_containing_symbol=service)).keys()
            for method in services[service]["methods"]:
                assert _files(client.ask(file_containing_symbol=f"{service}.{method}")).keys() == ours


@VERSIONS
def test_buf_calls_by_reflection_alone(version: str, served: Served, buf: str, tmp_path: Path) -> None:
    """It lists services and methods, sends JSON, and prints a refusal with its details."""
    curl = [buf, "curl", "--protocol", "grpc", "--reflect-protocol", f"grpc-{version}", "--http2-prior-knowledge"]
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    url = f"http://{served.address}"

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        with grpc.insecure_channel(served.address) as channel:
            health: Any = HealthStub(channel)
            health.Check(HealthCheckRequest(), timeout=_SECONDS, wait_for_ready=True)
        return subprocess.run(
            [*curl, *arguments], env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )

    listed = run("--list-services", url)
    assert SERVED[served.module] <= set(listed.stdout.split()), listed.stderr
    methods = run("--list-methods", url).stdout.split()
    health = run("-d", '{"service": ""}', f"{url}/grpc.health.v1.Health/Check")
    assert json.loads(health.stdout)["status"] in ("SERVING", "NOT_SERVING"), health.stderr
    (method,) = [name for name in methods if name.split("/")[-1] in ("GetOrder", "GetProduct", "ListNotifications")]
    refused = run("-d", '{"page_token": "x"}' if "List" in method else "{}", f"{url}/{method}")
    error = json.loads(refused.stderr)
    assert error["code"] == "invalid_argument"
    assert "google.rpc.ErrorInfo" in [detail["type"] for detail in error["details"]]

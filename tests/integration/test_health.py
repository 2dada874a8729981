"""Health means work, and a service that can't work says so (grpc.health.v1)."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ordersys.contract import descriptors
from ordersys.local import ports
from ordersys.local.system import SERVICES, System
from tests import http2
from tests.integration.api import RECONNECTING, Api, eventually, placing, reason
from tests.integration.faults.workload.raw_clients import RawClients

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def health(channel: grpc.Channel, service: str = "") -> int:
    """The health a service reports of itself."""
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=service)
    return int(stub.Check(request, timeout=30, wait_for_ready=True).status)  # type: ignore[attr-defined]


@contextmanager
def alone(module: str, folder: Path, **settings: str) -> Iterator[grpc.Channel]:
    """A service by itself, with no RabbitMQ and no other service to be found; a channel to it."""
    numbers = ports.free(len(SERVICES) + 1)
    addresses = {m: f"127.0.0.1:{port}" for m, port in zip(SERVICES, numbers[1:], strict=True)}
    environment = {f"ORDERSYS_{m.upper()}_ADDRESS": address for m, address in addresses.items()}
    environment["ORDERSYS_AMQP_URL"] = f"amqp://127.0.0.1:{numbers[0]}/%2F"
    environment["ORDERSYS_DATA_DIR"] = str(folder)
    command = [sys.executable, "-m", f"ordersys.{module}"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, env={**os.environ, **environment, **settings}, stdout=log) as process,
        grpc.insecure_channel(addresses[module], RECONNECTING) as channel,
    ):
        try:
            yield channel
        finally:
            process.send_signal(signal.SIGTERM)


@contextmanager
def disk_full(pid: int) -> Iterator[None]:
    """No file of a process may grow any more: what it writes fails as on a full disk."""
    process = psutil.Process(pid)
    limits = process.rlimit(resource.RLIMIT_FSIZE)
    process.rlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        process.rlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("module", ["notification_service_1", "notification_service_2"])
def test_a_subscriber_without_a_subscription_is_not_healthy(module: str, tmp_path: Path) -> None:
    """It answers calls, and says that it hears nothing."""
    with alone(module, tmp_path) as channel:
        assert health(channel) == NOT_SERVING
        eventually(lambda: b"waiting for RabbitMQ" in (tmp_path / "log").read_bytes())
        assert health(channel) == NOT_SERVING


@pytest.mark.parametrize("module", ["order_service", "product_service"])
def test_whoever_keeps_orders_is_healthy_without_a_broker(module: str, tmp_path: Path) -> None:
    """Orders are taken, the events wait on disk."""
    with alone(module, tmp_path) as channel:
        eventually(lambda: health(channel) == SERVING)


@pytest.mark.parametrize("other", ["notification_service_1", "product_service"])
def test_a_product_service_that_finds_another_service_is_not_healthy(other: str, tmp_path: Path) -> None:
    """Without a call that finds it out; named once, and over as soon as the Order Service is there instead."""
    folders = [tmp_path / name for name in ("product", "other", "order")]
    for folder in folders:
        folder.mkdir()
    address = f"127.0.0.1:{ports.free(1)[0]}"
    with alone("product_service", folders[0], ORDERSYS_ORDER_SERVICE_ADDRESS=address) as channel:
        eventually(lambda: health(channel) == SERVING)  # the Order Service is only away
        with alone(other, folders[1], **{f"ORDERSYS_{other.upper()}_ADDRESS": address}):
            eventually(lambda: health(channel) == NOT_SERVING)
        assert health(channel) == NOT_SERVING
        with alone("order_service", folders[2], ORDERSYS_ORDER_SERVICE_ADDRESS=address):
            eventually(lambda: health(channel) == SERVING)
    lines = [json.loads(line) for line in (folders[0] / "log").read_text().splitlines()]
    errors = [line["message"] for line in lines if line["level"] == "error"]
    assert len(errors) == 1 and address in errors[0] and "ORDERSYS_ORDER_SERVICE_ADDRESS" in errors[0]


def test_every_service_of_the_contract_is_healthy_by_name(api: Api) -> None:
    """The name of the gRPC service is known to the health service."""
    assert eventually(lambda: health(api.product_channel, "ordersys.api.product.v1.ProductService")) == SERVING
    assert eventually(lambda: health(api.order_channel, "ordersys.api.order.v1.OrderService")) == SERVING
    with pytest.raises(grpc.RpcError) as unknown:
        health(api.product_channel, "no.such.Service")
    assert unknown.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_service_that_cant_write_says_so_refuses_and_recovers(system: System, api: Api) -> None:
    """On a full disk nothing is half done: refused with the way out, and taken once there is room again."""
    product = api.new_product(10)
    pid = system.services["product_service"].pid
    assert pid is not None
    request = placing({product: 3})
    with disk_full(pid):
        with pytest.raises(grpc.RpcError) as refused:
            api.products.PlaceOrder(request, timeout=30)
        assert reason(refused.value) == "STORAGE_UNAVAILABLE"
        eventually(lambda: health(api.product_channel) == NOT_SERVING)
        assert api.stock(product) == (10, 0)  # reading goes on
    eventually(lambda: health(api.product_channel) == SERVING)
    order = api.products.PlaceOrder(request, timeout=30).order
    assert api.order(order.id) == order
    assert api.stock(product) == (7, 3)


@pytest.mark.parametrize("switched_on", [True, False])
def test_reflection_is_served_only_where_it_is_switched_on(switched_on: bool, tmp_path: Path) -> None:
    """It lists the services of the contract, or is not there at all."""
    with alone("order_service", tmp_path, ORDERSYS_REFLECTION=str(switched_on)) as channel:
        assert health(channel) in (SERVING, NOT_SERVING)
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        if switched_on:
            (answer,) = stub.ServerReflectionInfo(asked, timeout=30)
            names = {service.name for service in answer.list_services_response.service}
            assert (
                "ordersys.api.order.v1.OrderService"
                in names
                <= {
                    *(service.full_name for service in descriptors.services()),
                    "grpc.health.v1.Health",
                    "grpc.reflection.v1alpha.ServerReflection",
                    "grpc.reflection.v1.ServerReflection",
                }
            )
        else:
            with pytest.raises(grpc.RpcError) as unknown:
                list(stub.ServerReflectionInfo(asked, timeout=30))
            assert unknown.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_open_streams_do_not_keep_a_service_from_stopping(tmp_path: Path) -> None:
    """SIGTERM with a Watch and a reflection open: NOT_SERVING, then the end, long before the grace period is over."""
    with alone("order_service", tmp_path, ORDERSYS_REFLECTION="true", ORDERSYS_GRACE_SECONDS="300") as channel:
        eventually(lambda: health(channel) == SERVING)
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watch).status == SERVING
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        next(reflection.ServerReflectionInfo(chain(asked, iter(Event().wait, True)), timeout=60))
        ending(tmp_path).send_signal(signal.SIGTERM)
        assert next(watch).status == NOT_SERVING
        with pytest.raises(grpc.RpcError) as ended:
            next(watch)
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
        assert ending(tmp_path).wait(60) in (0, None)


def ending(folder: Path) -> psutil.Process:
    """The process of the service that keeps its data in `folder`."""
    (service,) = [
        process for process in psutil.Process().children() if process.environ().get("ORDERSYS_DATA_DIR") == str(folder)
    ]
    return service


def test_a_watch_nobody_reads_keeps_nobody_from_stopping(tmp_path: Path) -> None:
    """Its window is shut, so that its last word is never taken: its connection is ended."""
    with alone("order_service", tmp_path, ORDERSYS_GRACE_SECONDS="300") as channel:
        eventually(lambda: health(channel) == SERVING)
        process = ending(tmp_path)
        (address,) = {f"{c.laddr.ip}:{c.laddr.port}" for c in process.net_connections() if c.status == "LISTEN"}
        with RawClients(address, random.Random(1)) as raw_clients:
            client = raw_clients.connect().greet({http2.INITIAL_WINDOW_SIZE: 0})
            client.say(http2.message(client.call("/grpc.health.v1.Health/Watch"), b""))
            client.hear()
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) in (0, None)

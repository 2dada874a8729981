"""An Order Service by itself, as a real process without a broker, and calls to it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
from google.type.money_pb2 import Money
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ordersys.api.order.v1.order_pb2 import OrderItem
from ordersys.api.order.v1.order_service_pb2 import CreateOrderRequest, GetOrderRequest
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.local import ports
from tests.integration.api import RECONNECTING, SECONDS, eventually, new_id, reason

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class OrderService:
    """The service, its data folder, and a channel to it."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]", log: Path, channel: grpc.Channel) -> None:
        self.file = folder / "order.db"
        self.process = process
        self._log = log
        self._stub = OrderServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)

    @property
    def health(self) -> int:
        """The health it reports of itself; 0 while it can't be reached."""
        try:
            return int(self._health.Check(health_pb2.HealthCheckRequest(), timeout=10).status)  # type: ignore[attr-defined]
        except grpc.RpcError:
            return 0

    def create(self) -> str:
        """Creates an order; its id. Raises grpc.RpcError."""
        item = OrderItem(product_id="oak-desk", quantity=1, unit_price=Money(currency_code="EUR", units=9))
        request = CreateOrderRequest(request_id=new_id(), order_id=new_id(), customer_id="anna", items=[item])
        return str(self._stub.CreateOrder(request, timeout=SECONDS).order.id)

    def refused(self) -> str:
        """The reason why an order is not created; empty when it was."""
        try:
            self.create()
        except grpc.RpcError as error:
            return reason(error)
        return ""

    def has(self, order_id: str) -> bool:
        """True when an order is there."""
        try:
            return bool(self._stub.GetOrder(GetOrderRequest(order_id=order_id), timeout=SECONDS).order.id == order_id)
        except grpc.RpcError as error:
            assert reason(error) == "ORDER_NOT_FOUND", error
            return False

    def missing(self, orders: Sequence[str]) -> list[str]:
        """Those of these orders that are not there."""
        return [order for order in orders if not self.has(order)]

    def says(self, *words: str) -> bool:
        """True when these words stand in its log."""
        text = self._log.read_text()
        return all(word in text for word in words)

    def kill(self) -> None:
        """Kills it at once, as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ends it in good order; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@contextmanager
def order_service(folder: Path, **settings: str) -> Iterator[OrderService]:
    """Starts it, and waits until it says that it works; it is gone afterwards."""
    (port,) = ports.free(1)
    logs = folder.with_name(f"{folder.name}-logs")
    logs.mkdir(exist_ok=True)
    log = logs / f"{port}.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "ordersys.order_service"],
            env=environment(folder, port, **settings),
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
        grpc.insecure_channel(f"127.0.0.1:{port}", RECONNECTING) as channel,
    ):
        service = OrderService(folder, process, log, channel)
        try:
            eventually(lambda: service.health == SERVING or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield service
        finally:
            process.kill()


def environment(folder: Path, port: int, **settings: str) -> dict[str, str]:
    """The environment of the service: its folder, its port, and no broker."""
    return {
        **os.environ,
        "ORDERSYS_DATA_DIR": str(folder),
        "ORDERSYS_ORDER_SERVICE_ADDRESS": f"127.0.0.1:{port}",
        "ORDERSYS_AMQP_URL": "amqp://guest:guest@127.0.0.1:1/%2F",
        **settings,
    }


def ended(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """The service, or a command of it, that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "ordersys.order_service", *arguments],
        env=environment(folder, ports.free(1)[0], **settings),
        capture_output=True,
        text=True,
        errors="backslashreplace",
        timeout=60,
        check=False,
    )

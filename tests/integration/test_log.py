"""A service whose log nobody reads serves on."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import pytest

from ordersys.api.order.v1.order_service_pb2 import CreateOrderResponse, ListOrdersRequest
from ordersys.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from ordersys.local import ports
from tests.contract.harness.system_under_test import creating
from tests.integration.api import RECONNECTING, SECONDS

COMMAND = (sys.executable, "-m", "ordersys.order_service")


class Service:
    """An Order Service without a broker, which it logs that it misses."""

    def __init__(self, process: "subprocess.Popen[bytes]", address: str, errors: Path) -> None:
        self._process = process
        self._address = address
        self._errors = errors

    def serve(self) -> None:
        """Has it take an order and list orders."""
        with grpc.insecure_channel(self._address, RECONNECTING) as channel:
            orders = OrderServiceStub(channel)
            made: CreateOrderResponse = orders.CreateOrder(creating(), timeout=SECONDS, wait_for_ready=True)
            assert made.order.id
            assert orders.ListOrders(ListOrdersRequest(page_size=5), timeout=SECONDS).orders

    def stop(self) -> list[str]:
        """Ends it, in good order; the messages on its standard error."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(60) == 0
        return [json.loads(line)["message"] for line in self._errors.read_text().splitlines()]


@contextmanager
def service(folder: Path, output: int, command: Sequence[str] = COMMAND) -> Iterator[Service]:
    """It, with its log going to a file descriptor."""
    port, nobody = ports.free(2)
    settings = {
        "ORDERSYS_DATA_DIR": str(folder / "data"),
        "ORDERSYS_ORDER_SERVICE_ADDRESS": f"{ports.LOOPBACK}:{port}",
        "ORDERSYS_AMQP_URL": f"amqp://guest:guest@{ports.LOOPBACK}:{nobody}/%2F",
        "ORDERSYS_LOG_LEVEL": "debug",
    }
    with (
        (folder / "errors").open("wb") as errors,
        subprocess.Popen(command, stdout=output, stderr=errors, env={**os.environ, **settings}) as process,
    ):
        try:
            yield Service(process, f"{ports.LOOPBACK}:{port}", folder / "errors")
        finally:
            process.kill()


def test_a_service_whose_logs_reader_is_gone_serves_on(tmp_path: Path) -> None:
    """As in `python -m ordersys.order_service | head -n 1`: one line on standard error, and exit status 0."""
    reading, writing = os.pipe()
    with service(tmp_path, writing) as running:
        os.close(writing)
        assert os.read(reading, 1)
        os.close(reading)
        running.serve()
        assert running.stop() == ["nobody reads this log any more (Broken pipe): nothing more is logged"]


def test_a_service_whose_logs_reader_has_stopped_serves_on(tmp_path: Path) -> None:
    """From the first line on nobody takes any: calls are answered, and it ends when told to."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while os.write(writing, bytes(1 << 16)):
            pass
    os.set_blocking(writing, True)
    with service(tmp_path, writing) as running:
        os.close(writing)
        running.serve()
        assert running.stop() == []
    os.close(reading)


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_service_started_with_closed_standard_files_serves_on(tmp_path: Path, closed: str) -> None:
    """No file and no connection of its own gets their numbers, and with them what is meant for a terminal."""
    shell = ("sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND)
    with service(tmp_path, subprocess.DEVNULL, shell) as running:
        running.serve()
        said = running.stop()
        assert said == ([] if "2" in closed else ["standard output is closed: nothing is logged"])


def test_a_service_whose_log_goes_to_a_full_disk_serves_on(tmp_path: Path) -> None:
    """/dev/full answers as a full disk does."""
    with Path("/dev/full").open("wb") as full, service(tmp_path, full.fileno()) as running:
        running.serve()
        (said,) = running.stop()
        assert said.startswith("this log can't be written (No space left on device)")

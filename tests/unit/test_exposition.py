"""Exposition of metrics: read-only, at an address of its own, and no trouble for the service."""

import http.client
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from threading import Event, Semaphore
from unittest.mock import Mock

import pytest

from ordersys.contract.addresses import Address
from ordersys.local import ports
from ordersys.runtime.base.errors import StartupError
from ordersys.runtime.metrics import endpoint, instruments, otlp, table
from ordersys.runtime.metrics.exposition import asks_for_export, exposed

SECONDS = 10.0
MOST = endpoint._MOST_CLIENTS
MANY = 3 * MOST


@pytest.fixture
def address() -> Iterator[Address]:
    """Metrics are served there."""
    address = Address(ports.LOOPBACK, ports.free(1)[0])
    with exposed("test-service", address):
        yield address


def answer(address: Address, method: str = "GET", path: str = "/metrics") -> tuple[int, str, bytes]:
    """The status, the content type and the body."""
    with closing(http.client.HTTPConnection(address.host, address.port, timeout=SECONDS)) as connection:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.headers.get("Content-Type", ""), response.read()


def test_metrics_are_served_as_text(address: Address) -> None:
    """As Prometheus asks for it, with or without a query."""
    for path in ("/metrics", "/metrics?name=x"):
        status, content_type, body = answer(address, path=path)
        assert (status, content_type.partition(";")[0]) == (200, "text/plain")
        assert b"ordersys_build_info" in body


def test_head_says_how_long_it_would_be(address: Address) -> None:
    """And sends nothing of it."""
    status, content_type, body = answer(address, "HEAD")
    assert (status, content_type.partition(";")[0], body) == (200, "text/plain", b"")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/metrics", 501), ("DELETE", "/metrics", 501), ("GET", "/", 404), ("GET", "/metrics/x", 404)],
)
def test_nothing_else_is_answered(address: Address, method: str, path: str, status: int) -> None:
    """Neither another method nor another path."""
    assert answer(address, method, path)[0] == status


def test_without_an_address_nothing_is_counted_or_served() -> None:
    """The default of a service that is started by hand."""
    with exposed("test-service", None):
        assert not instruments.are_on()


OTLP = {"OTEL_METRICS_EXPORTER": "otlp"}
ENDPOINT = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:4318/v1/metrics"}


@pytest.mark.parametrize(
    ("environment", "is_asked", "warned"),
    [
        ({}, False, ""),
        (OTLP, True, ""),
        (ENDPOINT, True, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, False, ""),
        ({**ENDPOINT, "OTEL_METRICS_EXPORTER": "none"}, False, ""),
        ({**OTLP, "OTEL_SDK_DISABLED": "true"}, False, ""),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, False, "OTEL_METRICS_EXPORTER=prometheus is none of otlp"),
        ({**OTLP, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False, "the OTLP protocol grpc is none of otlp"),
    ],
)
def test_the_environment_says_whether_metrics_go_to_a_collector(
    environment: dict[str, str], is_asked: bool, warned: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By variables about metrics; an endpoint for all signals may be that of a viewer of traces."""
    assert asks_for_export(environment) is is_asked
    assert warned in caplog.text
    assert bool(warned) is bool(caplog.text)


def test_export_without_the_sdk_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The service works as it is, and counts nothing in vain."""
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    monkeypatch.delitem(sys.modules, "ordersys.runtime.metrics.otlp", raising=False)
    with exposed("test-service", None):
        assert not instruments.are_on()
    assert "is missing; pip install 'ordersys[otel]'" in caplog.text


def test_an_interval_that_is_none_is_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As the standard has it; whoever mistypes it is told."""
    for given, seconds in (("", 60.0), ("250", 0.25), ("0", 60.0), ("soon", 60.0), ("inf", 60.0), ("nan", 60.0)):
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", given)
        assert otlp._interval_seconds() == seconds
    assert caplog.text.count("OTEL_METRIC_EXPORT_INTERVAL is no number of milliseconds") == 4


def test_a_port_that_is_taken_keeps_a_service_from_starting() -> None:
    """With one line that names the address and the setting."""
    with closing(socket.create_server((ports.LOOPBACK, 0))) as taken_port:
        address = Address(*taken_port.getsockname())
        with (
            pytest.raises(StartupError, match=rf"{address} .*ORDERSYS_METRICS_ADDRESS") as raised,
            exposed("x", address),
        ):
            raise AssertionError("it was listened on")
        assert "\n" not in str(raised.value)
        assert not instruments.are_on()


@pytest.mark.parametrize("begun", [b"", b"GET /metrics HTTP/1.0\r\nX-Much: "], ids=["silent", "never ending"])
def test_clients_that_do_not_ask_keep_nobody_out(address: Address, begun: bytes) -> None:
    """Of more than a few, those who have not asked for longest are hung up on."""
    with ExitStack() as stack:
        silent = [stack.enter_context(closing(socket.create_connection(address, SECONDS))) for _ in range(MANY)]
        for connection in silent:
            with suppress(OSError):  # it was hung up on
                connection.sendall(begun)
        assert answer(address)[0] == 200
        for connection in silent[: MANY - MOST]:
            assert not received(connection)


def test_clients_that_stay_silent_are_hung_up_on(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, though nobody else comes."""
    monkeypatch.setattr(endpoint._Handler, "timeout", 0.5)
    with closing(socket.create_connection(address, SECONDS)) as silent:
        assert not received(silent)


def test_clients_that_ask_and_do_not_read_are_answered_before_others(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that has asked is not hung up on for somebody else."""
    reading, asked, asks = Event(), Semaphore(0), endpoint.Server.asks

    def counted(server: endpoint.Server, request: socket.socket) -> None:
        asks(server, request)
        asked.release()

    monkeypatch.setattr(endpoint.Server, "asks", counted)
    instruments.reading(table.CALLS_IN_FLIGHT, lambda: float(reading.wait(SECONDS)))
    with ExitStack() as stack:
        asking = [stack.enter_context(closing(socket.create_connection(address, SECONDS))) for _ in range(MOST)]
        for connection in asking:
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert all(asked.acquire(timeout=SECONDS) for _ in asking)
        with closing(socket.create_connection(address, SECONDS)) as another:
            assert not received(another)
        reading.set()
        for connection in asking:
            assert received(connection).startswith(b"HTTP/1.0 200")


def test_what_the_sdk_refuses_costs_the_export_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a warning in a sentence."""
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
    monkeypatch.setattr(otlp, "OTLPMetricExporter", Mock(side_effect=ValueError("OTEL_EXAMPLE must be a number")))
    with exposed("test-service", Address(ports.LOOPBACK, ports.free(1)[0])):
        assert instruments.are_on()
    assert caplog.text.count("no metrics are exported: the SDK of OpenTelemetry refuses") == 1


def received(connection: socket.socket) -> bytes:
    """All that comes until the other side hangs up."""
    try:
        return connection.recv(1000)
    except ConnectionError:
        return b""


def test_a_metric_that_can_not_be_read_costs_nobody_else_an_answer(address: Address) -> None:
    """It costs the scrape, which is repeated; the next is answered."""
    read = Mock(side_effect=[KeyError, 1.0])
    instruments.reading(table.CALLS_IN_FLIGHT, read)
    with pytest.raises(http.client.HTTPException):
        answer(address)
    assert answer(address)[0] == 200

"""Exposition: the metrics of a process over HTTP, at an address of their own, in threads of their own.

Anybody who reaches the address may read: they tell how much is done and what goes wrong, and of no order, customer or
product. Nothing can be changed. Whatever happens here costs the service nothing but the time of a scrape.

They go to a collector of OpenTelemetry as well, or instead, where its variables ask for that. An endpoint for all
signals does not: that is often a viewer of traces alone, and Prometheus reads the metrics in any case.
"""

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from threading import Thread
from typing import TYPE_CHECKING

from ordersys.contract.addresses import Address
from ordersys.runtime.base.errors import StartupError
from ordersys.runtime.base.extras import missing
from ordersys.runtime.metrics import instruments
from ordersys.runtime.metrics.instruments import Binder

if TYPE_CHECKING:
    from ordersys.runtime.metrics.endpoint import Server
    from ordersys.runtime.metrics.otlp import Exporting

_log = logging.getLogger(__name__)
_EXPORTER, _ENDPOINT = "OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_OTLP, _HTTP, _OFF = "otlp", "http/protobuf", "none"


class MetricsAddressInUse(StartupError):
    """The address for metrics can't be listened on; the text names the setting."""


@contextmanager
def exposed(service: str, address: Address | None) -> Iterator[None]:
    """Has metrics counted while the context is open: served at `address`, and exported where the environment says so.

    Without either they are not counted. Ends at most half a second after what it encloses. Raises MetricsAddressInUse.
    """
    exporting = _exporting() if asks_for_export(os.environ) else None
    if address is None and exporting is None:
        yield
        return
    with ExitStack() as stack:
        stack.callback(instruments.switch_off)
        binder = instruments.switch_on(service)
        if address is not None:
            server = _listening(address, binder)
            Thread(target=server.serve_forever, name="metrics", daemon=True).start()
            # It takes up to half a second to notice, for which nobody has to wait who is told to stop.
            stack.callback(Thread(target=server.end, name="metrics end", daemon=True).start)
        if exporting is not None:
            try:
                stack.callback(exporting(service, binder).close)
            except ValueError as error:  # it names the variable, or what it is about
                text = "no metrics are exported: the SDK of OpenTelemetry refuses what its variables say: %s"
                _log.warning(text, error)
        yield


def asks_for_export(environment: Mapping[str, str]) -> bool:
    """True where metrics are to go to a collector; another way than ours is a warning."""
    given = {name: environment.get(name, "").strip() for name in (_EXPORTER, _ENDPOINT, *_PROTOCOLS)}
    exporter = given[_EXPORTER].lower() or (_OTLP if given[_ENDPOINT] else _OFF)
    if exporter == _OFF or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    protocol = next(filter(None, (given[name] for name in _PROTOCOLS)), _HTTP)
    if (exporter, protocol) != (_OTLP, _HTTP):
        asked = f"{_EXPORTER}={exporter}" if exporter != _OTLP else f"the OTLP protocol {protocol}"
        _log.warning("no metrics are exported: %s is none of otlp (%s) and none", asked, _HTTP)
        return False
    return True


def _exporting() -> "type[Exporting] | None":
    try:
        from ordersys.runtime.metrics.otlp import Exporting  # noqa: PLC0415 - where nobody asks it costs nothing
    except ImportError as error:
        _log.warning("no metrics are exported: %s is missing; pip install 'ordersys[otel]'", missing(error))
        return None
    return Exporting


def _listening(address: Address, binder: Binder) -> "Server":
    from ordersys.runtime.metrics.endpoint import Server  # noqa: PLC0415 - http.server takes a megabyte

    try:
        family, *_, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        return Server(family, place, binder)
    except OSError as error:
        raise MetricsAddressInUse(
            f"{address} can't be listened on for metrics: {error.strerror or error}; choose another one with"
            " ORDERSYS_METRICS_ADDRESS, or none"
        ) from error

"""The choice whether spans are recorded, and where they go, by the standard variables of OpenTelemetry.

By default nothing is, and nothing of OpenTelemetry is loaded. Its SDK is the extra `otel`.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ordersys.runtime.base.extras import missing
from ordersys.runtime.tracing import spans

if TYPE_CHECKING:
    from ordersys.runtime.tracing.exporting import Exporting

_log = logging.getLogger(__name__)
_EXPORTER = "OTEL_TRACES_EXPORTER"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_OTLP, _CONSOLE, _OFF = "otlp", "console", "none"
_HTTP = "http/protobuf"


@contextmanager
def recording(service: str) -> Iterator[None]:
    """Records the spans of the process of `service` meanwhile, where the environment says so.

    Ends at most a second after what it encloses, whatever the collector does.
    """
    exporting = _exporting(service, os.environ)
    if exporting is None:
        yield
        return
    spans.record_by(exporting)
    try:
        yield
    finally:
        spans.record_by(None)
        exporting.close()


def chosen(environment: Mapping[str, str]) -> str:
    """The exporter that the environment asks for; empty where it asks for none."""
    if _given(environment, "OTEL_SDK_DISABLED").lower() == "true":
        return ""
    given = _given(environment, _EXPORTER).lower()
    if not given and any(_given(environment, variable) for variable in _ENDPOINTS):
        return _OTLP
    return "" if given == _OFF else given


def _exporting(service: str, environment: Mapping[str, str]) -> "Exporting | None":
    exporter = chosen(environment)
    if not exporter:
        return None
    protocol = next(filter(None, (_given(environment, variable) for variable in _PROTOCOLS)), _HTTP)
    if exporter not in (_OTLP, _CONSOLE) or (exporter == _OTLP and protocol != _HTTP):
        asked = f"{_EXPORTER}={exporter}" if exporter != _OTLP else f"the OTLP protocol {protocol}"
        _log.warning("no traces are recorded: %s is none of otlp (%s), console and none", asked, _HTTP)
        return None
    try:
        from ordersys.runtime.tracing.exporting import Exporting  # noqa: PLC0415 - where nobody asks it costs nothing
    except ImportError as error:
        _log.warning("no traces are recorded: %s is missing; pip install 'ordersys[otel]'", missing(error))
        return None
    try:
        return Exporting(service, exporter == _CONSOLE)
    except ValueError as error:  # it names the variable, or what it is about
        _log.warning("no traces are recorded: the SDK of OpenTelemetry refuses what its variables say: %s", error)
        return None


def _given(environment: Mapping[str, str], variable: str) -> str:
    return environment.get(variable, "").strip()

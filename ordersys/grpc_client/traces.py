"""The trace of a call: begun here, where OpenTelemetry's variables ask for traces, so that its repeats are part of it.

Only ids: this side records no span. Whether the services do is decided here, by the sampler that the environment names
(OpenTelemetry, "SDK environment variables"). Without these variables nothing is sent, and the first service decides.
"""

import os
from collections.abc import Mapping

_ASKING = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_NONE, _RATIO, _OFF = "none", "traceidratio", "always_off"
_TRACE_BYTES, _SPAN_BYTES = 16, 8
Metadata = tuple[tuple[str, str], ...]


def begun(environment: Mapping[str, str]) -> Metadata:
    """The metadata of a call that begins a trace; none where the environment does not ask for traces."""
    given = {name: value.strip().lower() for name, value in environment.items() if name.startswith("OTEL_")}
    asked = next((given[name] for name in _ASKING if given.get(name)), _NONE)
    if asked == _NONE or given.get("OTEL_SDK_DISABLED") == "true":
        return ()
    trace, span = os.urandom(_TRACE_BYTES), os.urandom(_SPAN_BYTES)
    flags = "01" if _is_sampled(trace, given) else "00"
    return (("traceparent", f"00-{trace.hex()}-{span.hex()}-{flags}"),)


def _is_sampled(trace: bytes, given: Mapping[str, str]) -> bool:
    """As the SDK's samplers decide where a trace begins: by ratio, the lower half of its id is below that part."""
    sampler = given.get("OTEL_TRACES_SAMPLER", "").removeprefix("parentbased_")
    if sampler != _RATIO:
        return sampler != _OFF
    try:
        ratio = float(given.get("OTEL_TRACES_SAMPLER_ARG") or 1)
    except ValueError:
        ratio = 1.0
    return int.from_bytes(trace[_SPAN_BYTES:]) < round(ratio * (1 << 8 * _SPAN_BYTES))

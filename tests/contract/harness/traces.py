"""Trace contexts (W3C), as calls carry them and events have them."""

import secrets


def new_trace() -> str:
    """A traceparent nobody has used."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def trace_id(traceparent: str) -> str:
    """The id of the trace: a service that passes it on may make a span of its own. Empty where there is none."""
    return "".join(traceparent.split("-")[1:2])


def carrying(traceparent: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call that belongs to a trace; none where there is none."""
    return (("traceparent", traceparent),) if traceparent else ()

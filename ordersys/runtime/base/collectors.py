"""The way to a collector of OpenTelemetry: past any proxy where it is on this machine, and for little to come back.

The exporters of the SDK ask `requests`, which asks the environment and `.netrc`: a proxy would be given what is for
this machine alone, with the key in its headers. And it reads an answer to its end, be there one or not.
"""

import io
import os
from typing import Any
from urllib.parse import urlsplit

from ordersys.contract.addresses import Address

_ENDPOINT = "OTEL_EXPORTER_OTLP_{}ENDPOINT"
_SHORT_BYTES = 64  # "all was taken", in protobuf or JSON: read, so that the connection can be used again


def session(signal: str) -> Any:
    """A session of `requests` for the exporter of a signal, TRACES or METRICS, to the endpoint of the environment.

    None where exporters do without: those of some releases use `urllib3`, which asks the environment for nothing.
    """
    try:
        import requests  # noqa: PLC0415 - comes with the exporters, which are an extra
    except ImportError:
        return None
    asking = requests.Session()
    endpoints = (os.environ.get(_ENDPOINT.format(of), "") for of in (f"{signal}_", ""))
    asking.trust_env = not _is_here(next(filter(None, endpoints), ""))
    asking.stream = True
    asking.hooks["response"].append(_leave_unread)
    return asking


def _leave_unread(response: Any, *_: Any, **__: Any) -> None:
    """Leaves the body of an answer where it is: what an exporter decides on is the status."""
    length = response.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) <= _SHORT_BYTES:
        response.raw.read(int(length))
    else:
        response.raw.close()
    response.raw = io.BytesIO()


def _is_here(endpoint: str) -> bool:
    """True for an address of this machine, as is the one where none is named."""
    try:
        return Address(urlsplit(endpoint).hostname or "localhost", 0).is_loopback
    except ValueError:
        return False

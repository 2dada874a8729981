"""The way to a collector of OpenTelemetry: past any proxy where it is on this machine, and for little to come back.

Exporters of the SDK ask with `requests`, or with `urllib3` where they are given no session, as their release has it.
Both read an answer to its end, be there one or not; `requests` also asks the environment and `.netrc`: a proxy would be
given what is for this machine alone, with the key in its headers.
"""

import io
import os
from typing import Any
from urllib.parse import urlsplit

import requests

from ordersys.contract.addresses import Address

_ENDPOINT = "OTEL_EXPORTER_OTLP_{}ENDPOINT"
_SHORT_BYTES = 64  # "all was taken", in protobuf or JSON: read, so that the connection can be used again


def session(signal: str) -> requests.Session:
    """A session of `requests` for the exporter of a signal, TRACES or METRICS, to the endpoint of the environment."""
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

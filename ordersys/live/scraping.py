"""The metrics of a process, fetched as Prometheus would. By the standard library: the terminal needs no extra."""

import time
from contextlib import closing
from http.client import HTTPConnection

from ordersys.live import exposition
from ordersys.live.exposition import Metrics

_MOST_BYTES = 2 * 1024 * 1024
_PART_BYTES = 65_536


def scraped(address: str, seconds: float) -> Metrics:
    """The metrics served at HOST:PORT. Blocks for `seconds` at most, twice where the other side dribbles.

    Raises OSError, HTTPException, ValueError. No proxy of the environment is asked, and no redirect followed.
    """
    until = time.monotonic() + seconds
    with closing(HTTPConnection(address, timeout=seconds)) as connection:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        octets = bytearray()
        while part := answer.read1(_PART_BYTES):
            octets += part
            if len(octets) > _MOST_BYTES:
                raise ValueError(f"more than {_MOST_BYTES:,} bytes of metrics")
            if time.monotonic() > until:
                raise TimeoutError
    return exposition.parse(octets.decode(errors="replace"))

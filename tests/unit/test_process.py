"""Steps of every service before it serves."""

import subprocess
import sys

_SECONDS = 60.0
_PROGRAM = """
import gc

from ordersys.product_service.__main__ import NAME, STORED
from ordersys.runtime.process import run
from ordersys.product_service.settings import ProductSettings


async def serve(settings, stop, tasks):
    print(gc.get_freeze_count(), len(gc.get_objects()), flush=True)


run(NAME, "", ProductSettings, serve, STORED)
"""


def test_the_garbage_collector_looks_no_more_at_what_was_loaded() -> None:
    """It would keep the event loop waiting, for 20 ms each time: what is loaded is nearly all there is."""
    command = [sys.executable, "-c", _PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    left_alone, looked_at = map(int, done.stdout.split())
    assert left_alone > 10 * looked_at

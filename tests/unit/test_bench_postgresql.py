"""The measurements on PostgreSQL: the delayed link, the server's processor time, and results that are put together."""

import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from typing import Any

from benchmarks import processor, results
from benchmarks.figures import Figures
from benchmarks.goals import judged
from benchmarks.postgresql.measurements import FIGURES
from benchmarks.postgresql.slow_link import SlowLink
from ordersys.local.ports import LOOPBACK, free

_PARENT = """
import subprocess, sys
work = "import time\\nwhile time.process_time() < 0.2: pass"
subprocess.run([sys.executable, "-c", work], check=True)
print(flush=True)
sys.stdin.read()
"""


def test_what_passes_the_link_is_delayed_each_way_and_whole() -> None:
    """Pieces that are sent together arrive together: a distance, not a narrow line."""
    with socket.create_server((LOOPBACK, 0)) as echo:
        threading.Thread(target=_answer, args=(echo,), daemon=True).start()
        (port,) = free(1)
        link = SlowLink(port, echo.getsockname()[1])
        with closing(socket.create_connection((LOOPBACK, port))) as client:
            for seconds in (0.0, 0.05):
                link.answer(seconds)
                began = time.monotonic()
                for _ in range(10):
                    client.sendall(b"x" * 1000)
                left = 10_000
                while left:
                    left -= len(client.recv(left))
                assert time.monotonic() - began >= 2 * seconds


def _answer(listener: socket.socket) -> None:
    client, _ = listener.accept()
    with client:
        while chunk := client.recv(65_536):
            client.sendall(chunk)


def test_the_processor_time_of_a_server_has_that_of_its_ended_processes() -> None:
    """PostgreSQL makes one for each connection."""
    command = [sys.executable, "-c", _PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        assert processor.family(parent.pid) >= 0.15
    assert processor.family(parent.pid) == 0


def test_a_run_of_a_part_takes_the_place_of_that_part_alone() -> None:
    """The other figures stay, and goals are judged by all of them."""
    before = _result({"relay": 5.0, "postgresql.one": 1.0, "processor.replicas.2": 7.0})
    part = {**_result({"distance.trips": 2.5}), "postgresql": {"version": "18.1"}}
    merged = results.merged(before, part, "postgresql", FIGURES)
    assert set(merged["figures"]) == {"relay", "distance.trips"}
    assert merged["S15"]["met"]
    assert merged["postgresql"] == {"version": "18.1"}


def _result(medians: dict[str, float]) -> dict[str, Any]:
    measured = Figures()
    for name, value in medians.items():
        measured.add(name, value, "1")
    return {**judged(measured), "figures": measured.document(), "series": {}}


def test_a_goal_that_limits_a_cost_is_ours_to_the_baselines() -> None:
    """S10: a quarter more than in files, and no more."""
    for ours, met in ((1_250.0, True), (1_260.0, False)):
        measured = Figures()
        measured.add("processor.postgresql.one.services", ours, "µs/order")
        measured.add("processor.postgresql.files.services", 1_000.0, "µs/order")
        (first, *_) = judged(measured)["S10"]["parts"]
        assert (first["value"], first["met"]) == (ours / 1_000, met)

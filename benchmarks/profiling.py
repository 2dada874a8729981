"""The processor time of one order by service and by the code that ran, sampled under load with py-spy.

Samples are counted for the innermost Python frame; what runs below it (gRPC's core, SQLite, protobuf) counts for
whoever called it.
"""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.pipeline import place
from benchmarks.plan import USUAL_IN_FLIGHT
from benchmarks.systems import Measured

_RATE = 100  # samples a second: more slows the services down
_FRAME = re.compile(r"\(([^():]+):\d+\)$")
# Threads that wait for work, for the network or for each other: py-spy does not always see that they sleep.
_WAITING = re.compile(
    r"^(?:_worker \(concurrent/futures/thread|\S*select \(selectors|(?:\S*\.)?(?:run|wait) \(threading)\.py"
)
_STANDARD = {"asyncio", "logging", "json", "concurrent", "threading", "selectors", "sqlite3"}
_CHECKS = "<check of "  # functions that contract/checks.py writes
_MOST = 8  # owners listed for a service
_LEAST_SHARE = 0.005  # of the samples of a service; less is noise
_START_SECONDS = 1.0  # for py-spy to attach


def measure(bench: Bench, measured: Measured) -> dict[str, dict[str, float]]:
    """The shares of each service's samples, by code, largest first; empty where tracing a process is not permitted."""
    outputs = {name: bench.folder / f"{name}.profile" for name in measured.system.services}
    spies = [_spy(bench, measured, name, path) for name, path in outputs.items()]
    place(bench, measured, USUAL_IN_FLIGHT, bench.plan.profiled + _START_SECONDS)
    for spy in spies:
        spy.wait(timeout=30)
    return {name: shares(path.read_text().splitlines()) for name, path in outputs.items() if path.exists()}


def shares(lines: Iterable[str]) -> dict[str, float]:
    """From collapsed stacks (`outer;inner 12`) the part of each owner of the innermost frame; waiting is none."""
    counted: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        innermost = stack.rpartition(";")[2]
        if not _WAITING.match(innermost):
            counted[owner(innermost)] += int(count)
    total = counted.total() or 1
    return {name: count / total for name, count in counted.most_common(_MOST) if count / total >= _LEAST_SHARE}


def owner(frame: str) -> str:
    """The owner of a frame: grpc for `name (grpc/aio/_server.py:12)`; of our own code the module."""
    match = _FRAME.search(frame)
    if not match:
        return "other"
    if match.group(1).startswith(_CHECKS):
        return "ordersys/contract/checks"
    *folders, file = Path(match.group(1)).parts
    if "ordersys" in folders:
        return "/".join([*folders[folders.index("ordersys") :], file.removesuffix(".py")])
    known = [part for part in (*folders, file.removesuffix(".py")) if part in _STANDARD]
    return known[0] if known else (folders[0] if folders else file.removesuffix(".py"))


def _spy(bench: Bench, measured: Measured, name: str, path: Path) -> "subprocess.Popen[bytes]":
    spy = Path(sys.executable).parent / "py-spy"
    pid = str(measured.system.services[name].pid)
    seconds = str(max(1, int(bench.plan.profiled)))
    command = [str(spy), "record", "--pid", pid, "--duration", seconds, "--rate", str(_RATE)]
    return subprocess.Popen(
        [*command, "--format", "raw", "--output", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

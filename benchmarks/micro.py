"""Micro-benchmarks by pytest-benchmark: calls one after the other, and parts of the runtime by themselves."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from statistics import median

from benchmarks.bench import Bench
from benchmarks.observing import Unsound

# Random order would mix the rounds; nameko, where it is installed, would patch everything.
_MANNER = ("-p", "no:randomly", "-p", "no:pytest_nameko", "--timeout=600")
_SHORT = ("--benchmark-max-time=0.15", "--benchmark-min-rounds=3")
_LONG = ("--benchmark-max-time=2",)


def measure(bench: Bench) -> None:
    """Runs benchmarks/test_*.py. Raises Unsound when one fails."""
    report, log = bench.folder / "pytest.json", bench.folder / "pytest.log"
    effort = _SHORT if bench.plan.mode == "quick" else _LONG
    command = [sys.executable, "-m", "pytest", "benchmarks", *_MANNER, f"--benchmark-json={report}"]
    with log.open("wb") as output:
        done = subprocess.run([*command, *effort], stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
    if done.returncode:
        raise Unsound("benchmarks/test_*.py failed:\n" + log.read_text(errors="replace")[-3000:])
    for benchmark in json.loads(report.read_text())["benchmarks"]:
        name = benchmark["name"].removeprefix("test_")
        for value in portions(benchmark["stats"]["data"], bench.plan.rounds):
            bench.figures.add(f"pytest.{name}", 1000 * value, "ms", "pytest-benchmark; the service's own guarantees")


def portions(values: Sequence[float], count: int) -> Iterator[float]:
    """The medians of `count` portions of `values`, in order; the values themselves where there are fewer."""
    size = max(1, len(values) // count)
    for first in range(0, min(count, len(values)) * size, size):
        yield median(values[first : first + size])

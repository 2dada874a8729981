"""Distribution of test files: one worker a core, and one more for tests that wait."""

import os
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tests import virtual_host, workers

CORES = 2
FILES = [
    *(f"tests/contract/laws/test_{number}.py" for number in range(3)),
    *(f"tests/integration/test_{number}.py" for number in range(6)),
    *(f"tests/unit/test_{number}.py" for number in range(4)),
]
TESTS = [f"{file}::test_{number}" for file in FILES for number in range(3)]


def config(*arguments: str, tx: int = 1) -> Any:
    """A run of pytest with these arguments."""
    option = SimpleNamespace(capture="fd", loadscopereorder=False, tx=["popen"] * tx)
    return SimpleNamespace(
        args=arguments,
        option=option,
        stash=pytest.Stash(),
        getoption=lambda name: None,
        getvalue=lambda name: getattr(option, name),
    )


class Worker:
    """The side of a worker that is told what to run."""

    def __init__(self) -> None:
        self.queued: list[int] = []
        self.shutting_down = False
        self.gateway = SimpleNamespace(id="gw")

    def send_runtest_some(self, tests: Sequence[int]) -> None:
        """Takes tests."""
        assert not self.shutting_down
        self.queued += tests

    def shutdown(self) -> None:
        """Is to end when it has run them."""
        self.shutting_down = True


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has this machine so many cores, and no broker that was named."""
    monkeypatch.delenv(virtual_host.VARIABLE, raising=False)
    return lambda cores: monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)


@pytest.mark.parametrize(
    ("arguments", "cores", "number"),
    [
        (["tests"], 1, 0),
        (["tests"], 2, 3),
        (["tests"], 3, 4),
        (["tests"], 8, 4),
        (["tests/integration"], 2, 3),
        (["tests/integration/attacks", "tests/unit"], 2, 3),
        (["tests/contract"], 2, 2),
        (["tests/unit", "tests/contract/laws/security"], 2, 2),
        (["tests/unit/test_workers.py::test_a"], 2, 0),
    ],
)
def test_there_is_a_worker_more_than_cores_where_tests_wait(
    machine: Callable[[int], None], arguments: list[str], cores: int, number: int
) -> None:
    """Up to four; none for a single file."""
    machine(cores)
    assert workers.number(config(*arguments)) == number


def test_the_worker_more_takes_nothing_but_integration(machine: Callable[[int], None]) -> None:
    """Each test is run once; laws and unit tests have as many workers as cores, and the one more ends before them."""
    machine(CORES)
    run = config("tests", tx=CORES + 1)
    assert workers.number(run) == CORES + 1
    scheduling = workers.Scheduling(run, None)
    nodes = [Worker() for _ in range(CORES + 1)]
    for node in nodes:
        scheduling.add_node(node)
        scheduling.add_node_collection(node, TESTS)
    scheduling.schedule()
    ran: list[list[str]] = [[] for _ in nodes]
    last_ended_with = 0
    while any(node.queued for node in nodes):
        for node, own in zip(nodes, ran, strict=True):
            if node.queued:
                own.append(TESTS[node.queued[0]])
                scheduling.mark_test_complete(node, node.queued.pop(0))
        if nodes[-1].queued:
            last_ended_with = sum(map(len, ran))
    assert sorted(test for own in ran for test in own) == sorted(TESTS)
    assert ran[-1] and all(test.startswith("tests/integration/") for test in ran[-1])
    assert last_ended_with < len(TESTS)
    assert all(node.shutting_down for node in nodes)

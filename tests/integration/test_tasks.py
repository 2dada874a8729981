"""A task that must not end never ends in silence: the process ends with it, loudly, and may be started again."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ordersys.contract.topology import subscriptions
from ordersys.local import ports
from ordersys.local.system import SERVICES
from ordersys.runtime.process import FAILED
from tests.integration.throwing import ERROR

ENDS_SECONDS = 60
LEAST = {
    "order_service": {"publisher", "relay", "health", "purge"},
    "product_service": {
        "publisher",
        "relay",
        "health",
        "who is at the Order Service's address",
        "purge",
        "recovery of sagas",
    },
    **{
        subscription.consumer.replace("-", "_"): {
            f"{queue} consumer" for queue in (subscription.queue, subscription.dead_letter_queue)
        }
        | {"health", "purge"}
        for subscription in subscriptions()
    },
}


@contextmanager
def throwing(folder: Path, service: str, *task: str) -> Iterator["subprocess.Popen[str]"]:
    """A service by itself, without a broker, with an error that is thrown into one of its tasks."""
    folder.mkdir()
    numbers = ports.free(len(SERVICES) + 1)
    addresses = {m: f"127.0.0.1:{port}" for m, port in zip(SERVICES, numbers[1:], strict=True)}
    environment = {f"ORDERSYS_{m.upper()}_ADDRESS": address for m, address in addresses.items()}
    environment["ORDERSYS_AMQP_URL"] = f"amqp://127.0.0.1:{numbers[0]}/%2F"
    environment["ORDERSYS_DATA_DIR"] = str(folder)
    command = [sys.executable, "-m", "tests.integration.throwing", service, *task]
    with subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def tasks_of(service: str, folder: Path) -> list[str]:
    """Every task of a service that must not end, by name."""
    with throwing(folder, service) as process:
        assert process.stdout
        for line in process.stdout:
            if names := json.loads(line).get("tasks"):
                return list(names)
    raise AssertionError("it ended before it had said which tasks it has")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("service", SERVICES)
def test_an_unforeseen_error_in_any_task_ends_the_process_loudly(service: str, tmp_path: Path) -> None:
    """In whichever task, wherever it waits: one line names it and has the traceback, and the exit status is not 0."""
    names = tasks_of(service, tmp_path / "names")
    assert set(names) >= LEAST[service], "a task that must not end has no parent"
    for number, name in enumerate(names):
        with throwing(tmp_path / str(number), service, name) as process:
            said, _ = process.communicate(timeout=ENDS_SECONDS)
        lines = [line for line in map(json.loads, said.splitlines()) if line["level"] == "critical"]
        assert process.returncode == FAILED, (name, said)
        assert len(lines) == 1 and repr(name) in lines[0]["message"], (name, lines)
        assert ERROR in lines[0]["error"] and "Traceback" in lines[0]["error"]

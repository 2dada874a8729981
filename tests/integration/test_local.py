"""The whole system with one command, and what becomes of it when that is killed."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ordersys.local.packages import NoRabbitMQ, provision
from tests.integration.api import Api, answered, eventually, placing
from tests.running import addresses, local


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a system with a private broker."""
    try:
        provision()
    except NoRabbitMQ as error:
        pytest.skip(f"needs a private RabbitMQ: {error}")
    return tmp_path / "system"


def processes_of(folder: Path) -> list[int]:
    """Whatever runs with this folder in its command line or environment."""
    found = psutil.process_iter(["cmdline", "environ"])
    return [process.pid for process in found if str(folder) in repr(process.info)]


def test_a_hard_killed_system_leaves_no_process_and_its_folder_can_be_used_again(folder: Path) -> None:
    """kill -9 ends everything that was started; the next start finds the data again and refuses a third."""
    with local(folder) as first:
        with Api(addresses(first)) as api:
            order = api.place({"paper-a4": 1})
        first.kill()
    eventually(lambda: not processes_of(folder))
    with local(folder) as second:
        with Api(addresses(second)) as api:
            assert api.order(order.id) == order
        with local(folder) as third:
            _, said = third.communicate(timeout=60)
        assert third.returncode == 2
        assert "in use by another system" in said
        second.send_signal(signal.SIGTERM)
        assert second.wait(60) == 0
    assert processes_of(folder) == []


def test_the_demo_ends_with_one_json_object_that_says_it_came_out_even(folder: Path) -> None:
    """The last line of all that is printed, after everything was stopped."""
    command = [sys.executable, "-m", "ordersys.local", "--data-dir", str(folder), "--demo", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["ok"]
    assert (found["lost"], found["duplicated"], found["stock_conserved"]) == (0, 0, True)
    assert found["orders_created"] == found["recorded_by_notification_service_1"] > 300
    heard_by_all = found["orders_created"] + found["orders_updated"] + found["orders_rejected"]
    assert found["recorded_by_notification_service_2"] == heard_by_all
    assert processes_of(folder) == []


def test_a_service_that_dies_is_started_again(folder: Path) -> None:
    """Whoever stays with the running system sees to it that it goes on running."""
    with local(folder) as process, Api(addresses(process)) as api:
        before = api.place({"paper-a4": 1})
        victims = [p for p in psutil.process_iter(["cmdline"]) if "ordersys.order_service" in repr(p.info)]
        ours = [p for p in victims if str(folder) in repr(p.environ())]
        assert len(ours) == 1
        ours[0].kill()
        request = placing({"paper-a4": 2})
        order = eventually(lambda: answered(api, request))
        assert api.order(order.id) == order
        assert api.order(before.id) == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--amqp-url", "http://nowhere"], "ORDERSYS_AMQP_URL"),
        (["--amqp-url", "amqp://user:secret@127.0.0.1:1/%2F"], "127.0.0.1:1"),
        (["--order-service-port", "70000"], "70000"),
        (["--brokers", "2"], "--brokers"),
        (["--amqp-url", "amqp://user:secret@127.0.0.1:1,amqp://user:secret@127.0.0.1:x"], "number 2 of 2"),
        (["--data-dir", "/dev/null/x"], "/dev/null/x"),
        (["--program", "no-service=true"], "no-service"),
        (["--program", "order-service=/no/such/program"], "/no/such/program"),
    ],
)
def test_wrong_arguments_are_answered_by_one_line(arguments: list[str], named: str) -> None:
    """The thing is named, the password is not, and nothing is left running."""
    command = [sys.executable, "-m", "ordersys.local", "--plain", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (1, 2)
    assert named in done.stderr.splitlines()[-1]
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr

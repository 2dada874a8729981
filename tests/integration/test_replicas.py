"""Several processes of each service on a private PostgreSQL, with one command."""

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from itertools import takewhile
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ordersys.api.product.v1.product_service_pb2 import PlaceOrderRequest
from ordersys.grpc_client import discovery
from ordersys.grpc_client.connection import Client
from ordersys.grpc_client.peers import PEERS
from ordersys.local import state
from ordersys.runtime.metrics.table import LEADER
from tests.integration.api import eventually, placing
from tests.integration.conftest import skip_without_postgresql, skip_without_rabbitmq
from tests.running import addresses, local, rolling

MODULES = [peer.module for peer in PEERS]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a system with a private broker and database."""
    skip_without_rabbitmq()
    skip_without_postgresql()
    return tmp_path / "system"


def command(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """A command of the client to the system in `folder`."""
    client = [sys.executable, "-m", "ordersys.grpc_client", "--data-dir", str(folder), *words]
    return subprocess.run(client, capture_output=True, text=True, check=False, timeout=60)


def processes(folder: Path) -> dict[str, int]:
    """The process of each name."""
    by_name = json.loads((folder / state.FILE).read_text())["processes"]
    return {name: leader["pid"] for name, leader in by_name.items()}


async def place(client: Client, request: PlaceOrderRequest) -> str:
    """An order, whichever process takes it: its id."""
    return str((await client.product(client.products.PlaceOrder, request)).order.id)


async def placed_until(folder: Path, ended: "subprocess.Popen[str]") -> list[str]:
    """The orders placed one after the other until a process has ended; each is taken, or the test fails."""
    client = Client(discovery.located(dict.fromkeys(MODULES), str(folder)), 30)
    orders: list[str] = []
    try:
        while ended.poll() is None or not orders:
            orders.append(await place(client, placing({"sticky-notes": 1})))
    finally:
        await client.close()
    return orders


@pytest.mark.timeout(400)
def test_processes_are_restarted_one_at_a_time_while_all_orders_are_taken(folder: Path) -> None:
    """Two of each, at addresses of their own, known to clients; one that is killed comes back by itself."""
    with local(folder, "--postgres", "--replicas", "2") as launcher:
        shown = addresses(launcher)
        assert all(shown[f"ORDERSYS_{module.upper()}_ADDRESS"].count(",") == 1 for module in MODULES)
        assert "ORDERSYS_DATABASE_URL" not in shown  # it holds a password
        documents = json.loads(command(folder, "--json", "status").stdout)
        assert [document["health"] for document in documents] == ["SERVING"] * 8
        assert len({document["address"] for document in documents}) == 8
        assert "password" not in (folder / state.FILE).read_text()

        before = processes(folder)
        assert set(before) == {*MODULES, *(f"{module}-2" for module in MODULES)}
        psutil.Process(before["order_service-2"]).kill()
        eventually(lambda: processes(folder)["order_service-2"] != before["order_service-2"])
        assert command(folder, "wait").returncode == 0
        eventually(lambda: leaders(folder) == dict.fromkeys(MODULES, 1))

        before = processes(folder)
        with rolling(folder) as roll:
            orders = asyncio.run(placed_until(folder, roll))
        assert roll.returncode == 0, roll.stderr
        after = processes(folder)
        assert all(after[name] != before[name] for name in before)
        heard = eventually(lambda: heard_of(folder, orders[-1]))
        assert heard == 2
        launcher.send_signal(signal.SIGTERM)
        launcher.communicate(timeout=120)
        assert launcher.returncode == 0


@pytest.mark.timeout(400)
def test_a_page_that_dies_while_processes_are_restarted_is_started_again_at_once(folder: Path) -> None:
    """A process that does not end has its restart take half a minute; the page is back long before."""
    skip_without_rabbitmq()
    with local(folder, "--live") as launcher:
        addresses(launcher)
        said = launcher.stderr
        assert said is not None
        services = [psutil.Process(pid) for pid in processes(folder).values()]
        (page,) = [child for child in psutil.Process(launcher.pid).children() if "ordersys.live" in child.cmdline()]
        for service in services:
            service.suspend()
        with rolling(folder) as roll:
            assert next(line for line in said if line.startswith("restarting")) == "restarting order_service\n"
            page.kill()
            assert "live ended with status -9; starting it again" in next(said)
            for service in services:
                service.resume()
            ends = list(takewhile(lambda line: not line.startswith("all processes"), said))
            assert [line.split()[0] for line in ends] == ["restarting"] * 3
            assert roll.wait(60) == 0
        launcher.send_signal(signal.SIGTERM)
        launcher.communicate(timeout=120)
        assert launcher.returncode == 0


def leaders(folder: Path) -> dict[str, float]:
    """The number of processes of each service that say in their metrics that they lead."""
    by_service: Counter[str] = Counter()
    for process, address in json.loads((folder / state.FILE).read_text())["metrics"].items():
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        (shown,) = (family for family in families if family.name == LEADER.name)
        by_service[process.partition("-")[0]] += int(sum(sample.value for sample in shown.samples))
    return dict(by_service)


def heard_of(folder: Path, order_id: str) -> int | None:
    """The number of notifications of an order, None before both services have one."""
    done = command(folder, "-o", "jsonl", "notifications", "--order", order_id)
    count = len(done.stdout.splitlines())
    return count if count > 1 else None


@pytest.mark.timeout(400)
def test_a_killed_database_comes_back_with_its_standby_and_its_orders(folder: Path) -> None:
    """All of its processes at once; the orders that were answered are there."""
    with local(folder, "--postgres", "--standby") as launcher:
        addresses(launcher)
        placed = command(folder, "-o", "id", "place", "sticky-notes=1")
        assert placed.returncode == 0, placed.stderr
        order_id = placed.stdout.strip()
        primary = int((folder / "postgresql/primary/data/postmaster.pid").read_text().splitlines()[0])
        psutil.Process(primary).kill()
        eventually(lambda: command(folder, "--timeout", "5", "order", order_id).returncode == 0 or None, 90)
        assert command(folder, "--timeout", "60", "place", "sticky-notes=1").returncode == 0
        launcher.send_signal(signal.SIGTERM)
        launcher.communicate(timeout=120)
        assert launcher.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--replicas", "2"], "a SQLite file belongs to one"),
        (["--replicas", "0"], "--replicas"),
        (["--standby"], "add --postgres"),
        (["--postgres", "--database-url", "postgresql://u:secret@127.0.0.1/x"], "does nothing beside"),
        (["--database-url", "mysql://u:secret@127.0.0.1/x"], "--database-url: must be a PostgreSQL URL"),
        (["--database-url", "none"], "--database-url: must be a PostgreSQL URL"),
        (["--roll"], "name it with --data-dir"),
        (["--roll", "--data-dir", "/no/such/folder"], "no system runs with '/no/such/folder'"),
        (["--roll", "--data-dir", "/no/such/folder", "--demo"], "--demo does nothing beside --roll"),
    ],
)
def test_choices_that_cant_be_are_refused_in_one_line(arguments: list[str], named: str) -> None:
    """With the way out, without the password, before anything starts."""
    launcher = [sys.executable, "-m", "ordersys.local", "--plain", *arguments]
    done = subprocess.run(launcher, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done
    (said,) = done.stderr.splitlines()
    assert named in said
    assert "secret" not in said

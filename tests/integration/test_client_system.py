"""The commands that look after a running system: status, wait, doctor, events; and lists page by page."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.console import output
from ordersys.grpc_client import outcome
from ordersys.local import ports, state
from ordersys.local.system import System
from tests.contract.harness.injector import Injector
from tests.contract.harness.sample_orders import sample_order
from tests.integration.api import Api, eventually
from tests.integration.conftest import skip_without_rabbitmq
from tests.integration.test_client import CLIENT, SECONDS, client, environment, shell, started
from tests.running import addresses, local

LISTENING = "127.0.0.1:{}"


def nobody() -> str:
    """An address nobody listens at."""
    return LISTENING.format(ports.free(1)[0])


def documents(done: "subprocess.CompletedProcess[str]") -> Any:
    """The JSON documents that were printed for programs."""
    return json.loads(done.stdout)


def dead_letters(system: System) -> int:
    """The dead letters of Notification Service 2, as `status` counts them."""
    return int(documents(client(system, "status", "--json"))[3]["dead_letters"])


def test_status_tells_each_service_with_its_address_and_its_dead_letters(system: System, injector: Injector) -> None:
    """0 where all work; a dead letter is no failure of the service that keeps it."""
    done = client(system, "status")
    assert (done.returncode, done.stderr) == (outcome.DONE, "")
    for name, service in system.services.items():
        assert re.search(rf"{service.address}\s+SERVING", done.stdout), name
    before = dead_letters(system)
    injector.put_aside("notification-service-2", OrderCreated(order=sample_order()))
    eventually(lambda: dead_letters(system) == before + 1)


def test_status_is_3_where_a_service_does_not_work(system: System) -> None:
    """Those that do are told of all the same."""
    done = client(system, "status", "--order-service", nobody(), "-o", "jsonl")
    assert done.returncode == outcome.NOT_REACHABLE
    health = [json.loads(line)["health"] for line in done.stdout.splitlines()]
    assert health == ["SERVING", "does not answer", "SERVING", "SERVING"]


def test_wait_ends_when_all_serve_and_gives_up_in_time(system: System) -> None:
    """3 names those that are missing."""
    assert client(system, "wait").returncode == outcome.DONE
    address = nobody()
    late = client(system, "wait", "--timeout", "0.1", "--order-service", address)
    assert late.returncode == outcome.NOT_REACHABLE
    assert late.stderr == f"not everything works after 0.1 s: the Order Service at {address}: does not answer\n"


def examined(system: System, *words: str, **changes: str) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit status of `doctor`, and its findings that are not "ok"."""
    done = client(system, "doctor", "-o", "json", *words, **changes)
    assert "secret" not in done.stdout + done.stderr
    return done.returncode, {f["subject"]: f for f in documents(done) if f["state"] == "wrong"}


def test_a_healthy_environment_has_no_finding(system: System) -> None:
    """0, and every line says ok."""
    done = client(system, "doctor")
    assert (done.returncode, done.stderr) == (outcome.DONE, "")
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"ok"}


WRONG_SETTINGS: dict[str, tuple[str, str]] = {
    "ORDERSYS_PREFETCHH": ("7", "ORDERSYS_PREFETCHH"),
    "ORDERSYS_PREFETCH": ("many", "settings"),
    "ORDERSYS_AMQP_URL": ("amqp://user:12/secret@127.0.0.1:1/%2F", "settings"),
    "ORDERSYS_ORDER_SERVICE_ADDRESS": ("localhost", "settings"),
    "ORDERSYS_DATA_DIR": ("/dev/null", "ORDERSYS_DATA_DIR"),
}


@pytest.mark.parametrize("variable", WRONG_SETTINGS)
def test_doctor_names_a_wrong_setting_with_its_way_out(system: System, variable: str) -> None:
    """2; a password in it is in no finding."""
    value, subject = WRONG_SETTINGS[variable]
    status, wrong = examined(system, **{variable: value})
    assert status == outcome.WRONG_USE
    assert wrong[subject]["remedy"]


def test_doctor_says_who_answers_at_a_wrong_address(system: System) -> None:
    """Another service of the system, which would answer every call UNIMPLEMENTED."""
    status, wrong = examined(system, "--order-service", system.services["product_service"].address)
    assert status == outcome.WRONG_USE
    assert "the Product Service answers instead" in wrong["Order Service"]["text"]
    assert "are both at" in wrong["addresses"]["text"]


def test_doctor_tells_nobody_from_somebody_who_speaks_something_else(system: System) -> None:
    """3: each has a way out of its own."""
    status, wrong = examined(system, "--order-service", nobody())
    assert (status, list(wrong)) == (outcome.NOT_REACHABLE, ["Order Service"])
    assert "nothing listens" in wrong["Order Service"]["text"]
    assert "python -m ordersys.order_service" in wrong["Order Service"]["remedy"]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        status, wrong = examined(system, "--order-service", LISTENING.format(silent.getsockname()[1]))
    assert (status, list(wrong)) == (outcome.NOT_REACHABLE, ["Order Service"])
    assert "does not answer as a gRPC service" in wrong["Order Service"]["text"]


def test_doctor_names_a_broker_that_was_chosen_and_does_not_answer(system: System) -> None:
    """Without its password."""
    status, wrong = examined(system, ORDERSYS_AMQP_URL=f"amqp://user:secret@{nobody()}/%2F")
    assert (status, list(wrong)) == (outcome.NOT_REACHABLE, ["broker"])


def test_doctor_finds_the_broker_of_the_system_in_the_folder_that_is_named(tmp_path: Path) -> None:
    """The default is looked at where neither names one."""
    skip_without_rabbitmq()
    folder = str(tmp_path / "system")
    given = {name: value for name, value in os.environ.items() if not name.startswith("ORDERSYS_")}
    with local(Path(folder)) as process:
        addresses(process)
        url = state.running(folder).broker["ORDERSYS_AMQP_URL"]
        for words, variables in (["--data-dir", folder], {}), ([], {state.DATA_DIR: folder}):
            done = subprocess.run(
                [*CLIENT, *words, "doctor", "-o", "json"],
                env={**given, **variables},
                timeout=SECONDS,
                check=False,
                capture_output=True,
                encoding="utf-8",
            )
            (broker,) = [finding for finding in documents(done) if finding["subject"] == "broker"]
            assert broker["state"] == "ok"
            assert broker["text"].removeprefix("answers at ") in url


def orders_of(api: Api, system: System, folder: Path, count: int) -> tuple[str, list[str]]:
    """A customer with so many orders, and their ids."""
    customer = f"pages-{api.new_product(count)}"[:60]
    product = api.new_product(count)
    file = folder / "orders.json"
    file.write_text(json.dumps([{"customer_id": customer, "items": [{"product_id": product, "quantity": 1}]}] * count))
    placed = client(system, "place", "--file", str(file), "-o", "id")
    ids = placed.stdout.split()
    assert len(ids) == count
    return customer, ids


def test_a_list_that_is_cut_says_so_and_goes_on_page_by_page(system: System, api: Api, tmp_path: Path) -> None:
    """All pages together are the whole list; the last one says nothing."""
    customer, ids = orders_of(api, system, tmp_path, 12)
    pages: list[list[str]] = []
    page: list[str] = []
    while not pages or page:
        done = client(system, "orders", "--customer", customer, "--limit", "5", *page)
        assert done.returncode == outcome.DONE, done.stderr
        pages.append([line.split()[0] for line in done.stdout.splitlines()[2:]])
        more = re.search(r"^more: .* (--page) (\S+); --limit all", done.stderr)
        page = list(more.groups()) if more else []
    assert [len(p) for p in pages] == [5, 5, 2]
    assert sorted(id_ for shown in pages for id_ in shown) == sorted(ids)
    whole = client(system, "orders", "--customer", customer, "--limit", "all", "-o", "id")
    assert whole.stdout.split() == [id_ for shown in pages for id_ in shown]
    assert whole.stderr == ""


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "id"])
def test_a_default_limit_never_cuts_in_silence(system: System, api: Api, tmp_path: Path, form: str) -> None:
    """Neither for people nor for programs; standard output has the list alone."""
    customer, ids = orders_of(api, system, tmp_path, 101)
    done = client(system, "orders", "--customer", customer, "-o", form)
    assert done.stdout.count('"update_time"' if form.startswith("json") else ids[0][:8]) == 100
    assert done.stderr.startswith("more: older orders; the next page begins with --page ")


def test_a_token_of_another_list_is_refused(system: System, api: Api, tmp_path: Path) -> None:
    """As the contract says of page tokens."""
    customer, _ = orders_of(api, system, tmp_path, 2)
    done = client(system, "orders", "--customer", customer, "--page", "b3RoZXI=")
    assert done.returncode == outcome.REFUSED
    assert len(done.stderr.splitlines()) == 1


def test_ids_alone_are_what_the_next_command_takes(system: System, api: Api) -> None:
    """For scripts."""
    product = api.new_product(3)
    placed = client(system, "place", f"{product}=1", "-o", "id").stdout.strip()
    assert client(system, "order", placed, "-o", "id").stdout == f"{placed}\n"
    assert api.order(placed).items[0].product_id == product


def test_a_misspelt_product_is_answered_by_the_one_that_was_meant(system: System) -> None:
    """As far as there is one like it."""
    for words in (("product", "oak-dsk"), ("place", "oakdesk=1")):
        assert client(system, *words).stderr.endswith("Did you mean oak-desk?\n")
    assert "Did you mean" not in client(system, "product", "xyzzy").stderr


@contextmanager
def following(system: System, api: Api, *words: str, order: Order | None = None) -> Iterator["subprocess.Popen[str]"]:
    """`events --follow` that has shown what was before, be it an order made for that; ended at the end."""
    first = order or api.place({api.new_product(1): 1})
    eventually(lambda: api.heard(2, first.id))
    with started(system, "events", "--follow", "--limit", "1", *words) as process:
        try:
            lines_until(process, first.id)
            yield process
        finally:
            process.kill()


def lines_until(process: "subprocess.Popen[str]", wanted: str) -> Sequence[str]:
    """The lines up to the first with `wanted`."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if wanted in line:
            return lines
    raise AssertionError(f"it ended without {wanted}: {lines}")


def queues(system: System) -> set[str]:
    """The queues of the broker, none of them with more than its subscriber; none where the broker is not ours.

    A subscriber that has heard nothing for a while subscribes anew: between the two nobody takes from its queue.
    """
    if not system.nodes:
        return set()
    (_, *lines) = system.nodes[0].control("-q", "list_queues", "name", "consumers").splitlines()
    consumers = dict(line.split("\t") for line in lines)
    assert set(consumers.values()) <= {"0", "1"}, consumers
    return set(consumers)


def test_followed_events_are_shown_as_they_come_and_taken_from_nobody(system: System, api: Api) -> None:
    """Each once; the subscribers record it all the same, the broker gets no queue, and Ctrl-C leaves nothing to say."""
    product, before = api.new_product(9), queues(system)
    with following(system, api, "-o", "jsonl") as process:
        orders = [api.place({product: 1}) for _ in range(3)]
        for order in orders:
            (*_, line) = lines_until(process, order.id)
            assert json.loads(line)["order_id"] == order.id
            assert queues(system) == before
        api.cancel(orders[0])
        (*_, line) = lines_until(process, orders[0].id)
        assert json.loads(line)["event"]["@type"].endswith("OrderUpdated")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out, err) == (128 + signal.SIGINT, "", "")
    for order in orders:
        eventually(lambda order=order: api.heard(1, order.id) and api.heard(2, order.id))  # type: ignore[misc]
    assert queues(system) == before


def test_events_of_one_order_are_followed_alone(system: System, api: Api) -> None:
    """--order, on standard output as a table that begins at once."""
    product = api.new_product(9)
    order, other = api.place({product: 1}), api.place({product: 1})
    with following(system, api, "--order", order.id, order=order) as process:
        api.cancel(other)
        api.cancel(order)
        shown = lines_until(process, "OrderUpdated")
    assert all(line.startswith(order.id) for line in shown) and other.id not in "".join(shown)


def test_a_follower_whose_reader_goes_ends_without_another_event(system: System) -> None:
    """It would stay for ever where nothing happens any more."""
    nothing = "--order 00000000-0000-4000-8000-000000000000"
    done = shell(system, f'"$@" events --follow {nothing} | head -n 1; exit ${{PIPESTATUS[0]}}')
    assert (done.returncode, done.stderr) == (output.CLOSED, "")


def test_a_follower_waits_for_a_service_that_is_away(system: System, api: Api) -> None:
    """It says so once, and misses nothing."""
    service, product = system.services["notification_service_2"], api.new_product(9)
    with following(system, api, "-o", "jsonl", "--timeout", "1") as process:
        assert process.stderr is not None
        try:
            service.kill()
            assert process.stderr.readline().endswith("Waiting for it.\n")
            order = api.place({product: 1})
        finally:
            service.start()
            service.wait_healthy()
        lines_until(process, order.id)
        assert process.stderr.readline() == "it answers again\n"


def test_wait_finds_a_system_that_is_still_starting_by_its_folder(tmp_path: Path, system: System) -> None:
    """In a script: start it in the background, wait, go on; afterwards the folder says that nobody runs there."""
    if not system.nodes:
        pytest.skip("needs a private RabbitMQ")
    folder = tmp_path / "orders"
    command = [*CLIENT, "--data-dir", str(folder)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ORDERSYS_")}
    with local(folder, insecure=False) as launcher:
        waited = subprocess.run([*command, "wait"], env=clean, timeout=SECONDS * 2, check=False)
        assert waited.returncode == outcome.DONE
        by_flag = subprocess.run([*command, "products", "-o", "id"], env=clean, capture_output=True, check=True)
        by_variable = subprocess.run(
            [*CLIENT, "products", "-o", "id"],
            env={**clean, "ORDERSYS_DATA_DIR": str(folder)},
            capture_output=True,
            check=True,
        )
        assert b"oak-desk" in by_flag.stdout and by_flag.stdout == by_variable.stdout
        launcher.send_signal(signal.SIGTERM)
        launcher.wait(SECONDS)
    variable = {**clean, "ORDERSYS_DATA_DIR": str(folder)}
    for words, given in ((command, clean), (CLIENT, variable)):
        late = subprocess.run([*words, "products"], env=given, capture_output=True, text=True, check=False)
        assert late.returncode == outcome.NOT_REACHABLE  # a script that repeats what was not answered goes on
        assert f"no system runs with '{folder}'" in late.stderr


def test_bash_completes_a_line(tmp_path: Path, system: System) -> None:
    """A real one, on a terminal of its own: what the Tab key makes of a line is run."""
    if not Path("/bin/bash").exists():
        pytest.skip("needs bash")
    typed = tmp_path / "typed"
    command = tmp_path / "ordersys"
    command.write_text(
        f'#!/bin/sh\nif [ "$1" = completion ]; then exec {sys.executable} -m ordersys.grpc_client "$@"; fi\n'
        f'echo "$@" >>{typed}\n'
    )
    command.chmod(0o700)
    changes = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "INPUTRC": "/dev/null", "TERM": "dumb"}
    terminal, child = os.openpty()
    bash = ["/bin/bash", "--norc", "--noprofile", "-i"]
    with subprocess.Popen(
        bash, stdin=child, stdout=child, stderr=child, env=environment(system, **changes), start_new_session=True
    ) as shell_:
        os.close(child)
        os.write(terminal, b'eval "$(ordersys completion bash)"\n')
        for line in (
            b"ordersys pla\t --cust\t x\n",
            b"ordersys orders --state=pa\t -o jsonl\n",
            b"ordersys ord\ts\n",
        ):
            os.write(terminal, line)
        os.write(terminal, b"exit\n")
        while _read(terminal):
            pass
        assert shell_.wait(SECONDS) is not None
    os.close(terminal)
    assert typed.read_text().splitlines() == ["place --customer x", "orders --state=paid -o jsonl", "orders"]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the last process of the terminal has ended (Linux: EIO)
        return b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_waiting_quietly(number: signal.Signals) -> None:
    """With its own status: a script tells it from a service that is missing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = LISTENING.format(silent.getsockname()[1])
        with subprocess.Popen([*CLIENT, "wait", "--order-service", address], stderr=subprocess.PIPE) as process:
            connection, _ = silent.accept()
            with connection:
                process.send_signal(number)
                _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (128 + number, b"")

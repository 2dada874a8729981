"""The command line client as a process: what it prints, where it prints to, and how it ends."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ordersys.console import output
from ordersys.grpc_client import outcome
from ordersys.local import ports
from ordersys.local.system import System
from tests.integration.api import Api, eventually, new_id
from tests.running import repeated

SECONDS = 60
MANY = 2500
CLIENT = (sys.executable, "-m", "ordersys.grpc_client")
AGAIN = "repeat the same command to go on: what is placed is not placed again"


def environment(system: System, **changes: str) -> dict[str, str]:
    """That of a client of the system."""
    return {**os.environ, **system.environment, **changes}


def client(system: System, *words: str | bytes, **changes: str) -> "subprocess.CompletedProcess[str]":
    """A client that has ended, its output piped."""
    return subprocess.run(
        [*CLIENT, *words],
        env=environment(system, **changes),
        timeout=SECONDS,
        check=False,
        capture_output=True,
        encoding="utf-8",
    )


def started(system: System, *words: str, **changes: str) -> "subprocess.Popen[str]":
    """A client under way, its output piped; to be used as a context."""
    pipe = subprocess.PIPE
    return subprocess.Popen([*CLIENT, *words], env=environment(system, **changes), stdout=pipe, stderr=pipe, text=True)


def shell(system: System, script: str, **changes: str) -> "subprocess.CompletedProcess[str]":
    """A script in which "$@" is the client."""
    return subprocess.run(
        ["/bin/bash", "-c", script, "bash", *CLIENT],
        env=environment(system, **changes),
        timeout=SECONDS,
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The path of a file of orders."""
    return tmp_path / "orders.json"


def write(file: Path, product: str, count: int = 1) -> None:
    """A file of so many orders of one unit, all alike."""
    file.write_text(json.dumps([{"customer_id": "anna", "items": [{"product_id": product, "quantity": 1}]}] * count))


def test_a_file_placed_twice_is_placed_once(system: System, api: Api, file: Path) -> None:
    """The same orders are answered; two equal entries are two orders; a batch of another name is placed again."""
    product = api.new_product(100)
    write(file, product, 3)
    first = client(system, "place", "--file", str(file))
    again = client(system, "place", "--file", str(file))
    assert first.returncode == again.returncode == 0
    assert first.stdout == again.stdout
    assert len({line.split()[1] for line in first.stdout.splitlines()}) == 3
    assert again.stderr == f"{file}: 3 of 3 orders are placed\n"
    assert api.stock(product) == (97, 3)
    for _ in range(2):
        assert client(system, "place", "--file", str(file), "--batch", "more").returncode == 0
    assert api.stock(product) == (94, 6)


def test_what_becomes_of_each_entry_of_a_file_is_told(system: System, api: Api, file: Path) -> None:
    """One that is refused does not hinder the others; programs find each at its place."""
    scarce, other = api.new_product(1), api.new_product(9)
    orders = [{"customer_id": "anna", "items": [{"product_id": p, "quantity": 2}]} for p in (other, scarce, other)]
    file.write_text(json.dumps(orders))
    done = client(system, "place", "--file", str(file))
    assert done.returncode == outcome.REFUSED
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["1", "3"]
    refused, summary = done.stderr.splitlines()
    assert refused.startswith(f"entry 2: Not enough stock of {scarce} (asked 2, available 1)")
    assert summary == f"{file}: 2 of 3 orders are placed, 1 refused"
    result = client(system, "--json", "place", "--file", str(file))
    first, second, third = json.loads(result.stdout)
    assert second["error"]["reason"] == "OUT_OF_STOCK"
    assert [first["id"], third["id"]] == [line.split()[1] for line in done.stdout.splitlines()]
    assert result.returncode == outcome.REFUSED


def test_a_wrong_file_places_nothing(system: System, api: Api, file: Path) -> None:
    """File, entry and key in one line, whatever its name is."""
    product = api.new_product(9)
    write(file, product, 2)
    hostile = file.parent / "a\x1b[31m\nb.json"
    hostile.write_text(file.read_text()[:-1] + ', {"customer_id": "Anna", "items": []}]')
    done = client(system, "place", "--file", str(hostile))
    assert done.returncode == outcome.WRONG_USE
    assert done.stderr[:-1].isprintable()
    assert "a\\x1b[31m\\nb.json: entry 3: customer_id: must be 1 to 64" in done.stderr
    assert api.stock(product) == (9, 0)


@pytest.mark.parametrize(("number", "words"), [(signal.SIGINT, ()), (signal.SIGTERM, ("--json",)), (signal.SIGHUP, ())])
def test_whoever_is_interrupted_says_how_far_it_came_and_goes_on(
    system: System, api: Api, file: Path, number: signal.Signals, words: Sequence[str]
) -> None:
    """The same command places the rest, and nothing twice."""
    product = api.new_product(MANY)
    write(file, product, MANY)
    with started(system, *words, "place", "--file", str(file)) as process:
        eventually(lambda: api.stock(product)[1], SECONDS)
        process.send_signal(number)
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 128 + number
    assert err.startswith(f"interrupted: {file}: ") and f" of {MANY} orders are placed" in err and AGAIN in err
    assert len(err.splitlines()) == 1
    said = int(err.split(": ")[2].split()[0])
    if words:
        entries = json.loads(out)
        assert len(entries) == MANY and entries[-1]["error"]["reason"] == "NOT_ASKED"
        assert sum("error" not in entry for entry in entries) == said
    else:
        assert len(out.splitlines()) <= said
    assert client(system, "place", "--file", str(file)).returncode == 0
    assert api.stock(product) == (0, MANY)


def test_ctrl_c_while_modules_are_imported_is_quiet(system: System) -> None:
    """Imports take most of the time of a short command."""
    command = [sys.executable, "-X", "importtime", "-m", "ordersys.grpc_client", "products"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment(system), stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stderr is not None
        assert any("google.protobuf" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (130, "")
    assert all(line.startswith("import time:") for line in err.splitlines())


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_an_interrupted_change_says_how_to_learn_its_outcome(system: System, words: Sequence[str]) -> None:
    """With its request_id: typed again without it, it would be another order."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with started(system, *words, "--product-service", address, "place", "oak-desk=1") as process:
            connection, _ = silent.accept()
            with connection:
                connection.recv(1)
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    said = json.loads(out)["error"]["message"] if words else err
    assert said.startswith("Interrupted. Whether the request took effect is open: repeat it with --request-id ")
    assert "Traceback" not in err


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words",
    [
        "orders --limit 2000",
        "--json orders --limit 2000",
        "product oak-desk",
        "--json nonsense",
        "--help",
        "status --order-service 127.0.0.1:1",
    ],
)
def test_a_reader_that_has_gone_ends_it_quietly(system: System, words: str, unbuffered: str) -> None:
    """141, as other programs end."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run(
            [*CLIENT, *words.split()],
            env=environment(system, PYTHONUNBUFFERED=unbuffered),
            timeout=SECONDS,
            check=False,
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (output.CLOSED, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_in_the_middle_ends_it_quietly(system: System, unbuffered: str) -> None:
    """0 where all had been written before it went."""
    script = '"$@" orders --limit 2000 | head -n 1 >/dev/null; exit ${PIPESTATUS[0]}'
    done = shell(system, script, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode in (output.CLOSED, outcome.DONE)
    assert done.stderr == ""


@pytest.mark.parametrize(
    "words",
    [
        "products",
        "--json products",
        "--help",
        "--json nonsense",
        "demo --orders 1",
        "status --order-service 127.0.0.1:1",
    ],
)
def test_a_full_disk_is_one_line(system: System, words: str) -> None:
    """With a status of its own: what was asked may have been done."""
    done = shell(system, f'"$@" {words} >/dev/full')
    assert done.returncode == output.FAILED
    assert done.stderr == "python -m ordersys.grpc_client: the output can't be written: No space left on device\n"


@pytest.mark.parametrize("words", ["products", "--json products", "--json nonsense", "demo --orders 1", "status"])
def test_a_closed_output_is_one_line(system: System, words: str) -> None:
    """As with a full disk; no connection takes its place."""
    for closing in (">&-", "<&- >&-"):
        done = shell(system, f'"$@" {words} {closing}')
        line = "python -m ordersys.grpc_client: the output can't be written: it is closed\n"
        assert (done.returncode, done.stderr) == (output.FAILED, line)
    done = shell(system, f'"$@" {words} >&- 2>&-')
    assert (done.returncode, done.stderr) == (output.FAILED, "")


def test_a_command_without_errors_to_tell_needs_nowhere_to_tell_them(system: System) -> None:
    """Its output was written."""
    for closing in ("2>&-", "2>/dev/full"):
        done = shell(system, f'"$@" products {closing}')
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout


def test_what_is_piped_is_a_line_a_row(system: System) -> None:
    """Whole ids, in columns, however narrow the terminal is said to be."""
    ids = [order["id"] for order in json.loads(client(system, "--json", "orders").stdout)]
    _, header, *rows = client(system, "orders", COLUMNS="20").stdout.splitlines()
    assert [row.split()[0] for row in rows] == ids
    assert header.split()[0] == "order"


def on_terminal(system: System, columns: str, *words: str, **changes: str) -> tuple[int, str]:
    """The exit status of a client on a terminal so wide, and what it shows there."""
    parent, child = pty.openpty()
    try:
        command = environment(system, COLUMNS=columns, **changes)
        with subprocess.Popen([*CLIENT, *words], env=command, stdout=child, stderr=child) as process:
            os.close(child)
            shown = b""
            while part := _read(parent):
                shown += part
        return process.returncode, shown.decode().replace("\r\n", "\n")
    finally:
        os.close(parent)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the last process of the terminal has ended (Linux: EIO)
        return b""


@pytest.mark.parametrize("columns", ["200", "80", "40", "1"])
def test_ids_stay_whole_on_any_terminal(system: System, columns: str) -> None:
    """One can be marked and copied."""
    ids = [order["id"] for order in json.loads(client(system, "--json", "orders", "--limit", "5").stdout)]
    status, shown = on_terminal(system, columns, "orders", "--limit", "5", TERM="xterm")
    assert status == 0
    assert [line.split()[0] for line in shown.splitlines() if line.split()[0] in ids] == ids


ODD = {
    "no HOME, no TERM": {"HOME": "", "TERM": ""},
    "no colours": {"NO_COLOR": "1", "TERM": "xterm"},
    "warnings are errors": {"PYTHONWARNINGS": "error"},
    "ASCII": {"PYTHONIOENCODING": "ascii"},
    "POSIX": {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "Latin 1": {"PYTHONIOENCODING": "latin-1:strict", "PYTHONUTF8": "0"},
    "a proxy": {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "grpc_proxy": "127.0.0.1:9"},
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_environment_makes_no_difference(system: System, name: str) -> None:
    """But that what can't be encoded is shown as an escape."""
    done = subprocess.run(
        [*CLIENT, "product", "oak-desk"],
        env=environment(system, **ODD[name]),
        timeout=SECONDS,
        check=True,
        capture_output=True,
    )
    assert done.stderr == b""
    said = done.stdout.decode("latin-1" if name == "Latin 1" else "utf-8")
    assert ("160 \\xd7 80" if name in ("ASCII", "POSIX") else "160 × 80") in said


@pytest.mark.parametrize("name", ["ASCII", "POSIX"])
def test_a_demo_where_letters_are_missing_ends_well(system: System, name: str) -> None:
    """It says 3 × something."""
    done = client(system, "demo", "--orders", "5", **ODD[name])
    assert done.returncode == 0, done.stderr
    assert "3 \\xd7 " in done.stdout


@pytest.mark.parametrize("words", [("product",), ("order",), ("place", "lamp=1", "--customer"), ("place", "--file")])
def test_bytes_that_are_no_text_are_refused_in_one_line(system: System, words: Sequence[str]) -> None:
    """Wherever they stand, in any locale."""
    for changes in ({}, ODD["POSIX"]):
        done = client(system, *words, b"\xff\xfe", **changes)
        assert done.returncode == outcome.WRONG_USE
        assert len(done.stderr.splitlines()) == 1 and "is not UTF-8" in done.stderr


def test_a_file_may_have_any_name(system: System, api: Api, file: Path) -> None:
    """Also where the locale has no such letters."""
    named = file.with_name("ü ✓.json")
    write(named, api.new_product(1))
    for changes in ({}, ODD["POSIX"]):
        assert client(system, "place", "--file", str(named), **changes).returncode == 0


def test_ids_may_be_typed_in_upper_case(system: System, api: Api) -> None:
    """As the contract says."""
    order = api.place({api.new_product(1): 1})
    assert json.loads(client(system, "--json", "order", order.id.upper()).stdout)["id"] == order.id
    eventually(lambda: api.heard(1, order.id))
    heard = json.loads(client(system, "--json", "notifications", "--service", "1", "--order", order.id.upper()).stdout)
    assert [notification["order_id"] for notification in heard["notification_service_1"]] == [order.id]


@pytest.mark.parametrize("command", ["dead-letters", "notifications"])
def test_a_service_that_does_not_answer_does_not_hide_the_other(system: System, command: str) -> None:
    """The answer of the one is shown; the other is named."""
    nobody = f"127.0.0.1:{ports.free(1)[0]}"
    words = ("--notification-service-2", nobody, command)
    done = client(system, *words)
    assert done.returncode == outcome.NOT_REACHABLE
    assert done.stdout.startswith("Notification Service 1: ")
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"The Notification Service 2 at {nobody} does not answer; start it with")
    result = client(system, "--json", *words)
    document = json.loads(result.stdout)
    assert isinstance(document["notification_service_1"], list)
    assert document["notification_service_2"]["error"]["code"] == "UNAVAILABLE"
    assert result.returncode == outcome.NOT_REACHABLE


STATUSES: dict[tuple[str, ...], int] = {
    ("products",): outcome.DONE,
    ("orders", "--customer", "nobody-at-all"): outcome.DONE,
    ("notifications", "--limit", "1"): outcome.DONE,
    ("dead-letters",): outcome.DONE,
    ("product", "no-such-thing"): outcome.REFUSED,
    ("order", "0" * 8 + "-0000-4000-8000-" + "0" * 12): outcome.REFUSED,
    ("place", "no-such-thing=1"): outcome.REFUSED,
    ("dead-letters", "discard", "0" * 32): outcome.REFUSED,
    ("place", "oak-desk"): outcome.WRONG_USE,
    ("--product-service", "localhost", "products"): outcome.WRONG_USE,
    ("--product-service", "127.0.0.1:1", "products"): outcome.NOT_REACHABLE,
    ("--order-service", "127.0.0.1:1", "orders"): outcome.NOT_REACHABLE,
}


@pytest.mark.parametrize("words", STATUSES, ids=" ".join)
def test_every_outcome_has_its_status_and_is_one_document(system: System, words: tuple[str, ...]) -> None:
    """For people a text, for programs one JSON document on standard output."""
    for_people, for_programs = client(system, *words), client(system, "--json", *words)
    assert for_people.returncode == for_programs.returncode == STATUSES[words]
    assert for_people.stdout or for_people.stderr
    assert len(for_programs.stdout.splitlines()) == 1 and json.loads(for_programs.stdout) is not None
    assert for_programs.stderr == ""


def test_an_empty_file_places_nothing(system: System, file: Path) -> None:
    """And is nothing wrong."""
    file.write_text("[]")
    done = client(system, "--json", "place", "--file", str(file))
    assert (done.returncode, done.stdout) == (0, "[]\n")


def demo(system: System, *words: str) -> dict[str, Any]:
    """The output for programs of a demo that came out even."""
    done = client(system, "--json", *words, "demo", "--orders", "100")
    assert done.returncode == 0, (done.stdout, done.stderr)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture
def others(system: System) -> Iterator[None]:
    """Somebody who orders and cancels all the time."""
    with Api(system.environment) as api:
        bought, cancelled = api.new_product(1_000_000), api.new_product(1_000_000)

        def work() -> None:
            order = api.place({cancelled: 1}, new_id())
            api.place({bought: 1}, new_id())
            api.cancel(order)

        with repeated(work):
            yield


@pytest.mark.usefixtures("others")
def test_a_demo_leaves_out_what_others_do(system: System) -> None:
    """Its own orders and events come out even; that there were others is noted."""
    report = demo(system)
    assert report["notes"]
    assert (report["lost"], report["duplicated"], report["troubles"]) == (0, 0, [])
    assert report["recorded_by_notification_service_1"] == report["orders_created"] == 102


def test_a_demo_after_an_interrupted_one_comes_out_even(system: System, api: Api) -> None:
    """Orders the first has left behind are none of the second's."""
    before = api.newest_order().id
    with started(system, "demo", "--orders", "5000") as process:
        eventually(lambda: api.newest_order().id != before, SECONDS)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert err.startswith("Interrupted.")
    assert "Traceback" not in err
    assert demo(system)["ok"]


def test_a_demo_on_a_broker_that_takes_nothing_says_so_once(private_system: System) -> None:
    """A finding of each kind, and the likely cause."""
    with private_system as system:
        system.nodes[0].control("set_disk_free_limit", "mem_relative", "1000000.0")
        done = client(system, "--timeout", "10", "demo", "--orders", "100")
        result = client(system, "--json", "--timeout", "10", "demo", "--orders", "100")
    assert done.returncode == result.returncode == outcome.REFUSED
    assert done.stdout.count("TROUBLE") <= 3
    assert "101 more of this kind" in done.stdout
    assert "the broker takes nothing" in done.stdout
    report = json.loads(result.stdout)
    assert report["lost"] > 200 and len(report["troubles"]) <= 3
    assert "the broker takes nothing" in report["likely_causes"][0]

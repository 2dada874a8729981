"""The report of a run says how it ended, and holds no secret: tried in runs of pytest on laws that are made up."""

import json
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.contract.events import Event
from tests.contract.harness.certificate import Sizes, Subject
from tests.contract.harness.client import ORDER, PRODUCT, ContractClient
from tests.contract.harness.conformance_report import Report, Verdict
from tests.contract.harness.event_tap import Received
from tests.contract.harness.system_under_test import SystemUnderTest

ROOT = Path(__file__).parent.parent.parent
URL = "amqp://anna:s3cr3t-w0rd@rabbit.example:5672/trial"
CONFTEST = """
from tests.contract.harness import conformance_report
from tests.contract.harness.certificate import Judged, Sizes, Subject
from tests.contract.harness.conformance_report import Report

conformance_report.laws = lambda: iter(())  # there are those of this run only

def pytest_configure(config):
    subject = Subject("Mine", "1", (Judged("order-service", "address", "h:1"),))
    files = ["r.json", "r.html", "r.svg"]
    config.report = Report(subject, Sizes(7, 8, False, 20.0), frozenset(), files)
    config.pluginmanager.register(config.report)

def pytest_collection_finish(session):
    for item in session.items:
        session.config.report.expect(item, frozenset())
"""
SUBJECT, SIZES = Subject("Mine", "1", ()), Sizes(7, 8, False, 20.0)
KEPT = 'def test_a():\n    """A sentence."""\n'


class Run(NamedTuple):
    """A run: its exit status, what it printed, and its reports."""

    status: int
    said: str
    report: dict[str, Any]
    page: str
    picture: str


def run(folder: Path, laws: str, more: str = "", *options: str) -> Run:
    """Runs pytest on these laws."""
    (folder / "conftest.py").write_text(CONFTEST + more)
    (folder / "test_laws.py").write_text(laws)
    # Its own, since pytest would take that of a folder above, where temporary folders are below the project.
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {shlex.quote(str(ROOT))}\nmarkers = law: a law\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--tb=no", "-rN"]
    done = subprocess.run(
        [*command, *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    files = [(folder / f"r.{kind}").read_text(encoding="utf-8") for kind in ("json", "html", "svg")]
    return Run(done.returncode, done.stdout + done.stderr, json.loads(files[0]), *files[1:])


@pytest.mark.parametrize(
    ("how", "more", "status"),
    [
        ("raise KeyboardInterrupt", "", 2),
        ("__import__('pytest').exit('enough', returncode=0)", "", 1),
        ("pass", "\ndef pytest_runtest_teardown(item):\n    assert item.name == 'test_a', 'not mine'\n", 1),
        ("pass", "\ndef pytest_runtest_logfinish(nodeid):\n    1 / ('_a' in nodeid)\n", 3),
    ],
    ids=["Ctrl-C", "pytest.exit", "a teardown that fails", "an error of the suite"],
)
def test_a_run_that_ended_early_is_no_certificate(tmp_path: Path, how: str, more: str, status: int) -> None:
    """Not ok, whatever was kept until then: a head line that says so, and no green badge."""
    ended = run(tmp_path, f"{KEPT}\ndef test_b():\n    {how}\n\ndef test_c():\n    pass\n", more)
    assert ended.status == status, ended.said
    assert ended.report["ok"] is ended.report["summary"]["ok"] is False
    assert "#2e7d32" not in ended.picture
    if "teardown" not in more:
        assert ended.report["interrupted"] is True
        assert "run interrupted" in ended.picture
        assert "the run was interrupted" in ended.page
        assert "of 3 laws were tried" in ended.report["summary"]["troubles"][0]


def test_a_run_to_the_end_is_not_interrupted(tmp_path: Path) -> None:
    """The same laws."""
    whole = run(tmp_path, KEPT)
    assert (whole.status, whole.report["interrupted"], whole.report["summary"]["troubles"]) == (0, False, [])


def test_no_secret_of_a_url_gets_into_a_report(tmp_path: Path) -> None:
    """Not from a text that a law fails with, however it got there; host and virtual host stay."""
    whole = run(tmp_path, f"def test_a():\n    assert False, {f'it is {URL}?ssl_options=x-{URL}'!r}\n")
    texts = [whole.said, json.dumps(whole.report), whole.page]
    for text in texts:
        assert "s3cr3t" not in text
        assert "anna" not in text
        assert "rabbit.example:5672/trial" in text


def test_cases_that_were_left_out_make_a_part_of_it(tmp_path: Path) -> None:
    """Of a law that was tried with the others: its badge is not that of the whole law."""
    laws = f"import pytest\n\npytestmark = pytest.mark.law\n\n{KEPT}\n\n"
    cases = '@pytest.mark.parametrize("n", ["one", "two"])\ndef test_b(n):\n    pass\n'
    part = run(tmp_path, laws + cases, "", "-k", "test_a or one")
    assert (part.report["ok"], part.report["partial"]) == (True, True)
    assert "partial" in part.picture
    assert run(tmp_path, laws + cases).report["partial"] is False


def test_a_service_that_publishes_elsewhere_is_asked_about(tmp_path: Path) -> None:
    """Once, where it has orders, and laws waited for their events."""
    broken = Report(SUBJECT, SIZES, frozenset(), [])
    verdict = Verdict("events/a", "One.", (), frozenset({"broker", ORDER}), results=["failed"])
    system = SystemUnderTest.__new__(SystemUnderTest)
    system.addresses, system.event_tap, system.client = {ORDER: "h:1"}, None, ContractClient({}, 1.0)
    broken.systems.append(system)
    broken._laws["events/a"] = verdict
    assert broken.troubles() == []
    system.client.orders.add("an-order")
    assert broken.troubles() == [
        "no event of order-service was heard at all on the broker of --amqp-url: is it connected to another broker?"
    ]


def received(exchange: str) -> Received:
    """The event of an order that was created, which the Order Service publishes."""
    event = Event("event", "OrderCreated", "order", 1, OrderCreated(), b"")
    return Received(exchange, "", None, b"", event, "")


@pytest.mark.parametrize(
    ("kept", "calls", "heard", "troubles"),
    [
        ([ORDER], {ORDER: 1}, [], []),
        ([ORDER], {}, [], [f"no call reached the {ORDER}: its laws prove nothing"]),
        ([PRODUCT], {}, ["orders.created"], [f"no call reached the {PRODUCT}: its laws prove nothing"]),
        ([PRODUCT, ORDER, "broker"], {PRODUCT: 1}, ["orders.created", "orders.events"], []),
        ([ORDER, "broker"], {PRODUCT: 1}, ["orders.created", "orders.events"], []),
        ([PRODUCT, ORDER], {PRODUCT: 1}, [], []),
        (
            [PRODUCT, ORDER, "broker"],
            {},
            [],
            [
                f"no call reached the {PRODUCT}: its laws prove nothing",
                f"no call reached the {ORDER}: its laws prove nothing",
                f"nothing of the {ORDER} was heard from orders.created: its laws prove nothing",
                f"nothing of the {ORDER} was heard from orders.events: its laws prove nothing",
                f"nothing of the {PRODUCT} was heard from orders.events: its laws prove nothing",
            ],
        ),
    ],
    ids=[
        "called",
        "not called",
        "the event of another",
        "called and heard of",
        "heard of by way of another",
        "called by another",
        "neither called nor heard of",
    ],
)
def test_a_role_nothing_was_seen_of_has_proven_nothing(
    kept: Sequence[str], calls: dict[str, int], heard: Sequence[str], troubles: Sequence[str]
) -> None:
    """A law may call one service to judge another, of which it sees the events: it is enough by itself."""
    report = Report(SUBJECT, SIZES, frozenset(), [])
    report._kept.add(frozenset(kept))
    tap = SimpleNamespace(everything=lambda: [received(exchange) for exchange in heard])
    system: Any = SimpleNamespace(client=SimpleNamespace(calls=Counter(calls), orders=()), event_tap=tap, addresses={})
    report.systems.append(system)
    assert report.troubles() == troubles


def test_the_system_is_shown_without_the_url_of_its_broker() -> None:
    """Hypothesis shows the arguments of a law."""
    system = SystemUnderTest.__new__(SystemUnderTest)
    system.addresses, system.amqp_url, system.patience = {ORDER: "h:1", PRODUCT: "h:2"}, URL, 20.0
    assert "s3cr3t" not in repr(system)

"""The live page without a system: its drawing, its document, its board, and the metrics it reads."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from ordersys.api.notification.v1.dead_letter_service_pb2 import DeadLetter
from ordersys.api.notification.v1.notification_log_pb2 import (
    ListNotificationsRequest,
    ListNotificationsResponse,
    Notification,
)
from ordersys.console.parser import UsageError
from ordersys.contract import descriptors, pagination, topology
from ordersys.live import board as boards
from ordersys.live import command_line, log_reader, server, serving
from ordersys.live.board import Board, Crowded
from ordersys.live.exposition import parse
from ordersys.live.graph import DEAD_LETTERS, EXCHANGE, QUEUE, SERVICE, SUBSCRIBER, Edge, graph
from ordersys.live.ledger import Ledger
from ordersys.live.log_reader import LogReader
from ordersys.live.snapshot import Facts, Letters, document
from ordersys.local import live as local_live
from ordersys.local.choices import CannotStart
from ordersys.local.guard import Guard
from ordersys.local.live import LivePage

STATIC = Path(server.__file__).parent / "static"
HOSTILE = "<img src=x onerror=alert(1)>"


def test_the_drawing_has_every_exchange_queue_and_service_of_the_contract() -> None:
    """Those for replays carry no events and are left out."""
    assert drawn(EXCHANGE) == {exchange.name for exchange in topology.event_exchanges()}
    assert drawn(QUEUE, DEAD_LETTERS) == {queue.name for queue in topology.topology().queues}
    assert drawn(SERVICE) == {"product-service", "order-service"}
    assert drawn(SUBSCRIBER) == {subscription.consumer for subscription in topology.subscriptions()}


def drawn(*kinds: str) -> set[str]:
    """The names of the boxes of these kinds."""
    return {node.name for node in graph().nodes if node.kind in kinds}


def test_the_drawing_has_the_ways_of_the_readme() -> None:
    """With what goes there."""
    ways = {(edge.source, edge.target): edge.labels for edge in graph().edges}
    assert ways["product-service", "order-service"] == ("CreateOrder", "BatchCreateOrders", "UpdateOrder")
    assert ways["order-service", "orders.created"] == ("OrderCreated",)
    assert ways["orders.created", "orders.events"] == ("feeds",)
    assert ways["product-service", "orders.events"] == ("OrderRejected",)
    assert ("client", "product-service") in ways and ("client", "order-service") not in ways


def test_no_two_boxes_lie_on_each_other_and_ways_lead_to_the_right() -> None:
    """But for dead letters, which lie below their queue."""
    places = {node.name: (node.column, node.row) for node in graph().nodes}
    assert len(set(places.values())) == len(places)
    for source, target, labels in graph().edges:
        assert places[source][0] < places[target][0] or labels == ("rejected",)


def test_a_new_subscriber_is_drawn_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the files of a contract that has one more."""
    (_, second) = topology.subscriptions()
    third = replace(second, consumer="audit", queue="audit.v1", dead_letter_queue="audit.dead-letters.v1")
    monkeypatch.setattr("ordersys.live.graph.subscriptions", lambda of=None: (*topology.subscriptions(of), third))
    more = graph(descriptors.files())
    assert Edge("audit.v1", "audit", tuple(kind.rpartition(".")[2] for kind in second.handlers)) in more.edges
    assert {node.row for node in more.nodes if node.name in ("audit.v1", "audit")} == {4.0}


def test_others_words_are_plain_text_in_the_document() -> None:
    """As they were written; the page sets them as text."""
    facts = Facts(graph(), topology.subscriptions(), Ledger(topology.subscriptions()), "ordersys")
    letter = DeadLetter(id="0" * 32, event_id=HOSTILE, obstacle=HOSTILE, type=HOSTILE)
    forged = DeadLetter(id="$(reboot)")
    facts.letters = {"notification-service-1": Letters([letter, forged], False, 0)}
    (section,) = document(facts, 0)["letters"]
    assert section["letters"][0]["obstacle"] == HOSTILE
    assert section["letters"][0]["replay"] == f"ordersys dead-letters replay {'0' * 32}"
    assert section["letters"][1]["replay"] == ""


def test_the_page_sets_nothing_but_text() -> None:
    """No way by which a text becomes markup or a script, and nothing from elsewhere."""
    for file in STATIC.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "https://", "http://"):
            assert way not in text, file.name


def test_every_file_of_the_page_is_served_and_every_file_served_is_there() -> None:
    """None is forgotten in the list."""
    assert {file.name for file in STATIC.iterdir()} == set(server._FILES)


METRICS = """\
# HELP rpc_server_call_duration_seconds The time.
rpc_server_call_duration_seconds_count{rpc_method="a.B/C",rpc_status_code="OK"} 3.0
rpc_server_call_duration_seconds_count{rpc_method="a.B/C",rpc_status_code="NOT_FOUND"} 1
rpc_server_call_duration_seconds_count{rpc_method="a.B/D",rpc_status_code="OK"} NaNsense
ordersys_outbox_events{state="new"} 2.0
ordersys_outbox_events{state="late"} 5.0
ordersys_outbox_oldest_age_seconds 7.5
ordersys_dead_letters_kept 1.0
ordersys_dead_letters_total{reason="rejected"} 2.0 1700000000
no metric at all
"""


def test_metrics_are_read_by_name_and_summed_over_labels() -> None:
    """A line that is no sample is passed over; what is missing is not 0."""
    metrics = parse(METRICS)
    assert metrics.calls == {"a.B/C": 4.0}
    assert (metrics.outbox, metrics.outbox_age, metrics.dead_letters) == (7.0, 7.5, 3.0)
    assert parse("") == ({}, None, None, None, None, None)


@pytest.mark.parametrize(("text", "units"), [("0.0", 0.0), ("-2.0", -2.0), ("NaN", None)])
def test_an_audit_that_has_not_ended_is_none(text: str, units: float | None) -> None:
    """It says NaN."""
    assert parse(f"ordersys_stock_imbalance_units {text}\n").imbalance == units


async def test_a_reader_gets_everything_first_and_then_what_has_changed() -> None:
    """Also after it has missed some states in between."""
    board = Board()
    board.show({"a": 1, "b": 1})
    first = await board.after(0, 0)
    assert first.sections == {"a": 1, "b": 1}
    board.show({"a": 2, "b": 1})
    board.show({"a": 3, "b": 1})
    second = await board.after(first.number, 0)
    assert second.sections == {"a": 3}
    assert (await board.after(second.number, 0.01)).sections == {}


async def test_a_reader_that_waits_is_woken() -> None:
    """As soon as something changes."""
    board = Board()
    waiting = asyncio.create_task(board.after(0, 60))
    await asyncio.sleep(0)
    board.show({"a": 1})
    assert (await waiting).sections == {"a": 1}


def test_a_state_of_another_process_is_none() -> None:
    """A browser that comes back with it gets everything."""
    board, other = Board(), Board()
    board.show({"a": 1})
    assert board.number(board.name(1)) == 1
    assert board.number(board.name(99)) == 1
    for name in ("", "x", other.name(1), board.name(1) + "²", f"{board.name(1)}-"):
        assert board.number(name) == 0


def test_readers_are_bounded() -> None:
    """One more is sent away until somebody leaves."""
    board = Board()
    readers = [board.reader() for _ in range(boards.MOST_READERS)]
    for reader in readers:
        reader.__enter__()
    with pytest.raises(Crowded), board.reader():
        pass
    readers[0].__exit__(None, None, None)
    with board.reader():
        pass


class Log:
    """A notification log with records of these numbers; with tokens of another kind it knows none but its own."""

    def __init__(self, numbers: Sequence[int], prefix: str = "") -> None:
        self.numbers = list(numbers)
        self.asked: list[int] = []
        self._prefix = prefix

    async def ListNotifications(self, request: ListNotificationsRequest, **_: float) -> Any:
        """Answers as the contract says."""
        if not request.page_token.startswith(self._prefix if request.page_token else ""):
            raise grpc.aio.AioRpcError(grpc.StatusCode.INVALID_ARGUMENT, grpc.aio.Metadata(), grpc.aio.Metadata())
        token = request.page_token.removeprefix(self._prefix)
        request = ListNotificationsRequest(page_size=request.page_size, page_token=token)
        last = pagination.last_key(request, int) or 0
        page = [number for number in self.numbers if number > last][: request.page_size + 1]
        notifications, more = pagination.fill(request, [(number, Notification(sequence=number)) for number in page])
        self.asked.append(len(notifications))
        more = f"{self._prefix}{more}" if more else ""
        return ListNotificationsResponse(notifications=notifications, next_page_token=more)


async def read(reader: LogReader) -> list[int]:
    """The numbers of the new records."""
    return [notification.sequence async for page in reader.read() for notification in page]


async def test_a_log_is_read_on_from_where_it_was() -> None:
    """Each record once, and no more than is new."""
    log = Log(range(1, 701))
    reader = LogReader(log)
    assert await read(reader) == list(range(1, 701))
    assert reader.is_whole and not reader.is_behind
    log.asked.clear()
    assert await read(reader) == []
    log.numbers += [705, 709]
    assert await read(reader) == [705, 709]
    assert log.asked == [0, 2]


async def test_a_long_log_is_read_from_near_its_end() -> None:
    """Found by few questions for one record each, whatever gaps there are."""
    numbers = [number for number in range(1, 1_000_000) if number % 7]
    log = Log(numbers[::50])
    reader = LogReader(log)
    read_first = await read(reader)
    assert read_first[-1] == log.numbers[-1]
    assert 0 < len(read_first) <= log_reader._PAST
    assert not reader.is_whole
    assert len(log.asked) < 60


async def test_a_log_that_grows_fast_is_read_in_parts() -> None:
    """So that other sources have their turn."""
    reader = LogReader(Log(range(1, 10_001)))
    assert len(await read(reader)) == 4000
    assert reader.is_behind


async def test_a_service_with_tokens_of_its_own_is_read_by_them() -> None:
    """From the beginning; each record once all the same."""
    log = Log(range(1, 601), prefix="mine-")
    reader = LogReader(log)
    assert await read(reader) == list(range(1, 601))
    log.numbers += [601]
    assert await read(reader) == [601]
    assert await read(reader) == []


def test_a_missing_extra_is_named_by_whoever_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it; help needs none."""
    for module in (command_line, local_live):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(CannotStart, match=r"pip install 'ordersys\[live\]'"):
        local_live.check()
    with pytest.raises(UsageError, match=r"pip install 'ordersys\[live\]'"):
        command_line._check_extra()


def test_launcher_and_page_know_the_key_by_one_name() -> None:
    """Neither imports the other."""
    assert vars(local_live)["KEY"] == vars(serving)["KEY"]


def test_spans_go_to_the_page_unless_somebody_has_said_where_they_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the variables of traces alone; and only where there is something to send them with."""
    with closing(Guard(tmp_path)) as guard:
        page = LivePage(tmp_path, {}, guard)
        variables = page.telemetry({})
        assert variables["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == f"http://{page.address}/v1/traces"
        assert variables["OTEL_BSP_SCHEDULE_DELAY"] == "200"
        assert page.telemetry({"OTEL_BSP_SCHEDULE_DELAY": "50"})["OTEL_BSP_SCHEDULE_DELAY"] == "50"
        assert page.telemetry({"OTEL_SDK_DISABLED": "false", "OTEL_EXPORTER_OTLP_ENDPOINT": " "}) == variables
        for name, value in (
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4318/v1/traces"),
            ("OTEL_TRACES_EXPORTER", "console"),
            ("OTEL_SDK_DISABLED", "TRUE"),
        ):
            assert page.telemetry({name: value}) == {}
        monkeypatch.setattr(local_live, "find_spec", lambda name: None)
        assert page.telemetry({}) == {}

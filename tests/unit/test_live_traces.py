"""Traces of the live page: what is held, and the waterfall that is made of it."""

import gzip
import itertools
import random
from collections.abc import Callable, Mapping, Sequence

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

from ordersys.live import traces_otlp
from ordersys.live import traces_waterfall as waterfalls
from ordersys.live.traces import MOST_SPANS, Received, Traces
from ordersys.live.traces_waterfall import CALLER, MOST_ROWS, NOT_HERE, Span, waterfall

ORDER, OTHER = "01890000-0000-7000-8000-00000000000a", "01890000-0000-7000-8000-00000000000b"
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m"
MINE = "a" * 32
COMMIT = Span("c" * 32, "c" * 16, "", "product-service", "commit product-service", "internal", 2000, 3000)


def span(name: str, parent: str = "", start: int = 0, end: int = 10_000_000, **given: object) -> Span:
    """A span of the order's trace; its id follows from its name."""
    values = {"trace": MINE, "service": "product-service", "kind": "internal", "span": id_of(name), **given}
    attributes = values.pop("attributes", {})
    return Span(parent=parent, name=name, start=start, end=end, attributes=attributes, **values)  # type: ignore[arg-type]


def id_of(name: str) -> str:
    """An id that is the same for the same name."""
    return f"{abs(hash(name)) % 16**16:016x}"


def delivery(number: int, start: int) -> Span:
    """A delivery of the order's event."""
    attributes = {"messaging.operation.name": "process", "messaging.message.id": f"{ORDER}.1"}
    return span(
        "process", id_of("create"), start, start + 5, span=f"{number:016x}", kind="consumer", attributes=attributes
    )


SAGA = span("saga place_order", id_of("call"), 1000, attributes={"ordersys.order.id": ORDER})
RESERVE = span("reserve", SAGA.span, 2000, 3000, links=[COMMIT.context])
OWN = [
    span("call", "", kind="server"),
    SAGA,
    RESERVE,
    span("create", SAGA.span, 4000, kind="producer"),
    delivery(1, 5000),
]


def labels(document: object) -> list[tuple[int, str]]:
    """The depth and the label of each row."""
    assert isinstance(document, dict)
    return [(row["depth"], row["label"]) for row in document["rows"]]


def test_spans_are_rows_beneath_their_parents_in_whatever_order_they_come() -> None:
    """Each beneath what caused it, in the order of time."""
    expected = [(0, "call"), (1, "saga place_order"), (2, "reserve"), (2, "create"), (3, "process")]
    for own in itertools.permutations(OWN):
        assert labels(waterfall(ORDER, own, [])) == expected


def test_a_parent_that_is_missing_has_a_row_in_its_place() -> None:
    """A caller that records nothing; a span that is to come: what hangs on it stays together."""
    own = [span("call", "1" * 16, kind="server"), span("reserve", "2" * 16, 5), span("confirm", "2" * 16, 6)]
    document = waterfall(ORDER, own, [])
    assert labels(document) == [(0, CALLER), (1, "call"), (0, NOT_HERE), (1, "reserve"), (1, "confirm")]
    assert [row["recorded"] for row in document["rows"]] == [False, True, False, True, True]


@pytest.mark.parametrize(
    ("links", "items", "others", "words"),
    [
        (1, 0, 0, []),
        (2, 0, 1, ["shared with 1 other"]),
        (16, 0, 15, ["shared with 15 others"]),
        (1, 16, 15, ["shared with 15 others"]),
        (16, 20, 19, ["shared with 19 others"]),
    ],
)
def test_what_is_shared_says_with_how_many_others(links: int, items: int, others: int, words: Sequence[str]) -> None:
    """By its links, which only sampled ones have; of all of them where it tells their number."""
    attributes = {"ordersys.batch.items": items} if items else {}
    contexts = [RESERVE.context, *((f"{n:032x}", f"{n:016x}") for n in range(1, links))]
    commit = COMMIT._replace(links=contexts, attributes=attributes)
    rows = {row["label"]: row for row in waterfall(ORDER, OWN, [commit])["rows"]}
    assert (rows["reserve"]["others"], rows["reserve"]["notes"]) == (others, words)
    assert rows["reserve"]["part_of"] == "commit product-service"
    assert rows["create"]["others"] is None


def test_the_waterfall_goes_on_through_what_was_called_for_many() -> None:
    """The other service's span is of the trace of all of them: it stands beneath the part of the order."""
    server = COMMIT._replace(span="5" * 16, parent=COMMIT.span, service="order-service", name="a.b.Orders/Batch")
    commit = COMMIT._replace(links=[RESERVE.context, ("d" * 32, "d" * 16)])
    ack = Span("e" * 32, "e" * 16, "", "x", "ack", "client", 9, 9, links=[OWN[-1].context])
    rows = waterfall(ORDER, OWN, [commit, server, ack])["rows"]
    assert [(row["depth"], row["label"], row["others"]) for row in rows if row["others"] is not None] == [
        (2, "reserve", 1),
        (3, "Orders/Batch", 1),
        (4, "ack", 0),
    ]


def test_a_delivery_that_comes_again_is_a_row_that_says_so() -> None:
    """At least once is seen; a delivery to the other subscriber is none that comes again."""
    other = delivery(4, 7000)._replace(service="notification-service-1")
    rows = waterfall(ORDER, [*OWN, delivery(3, 9000), delivery(2, 8000), other], [])["rows"]
    notes = [row["notes"] for row in rows if row["label"] == "process"]
    assert notes == [[], [], ["delivered again: 2"], ["delivered again: 3"]]


def test_a_redelivery_says_so_though_the_delivery_before_was_never_received() -> None:
    """Its process was killed with the spans that it had not sent."""
    alone = delivery(2, 8000)
    again = alone._replace(attributes={**alone.attributes, "ordersys.redelivered": True})
    (row,) = [row for row in waterfall(ORDER, [*OWN[:-1], again], [])["rows"] if row["label"] == "process"]
    assert (row["notes"], row["attempt"]) == (["redelivered"], 1)


def test_of_a_trace_of_several_orders_there_is_what_is_about_one() -> None:
    """With what is above it: whoever places many in one trace of his own."""
    theirs = span("theirs", id_of("root"), attributes={"ordersys.order.id": OTHER})
    root, call = span("root"), OWN[0]._replace(parent=id_of("root"))
    own = [root, call, *OWN[1:], theirs, span("beneath", theirs.span)]
    assert [label for _, label in labels(waterfall(ORDER, own, []))] == [
        "root",
        *[label for _, label in labels(waterfall(ORDER, OWN, []))],
    ]
    assert [label for _, label in labels(waterfall(OTHER, own, []))] == ["root", "theirs", "beneath"]


def test_spans_that_are_above_each_other_are_shown_once() -> None:
    """Nobody's clock, id or parent is trusted."""
    own = [span("a", id_of("b")), span("b", id_of("a"), 5), span("c", id_of("c"))]
    assert sorted(label for _, label in labels(waterfall(ORDER, own, []))) == ["a", "b", "c"]
    loop = COMMIT._replace(parent=COMMIT.span, links=[RESERVE.context])
    assert len(waterfall(ORDER, OWN, [loop])["rows"]) <= len(OWN) + 1


def test_what_is_about_one_order_is_found_however_it_is_tied() -> None:
    """Spans that are above each other or themselves, and a chain each of whose spans tells the order, are seen once."""
    mine = {"ordersys.order.id": ORDER}
    theirs = span("theirs", attributes={"ordersys.order.id": OTHER})
    for own in (
        [span("a", id_of("a"), attributes=mine)],
        [span("a", id_of("b"), attributes=mine), span("b", id_of("a"))],
        [span("x", f"{n:016x}", n, span=f"{n + 1:016x}", attributes=mine) for n in range(1, MOST_SPANS)],
    ):
        assert list(waterfalls._about(ORDER, [*own, theirs])) == own
        document = waterfall(ORDER, [*own, theirs], [])
        assert "theirs" not in [label for _, label in labels(document)]


def test_others_words_are_cut_and_stay_as_they_are() -> None:
    """The page sets them as text, the command line spells them out. Attributes of no convention are left out."""
    attributes = {"db.0": HOSTILE * 1000, "customer": "anna", **{f"db.{n}": n for n in range(1, 1000)}}
    (row,) = waterfall(ORDER, [span(HOSTILE * 1000, attributes=attributes, service=HOSTILE)], [])["rows"]
    assert (HOSTILE * 1000).startswith(row["name"]) and len(row["name"]) == 200
    assert (HOSTILE * 1000).startswith(row["attributes"]["db.0"]) and len(row["attributes"]["db.0"]) == 200
    assert row["service"] == HOSTILE
    assert "customer" not in row["attributes"] and len(row["attributes"]) == 30


def test_a_waterfall_is_bounded() -> None:
    """And tells how many rows it lacks."""
    own = [span("root"), *(span("child", id_of("root"), n, span=f"{n:016x}") for n in range(1, MOST_ROWS + 10))]
    document = waterfall(ORDER, own, [])
    assert (len(document["rows"]), document["omitted"]) == (MOST_ROWS, 10)


def test_a_deep_waterfall_ends() -> None:
    """However deep: nothing recurs."""
    own = [span("x", f"{n:016x}", n, span=f"{n + 1:016x}") for n in range(1, MOST_SPANS)]
    assert waterfall(ORDER, own, [])["omitted"] > 0


# What is held


def received(trace: int, number: int = 1, size: int = 100, order: str = "", linked: Sequence[int] = ()) -> Received:
    """A span of that size in a trace of that number."""
    ids = [bytes([0] * 12) + other.to_bytes(4) for other in linked]
    orders = [order] if order else []
    return Received(trace.to_bytes(16), number.to_bytes(8), "service", bytes(size), orders, ids)


def test_the_oldest_traces_go_where_there_are_too_many() -> None:
    """The newest stay; nothing finds one that has gone."""
    traces = Traces(most_traces=3)
    traces.add(received(number, order=f"order-{number}", linked=[number - 1]) for number in range(1, 6))
    assert len(traces) == 3
    assert [bool(traces.of_order(f"order-{number}")) for number in range(1, 6)] == [False, False, True, True, True]
    assert traces.linked((3).to_bytes(16)) == [(4).to_bytes(16)]
    assert not traces.spans((1).to_bytes(16))


def test_memory_is_bounded_whatever_comes() -> None:
    """In bytes; what an index takes counts as well, and is empty when all has gone."""
    draw = random.Random(1)
    traces = Traces(most_traces=1000, most_bytes=200_000)
    for number in range(3000):
        order, linked = f"order-{draw.randrange(50)}", draw.choices(range(200), k=draw.randrange(8))
        traces.add([received(draw.randrange(200), number, draw.randrange(5000), order, linked)])
        assert traces.size <= 200_000
    held = [span for number in range(200) for span in traces.spans(number.to_bytes(16))]
    assert traces.size == sum(span.size for span in held)
    traces.add([received(9999, size=300_000)])
    assert (len(traces), traces.size, traces._of_order, traces._linking, traces._heard) == (0, 0, {}, {}, {})


def test_a_trace_without_end_is_cut() -> None:
    """The spans it has stay; a span that is sent twice is there once."""
    traces = Traces()
    assert traces.add(received(1, number) for number in [*range(1, MOST_SPANS + 4), 1]) == 3
    assert len(traces.spans((1).to_bytes(16))) == MOST_SPANS
    assert traces.size == MOST_SPANS * received(1).size


def test_a_span_that_is_sent_again_is_found_as_it_came_last() -> None:
    """Neither by its former order nor by its former links; what another span of the trace says stays."""
    traces, trace = Traces(most_traces=2), (1).to_bytes(16)
    traces.add([received(1, 1, order="first", linked=[7]), received(1, 2, order="both", linked=[8])])
    traces.add([received(1, 3, order="both", linked=[8]), received(1, 3), received(1, 1, order="second")])
    assert [traces.of_order(order) for order in ("first", "second", "both")] == [[], [trace], [trace]]
    traces.add([received(7), received(8)])
    assert len(traces) == 2
    assert (traces.of_order("second"), traces.of_order("both")) == ([], [])
    assert (traces._of_order, traces._linking) == ({}, {})


# OTLP


def request(*messages: Message, service: str = "product-service") -> ExportTraceServiceRequest:
    """A request with these spans."""
    whole = ExportTraceServiceRequest()
    resource = whole.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = service
    resource.scope_spans.add().spans.extend(messages)
    return whole


def message(**given: object) -> Message:
    """A span on the wire."""
    return Message(**{"trace_id": b"t" * 16, "span_id": b"s" * 8, "name": "x", **given})  # type: ignore[arg-type]


def test_a_span_is_read_as_it_was_sent() -> None:
    """Its ids, times, kind, attributes, links, and the order it is about."""
    sent = message(parent_span_id=b"p" * 8, start_time_unix_nano=5, end_time_unix_nano=9, kind=2)
    sent.attributes.add(key="messaging.message.id").value.string_value = f"{ORDER.upper()}.1"
    sent.attributes.add(key="rpc.codes").value.array_value.values.add().int_value = 1
    sent.links.add(trace_id=b"o" * 16, span_id=b"l" * 8)
    sent.status.code = sent.status.STATUS_CODE_ERROR
    spans, refused = traces_otlp.received(request(sent).SerializeToString())
    assert refused == 0
    (held,) = spans
    assert (held.service, held.orders, held.linked) == ("product-service", [ORDER], [b"o" * 16])
    read = traces_otlp.span(held)
    assert (read.trace, read.span, read.parent) == ((b"t" * 16).hex(), (b"s" * 8).hex(), (b"p" * 8).hex())
    assert (read.start, read.end, read.kind, read.is_error) == (5, 9, "server", True)
    assert read.attributes == {"messaging.message.id": f"{ORDER.upper()}.1"}
    assert read.links == [((b"o" * 16).hex(), (b"l" * 8).hex())]


def test_spans_without_ids_are_refused_and_the_others_taken() -> None:
    """The answer says how many (OTLP, "Partial Success")."""
    large = message(name="x" * traces_otlp.MOST_SPAN_BYTES)
    bad = [message(trace_id=b""), message(trace_id=bytes(16)), message(span_id=b"short"), large]
    spans, refused = traces_otlp.received(request(message(), *bad).SerializeToString())
    assert (len(spans), refused) == (1, len(bad))
    answer = ExportTraceServiceResponse.FromString(traces_otlp.answer(refused))
    assert answer.partial_success.rejected_spans == len(bad)
    assert not ExportTraceServiceResponse.FromString(traces_otlp.answer(0)).HasField("partial_success")


@pytest.mark.parametrize("level", ["spans", "scope_spans", "resource_spans"])
def test_a_request_of_very_many_spans_is_refused(level: str) -> None:
    """Empty ones take two bytes each on the wire, and many times as much in memory."""
    whole = request(message())
    resource = whole.resource_spans[0]
    add: Mapping[str, Callable[[], object]] = {
        "spans": resource.scope_spans[0].spans.add,
        "scope_spans": resource.scope_spans.add,
        "resource_spans": whole.resource_spans.add,
    }
    for _ in range(traces_otlp.MOST_SPANS):
        add[level]()
    assert whole.ByteSize() < traces_otlp.MOST_BYTES
    with pytest.raises(traces_otlp.TooLarge):
        traces_otlp.received(whole.SerializeToString())


def test_times_that_no_clock_has_are_read_all_the_same() -> None:
    """None is negative, and what has ended before it began took no time."""
    sent = message(start_time_unix_nano=2**64 - 1, end_time_unix_nano=3, kind=77)
    (held,) = traces_otlp.received(request(sent).SerializeToString())[0]
    read = traces_otlp.span(held)
    assert (read.start, read.end, read.kind) == (2**63 - 1, 2**63 - 1, "unspecified")


@pytest.mark.parametrize("octets", [b"\xff", b"\x0a\x05abc", b"\x0a\x02\x0a\xff", HOSTILE.encode()])
def test_what_is_no_request_is_malformed(octets: bytes) -> None:
    """And nothing of it is taken."""
    with pytest.raises(traces_otlp.Malformed):
        traces_otlp.received(octets)


def test_what_is_unpacked_is_bounded() -> None:
    """Of a small body that would become a large one no more is unpacked than may come."""
    assert traces_otlp.unpacked(gzip.compress(b"x" * 1000)) == b"x" * 1000
    with pytest.raises(traces_otlp.TooLarge):
        traces_otlp.unpacked(gzip.compress(bytes(traces_otlp.MOST_BYTES + 1)))
    for bad in (b"no gzip", gzip.compress(b"x" * 1000)[:-9]):
        with pytest.raises(traces_otlp.Malformed):
            traces_otlp.unpacked(bad)


def test_the_attributes_that_are_shown_are_those_of_the_conventions() -> None:
    """No text of an error, no customer, whoever sends it."""
    assert waterfalls.SHOWN == ("rpc.", "messaging.", "db.", "error.", "server.", "ordersys.")

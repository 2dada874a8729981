"""The receiver of spans on the live page: answers of OTLP, bounds, and whoever may send any."""

import asyncio
import gzip
import io
import json
import re
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import grpc
import pytest
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from ordersys.live import traces_otlp, traces_web
from ordersys.live.board import Board
from ordersys.live.server import Server
from ordersys.live.traces import Received
from ordersys.local.live_link import new_key
from tests.unit.test_live_traces import ORDER, message, request

PROTOBUF = {"Content-Type": "application/x-protobuf"}
LONG = 30.0
MISSING = "01890000-0000-7000-8000-00000000000f"


class Receiver(NamedTuple):
    """A page with its two keys."""

    address: str
    page_key: str
    key: str
    session: aiohttp.ClientSession

    async def send(self, body: bytes, **headers: str) -> tuple[int, bytes]:
        """Sends a body as an exporter does, with other headers where some are named; status and body of the answer."""
        given = {**PROTOBUF, "Authorization": f"Bearer {self.key}"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(f"{self.address}/v1/traces", data=io.BytesIO(body), headers=given) as answer:
            assert answer.content_type == "application/x-protobuf" or answer.status == 421
            return answer.status, await answer.read()

    async def waterfall(self, order: str) -> tuple[int, Mapping[str, Any]]:
        """The waterfall of an order."""
        url = f"{self.address}/live/orders/{order}/trace?key={self.page_key}"
        async with self.session.get(url) as answer:
            return answer.status, json.loads(await answer.read())


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A page that holds nothing yet, of a system in which one order is missing."""

    async def details(order_id: str) -> Mapping[str, Any]:
        if order_id == MISSING:
            nothing = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, nothing, nothing, "There is no such order.")
        return {}

    page_key, key = new_key(), new_key()
    server = Server(Board(), details, 0, page_key, key)
    await server.start()
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield Receiver(f"http://{urlsplit(server.link).netloc}", page_key, key, session)
    await server.stop()


def placed() -> bytes:
    """A request with a span about the order."""
    span = message(start_time_unix_nano=1, end_time_unix_nano=2)
    span.attributes.add(key="ordersys.order.id").value.string_value = ORDER
    return request(span).SerializeToString()


@pytest.mark.parametrize("encoding", ["", "identity", "gzip"])
async def test_spans_are_taken_as_exporters_send_them(receiver: Receiver, encoding: str) -> None:
    """And are there at once."""
    body = gzip.compress(placed()) if encoding == "gzip" else placed()
    status, answer = await receiver.send(body, **({"Content_Encoding": encoding} if encoding else {}))
    assert (status, answer) == (200, ExportTraceServiceResponse().SerializeToString())
    status, document = await receiver.waterfall(ORDER)
    assert status == 200
    assert [row["name"] for trace in document["traces"] for row in trace["rows"]] == ["x"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}", {"Content_Type": "application/json"}, 415),
        (b"x", {"Content_Encoding": "br"}, 415),
        (b"\xff\xff", {}, 400),
        (b"no gzip", {"Content_Encoding": "gzip"}, 400),
        (gzip.compress(b"", mtime=0) + b"garbage", {"Content_Encoding": "gzip"}, 400),
        (bytes(traces_otlp.MOST_BYTES + 1), {}, 413),
        (gzip.compress(bytes(traces_otlp.MOST_BYTES + 1)), {"Content_Encoding": "gzip"}, 413),
        (b"", {"Authorization": ""}, 401),
        (b"", {"Authorization": "Bearer "}, 401),
        (b"", {"Authorization": "Bearer wrong"}, 401),
        (b"", {"Host": "evil.example"}, 421),
    ],
)
async def test_what_is_no_request_gets_an_answer_of_the_protocol(
    receiver: Receiver, body: bytes, headers: dict[str, str], status: int
) -> None:
    """A Status in protobuf that says why; the next request is taken."""
    answered, answer = await receiver.send(body, **headers)
    assert answered == status
    if status != 421:
        assert Status.FromString(answer).message
    assert (await receiver.send(placed()))[0] == 200


async def test_a_body_without_a_length_is_bounded_as_well(receiver: Receiver) -> None:
    """No more of it is read than may come."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(4 * traces_otlp.MOST_BYTES // 65536):
            yield bytes(65536)

    headers = {**PROTOBUF, "Authorization": f"Bearer {receiver.key}"}
    try:
        async with receiver.session.post(f"{receiver.address}/v1/traces", data=endless(), headers=headers) as answer:
            assert answer.status == 413
    except aiohttp.ClientConnectionError:
        pass  # it was answered, and closed, while more was sent
    assert (await receiver.send(placed()))[0] == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
async def test_the_scheme_of_the_key_is_taken_in_any_case(receiver: Receiver, scheme: str) -> None:
    """RFC 9110, 11.1; behind it there may be more blanks than one."""
    assert (await receiver.send(placed(), Authorization=f"{scheme} {receiver.key}"))[0] == 200


async def test_all_members_of_a_gzip_are_taken(receiver: Receiver) -> None:
    """RFC 1952, 2.2: their contents stand one behind the other, wherever the parts were cut."""
    body = placed()
    assert (await receiver.send(gzip.compress(body[:9]) + gzip.compress(body[9:]), Content_Encoding="gzip"))[0] == 200
    _, document = await receiver.waterfall(ORDER)
    assert len(document["traces"]) == 1


async def test_the_page_goes_on_while_a_request_is_read_and_not_many_wait(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large one takes seconds. They are read one at a time, and whoever comes when too much waits comes again."""
    begun, may_end, received = threading.Event(), threading.Event(), traces_otlp.received

    def held_up(octets: bytes) -> tuple[Sequence[Received], int]:
        begun.set()
        assert may_end.wait(LONG)
        return received(octets)

    monkeypatch.setattr(traces_otlp, "received", held_up)
    monkeypatch.setattr(traces_web, "_MOST_WAITING_BYTES", len(placed()))
    first = asyncio.create_task(receiver.send(placed()))
    try:
        assert await asyncio.to_thread(begun.wait, LONG)
        async with asyncio.timeout(LONG):
            async with receiver.session.get(receiver.address) as page:
                assert page.status == 200
            headers = {**PROTOBUF, "Authorization": f"Bearer {receiver.key}"}
            url = f"{receiver.address}/v1/traces"
            async with receiver.session.post(url, data=placed(), headers=headers) as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
                assert Status.FromString(await answer.read()).code == Code.UNAVAILABLE
        assert not first.done()
    finally:
        may_end.set()
    assert (await first)[0] == 200
    assert (await receiver.send(placed()))[0] == 200


async def test_spans_that_are_refused_are_told(receiver: Receiver) -> None:
    """The others are taken."""
    status, answer = await receiver.send(request(message(), message(span_id=b"")).SerializeToString())
    assert status == 200
    assert ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans == 1


async def test_an_order_without_a_waterfall_says_why(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has come; the order is unknown; its trace is not held; or something has to be installed."""
    silent, unknown = await receiver.waterfall(ORDER), await receiver.waterfall(MISSING)
    await receiver.send(request(message()).SerializeToString())
    gone = await receiver.waterfall(ORDER)
    monkeypatch.setattr(traces_web, "traces_otlp", None)
    missing = await receiver.waterfall(ORDER)
    answers = (silent, unknown, gone, missing)
    assert [status for status, _ in answers] == [200] * 4
    reasons = [document["reason"] for _, document in answers]
    assert reasons == ["NO_TRACES", "ORDER_NOT_FOUND", "TRACE_NOT_HELD", "EXTRA_MISSING"]
    assert "pip install 'ordersys[live]'" in missing[1]["error"]
    for _, document in (silent, gone):  # a page that was killed and came back has lost what it held
        since = re.search(r"since (.{19}) UTC.*; what was before is gone", document["error"])
        assert since and abs(datetime.now(UTC) - datetime.fromisoformat(f"{since[1]}Z")) < timedelta(minutes=5)
    assert (await receiver.send(placed()))[0] == 501


async def test_many_senders_at_once_are_served(receiver: Receiver) -> None:
    """Each span is there afterwards."""
    bodies = [request(message(span_id=number.to_bytes(8))).SerializeToString() for number in range(1, 51)]
    answers = await asyncio.gather(*(receiver.send(body) for body in [*bodies, placed()]))
    assert {status for status, _ in answers} == {200}
    _, document = await receiver.waterfall(ORDER)
    assert len(document["traces"][0]["rows"]) == len(bodies) + 1


@pytest.mark.parametrize(("others", "omitted"), [(1, 0), (200, 0), (207, 7)])
async def test_a_waterfall_tells_how_many_linked_traces_it_leaves_out(
    receiver: Receiver, others: int, omitted: int
) -> None:
    """It shows 200 of them: whoever reads it knows that there are more."""
    spans = [message(name="one of the order")]
    spans[0].attributes.add(key="ordersys.order.id").value.string_value = ORDER
    for number in range(others):
        spans.append(message(trace_id=(number + 1).to_bytes(16), name="whole"))
        spans[-1].links.add(trace_id=spans[0].trace_id, span_id=spans[0].span_id)
    await receiver.send(request(*spans).SerializeToString())
    _, document = await receiver.waterfall(ORDER)
    (waterfall,) = document["traces"]
    assert (waterfall["linked"], waterfall["omitted_linked"]) == (others - omitted, omitted)

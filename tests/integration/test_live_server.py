"""The web server of the live page: readers are bounded, and a slow one is dropped."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from ordersys.live import server as servers
from ordersys.live.board import MOST_READERS, Board
from ordersys.live.server import Server
from ordersys.local.live_link import new_key

SECONDS = 20.0


class Served(NamedTuple):
    """A page on a board of ours."""

    board: Board
    port: int
    key: str
    streams: list[asyncio.StreamWriter]

    async def ask(self, buffer: int = 0) -> asyncio.StreamReader:
        """Asks for the stream, with a receive buffer of so many bytes; it is open until it is closed, or all are."""
        connection = socket.socket()
        if buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.connect(("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=connection, limit=buffer or 65536)
        host = f"127.0.0.1:{self.port}"
        writer.write(f"GET /live/events?key={self.key} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        self.streams.append(writer)
        return reader


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A server with something to show."""

    async def details(order_id: str) -> Mapping[str, Any]:
        return {}

    board, key = Board(), new_key()
    server = Server(board, details, 0, key)
    board.show({"a": 0})
    await server.start()
    served = Served(board, urlsplit(server.link).port or 0, key, [])
    yield served
    for stream in served.streams:
        stream.close()
    await server.stop()
    with suppress(ConnectionError):
        await asyncio.gather(*(stream.wait_closed() for stream in served.streams))


async def status(reader: asyncio.StreamReader) -> int:
    """The status of an answer."""
    return int((await asyncio.wait_for(reader.readline(), SECONDS)).split()[1])


async def test_one_page_too_many_is_sent_away_until_another_is_closed(served: Served) -> None:
    """With the status that says so."""
    admitted = [await status(await served.ask()) for _ in range(MOST_READERS)]
    assert admitted == [200] * MOST_READERS
    assert await status(await served.ask()) == 503
    served.streams[0].close()
    async with asyncio.timeout(SECONDS):
        while await status(await served.ask()) != 200:
            served.board.show({"a": len(served.streams)})  # that a stream is gone is noticed at the next write


async def test_a_page_that_was_closed_makes_room_though_nothing_happens(served: Served) -> None:
    """Else one that is opened again and again is sent away, for as long as nothing is written."""
    for _ in range(MOST_READERS):
        await asyncio.wait_for((await served.ask()).readuntil(b"data: "), SECONDS)
    for stream in served.streams:
        stream.close()
    async with asyncio.timeout(servers._STILL_HERE_SECONDS / 3):
        while await status(await served.ask()) != 200:
            pass


async def test_a_page_that_takes_nothing_is_dropped_and_delays_no_other(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much there would be to send."""
    monkeypatch.setattr(servers, "_SLOW_SECONDS", 2.0)
    slow, quick = await served.ask(buffer=4096), await served.ask()
    assert [await status(slow), await status(quick)] == [200, 200]
    is_up_to_date = asyncio.Event()

    async def read() -> None:
        end = b""
        while chunk := await quick.read(65536):
            end = (end + chunk)[-1000:]
            if b"the last" in end:
                is_up_to_date.set()

    reading = asyncio.create_task(read())
    async with asyncio.timeout(SECONDS * 2):
        while served.board._readers == 2:
            served.board.show({"a": "x" * 300_000 + str(time.monotonic())})
            await asyncio.sleep(0.1)
        served.board.show({"a": "the last"})
        await is_up_to_date.wait()
    reading.cancel()


async def test_a_server_that_stops_waits_for_no_page(served: Served) -> None:
    """An open stream ends."""
    reader = await served.ask()
    assert await status(reader) == 200
    served.board.close()
    await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), SECONDS)


async def test_the_contract_is_there_to_read_under_its_own_policy(served: Served) -> None:
    """It names its style and its script by their hashes; one in a header as well would forbid them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    served.streams.append(writer)
    writer.write(f"GET /contract HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(SECONDS):
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0].endswith(b"200 OK")
    (policy,) = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-security-policy:")]
    assert b"default-src" not in policy and b'http-equiv="Content-Security-Policy"' in body
    assert body == (files("ordersys.api") / "contract.html").read_bytes()


@pytest.mark.parametrize(
    ("line", "answered"),
    [
        ("GET /", 200),
        ("GET /main.js", 200),
        ("GET /contract", 200),
        ("GET /live/events", 403),
        ("GET /live/events?key={key}", 200),
        ("GET /live/orders/1?key={key}", 200),
        ("GET /nothing", 404),
        ("GET /not/there", 404),
        ("OPTIONS /live/break", 405),
        ("POST /live/break", 405),
        ("POST /v1/traces", 401),
    ],
)
async def test_no_answer_may_be_framed_or_read_by_another_page(served: Served, line: str, answered: int) -> None:
    """Errors among them: browsers are told so by headers, and no other origin is ever let in."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    served.streams.append(writer)
    head = [f"{line.format(key=served.key)} HTTP/1.1", f"Host: 127.0.0.1:{served.port}", "Origin: http://evil.example"]
    writer.write("\r\n".join([*head, "Content-Length: 0", "", ""]).encode())
    async with asyncio.timeout(SECONDS):
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert int(first.split()[1]) == answered
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["x-content-type-options"] == "nosniff"
    assert [name for name in headers if name.startswith("access-control-")] == []


@pytest.mark.parametrize(
    "broken", ["GET / HTTP/9.9", "GET http://[::1 HTTP/1.1", "GET / HTTP/1.1\r\nContent-Length: x"]
)
async def test_malformed_requests_leave_a_few_short_lines_in_the_log(
    served: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Anybody on the machine can send them. No traceback, nor the words of the request, in which the key may stand."""

    async def send() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(f"{broken}\r\nX-Secret: hidden {served.key}\r\n\r\n".encode())
        assert await status(reader) == 400
        writer.close()
        await writer.wait_closed()

    for _ in range(20):
        await send()
    assert len(caplog.records) == servers.MOST_MALFORMED
    assert all(record.exc_info is None and len(record.getMessage()) < 120 for record in caplog.records)
    monkeypatch.setattr(servers, "_MINUTE_SECONDS", 0.0)
    await send()
    assert f"{20 - servers.MOST_MALFORMED} more" in caplog.records[-1].getMessage()
    assert served.key not in caplog.text and "[::1" not in caplog.text

"""The bounds of breaking on purpose: actions, targets and amounts, links and socket, and the way of the page to it."""

import asyncio
import json
import os
import re
import signal
import socket
import stat
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import psutil
import pytest

from ordersys.contract.addresses import Address
from ordersys.live import breaking as page
from ordersys.live.board import Board
from ordersys.live.server import Server
from ordersys.local.breaking import breaking as breakings
from ordersys.local.breaking import socket_file, wiring
from ordersys.local.breaking.actions import (
    ACTIONS,
    BURST,
    CUT,
    FILL,
    KILL,
    LINK,
    MEND,
    MOST_BYTES,
    NOTHING,
    PAUSE,
    PROCESS,
    STATUS,
    SUBSCRIBER,
    Refused,
    Request,
    parse,
)
from ordersys.local.breaking.breaking import Breaking, Victim, World
from ordersys.local.breaking.links import Links
from ordersys.local.breaking.load import Burst, Entrance
from ordersys.local.choices import CannotStart, Choices, check
from ordersys.local.groups import Group
from ordersys.local.live_link import new_key
from ordersys.local.ports import LOOPBACK
from ordersys.runtime.rabbitmq.urls import parse as parse_urls

TARGETS = {
    PROCESS: ["order_service", "rabbitmq"],
    LINK: ["order_service/rabbitmq"],
    SUBSCRIBER: ["notification_service_1"],
    NOTHING: [""],
}
SECONDS = 10.0
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        ({"action": "burst"}, Request("burst", "", 200)),
        ({"action": "burst", "amount": 1000}, Request("burst", "", 1000)),
        ({"action": "kill", "target": "rabbitmq"}, Request("kill", "rabbitmq")),
        ({"action": "pause", "target": "order_service", "amount": 1}, Request("pause", "order_service", 1)),
        ({"action": "cut", "target": "order_service/rabbitmq"}, Request("cut", "order_service/rabbitmq", 12)),
        ({"action": "poison"}, Request("poison")),
        ({"action": "fill", "target": "notification_service_1"}, Request("fill", "notification_service_1", 200)),
        ({"action": "mend"}, Request("mend")),
        ({"action": "status"}, Request(STATUS)),
    ],
)
def test_an_action_is_taken_with_its_target_and_amount(request_: Mapping[str, Any], wanted: Request) -> None:
    """The usual amount where none is named."""
    assert parse(json.dumps(request_).encode(), TARGETS) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[" * 1000,
        "[]",
        "null",
        "{}",
        '{"action": ["kill"]}',
        '{"action": "run", "target": "rm"}',
        '{"action": "kill"}',
        '{"action": "kill", "target": ""}',
        '{"action": "kill", "target": "1"}',
        '{"action": "kill", "target": "order_service/rabbitmq"}',
        '{"action": "kill", "target": {"pid": 1}}',
        '{"action": "kill", "target": "order_service", "amount": 1}',
        '{"action": "kill", "target": "order_service", "signal": 15}',
        '{"action": "pause", "target": "order_service", "amount": 31}',
        '{"action": "pause", "target": "order_service", "amount": 0}',
        '{"action": "pause", "target": "order_service", "amount": 1.5}',
        '{"action": "pause", "target": "order_service", "amount": true}',
        '{"action": "pause", "target": "order_service", "amount": "5"}',
        '{"action": "burst", "amount": 1001}',
        '{"action": "burst", "amount": -1}',
        '{"action": "burst", "amount": NaN}',
        '{"action": "burst", "target": "order_service"}',
        '{"action": "fill", "target": "order_service"}',
        '{"action": "cut", "target": "order_service"}',
        '{"action": "mend", "amount": 1}',
        '{"action": "mend"' + " " * MOST_BYTES + "}",
    ],
)
def test_whatever_is_not_declared_is_refused(text: str) -> None:
    """Unknown actions, targets and fields, and amounts out of bounds."""
    with pytest.raises(Refused):
        parse(text.encode(), TARGETS)


def test_every_action_is_bounded() -> None:
    """Nothing stays broken for longer than half a minute: whatever has a target says for how long."""
    for action in ACTIONS.values():
        assert action.most_seconds <= 30
        assert (action.most_seconds > 0) is (action.kind != NOTHING), action.name
        if action.bounds is not None:
            assert 1 <= action.bounds.least <= action.bounds.usual <= action.bounds.most <= 1000


def test_page_and_document_know_each_action_and_no_other() -> None:
    """By its name in the script; the document has a row for each button."""
    script = (ROOT / "ordersys" / "live" / "static" / "breaking.js").read_text(encoding="utf-8")
    table, _, code = script.partition("const LABELS = {\n")[2].partition("\n};\n")
    labels = dict(re.findall(r'^  (\w+): \["([^"]+)", ".+"\],$', table, re.MULTILINE))
    assert [*labels] == [*ACTIONS]
    (states,) = re.findall(r"^const STATES = \{(.+)\};$", code, re.MULTILINE)
    names = {*re.findall(r"(\w+): ", states), *re.findall(r'(?:action|\bname) [!=]== "(\w+)"', code)}
    assert {BURST, KILL, PAUSE, CUT, FILL, MEND} <= names <= ACTIONS.keys()
    section = (
        (ROOT / "docs" / "live.md").read_text(encoding="utf-8").partition("\n## Break it\n")[2].partition("\n## ")[0]
    )
    buttons = re.findall(r"^\| (.+?) \| .+ \| .*\|$", section, re.MULTILINE)
    assert buttons[1:] == [*labels.values()]


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        (Choices(break_it=True, amqp_url="amqp://guest:guest@127.0.0.1/"), "--amqp-url"),
        (Choices(break_it=True, database_url="postgresql://127.0.0.1/x"), "--database-url"),
        (Choices(break_it=True, settings={"ORDERSYS_DATABASE_URL": "postgresql://127.0.0.1/x"}), "DATABASE_URL"),
    ],
)
def test_what_belongs_to_somebody_else_is_not_broken(choices: Choices, said: str) -> None:
    """Neither their broker nor their database."""
    with pytest.raises(CannotStart, match=said):
        check(choices, {})


def test_what_other_machines_can_reach_is_not_broken() -> None:
    """Everything listens on loopback."""
    with pytest.raises(CannotStart, match="this machine alone"):
        check(Choices(break_it=True), {"order_service": Address("0.0.0.0", 50052)})  # noqa: S104 - refused


def test_what_cannot_be_seen_is_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that listens nobody knows where; one that has gone listens nowhere."""

    class Process:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def net_connections(self, kind: str) -> None:
            raise self.error

    service = SimpleNamespace(name="order_service", group=Group(1, 0.0))
    for error, expected in (
        (psutil.NoSuchProcess(1), nullcontext()),
        (psutil.AccessDenied(1), pytest.raises(CannotStart, match="order_service")),
    ):
        processes = [Process(error)]
        monkeypatch.setattr(wiring, "members", lambda group, processes=processes: processes)
        with expected:
            wiring.check_loopback([service])  # type: ignore[list-item]


@pytest.fixture
async def echo() -> AsyncIterator[Address]:
    """A server that sends back what it gets."""

    async def echoing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while octets := await reader.read(100):
                writer.write(octets)
        await closed(writer)

    server = await asyncio.start_server(echoing, LOOPBACK, 0)
    yield Address(LOOPBACK, server.sockets[0].getsockname()[1])
    server.close()


async def test_a_link_that_is_cut_passes_nothing_on_until_it_is_mended(echo: Address) -> None:
    """Neither on a connection that was open nor on a new one; its address stays the same."""
    links = Links()
    (at,) = await links.connect("a/b", [echo])
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection(at.host, at.port)
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        links.cut("a/b")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        await closed(writer)
        assert not await passes(at)
        links.uncut("a/b")
        assert await passes(at)
        assert await links.connect("a/b", [echo]) == [at]
    await links.close()


async def test_a_target_that_reads_nothing_ends_no_later_than_its_link() -> None:
    """The octets that it has not read are given up, and the link can be closed."""
    full, released, gone = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await full.wait()
        writer.write_eof()
        await released.wait()
        await closed(writer)
        gone.set()

    server = await asyncio.start_server(silent, LOOPBACK, 0, limit=1)
    links = Links()
    (at,) = await links.connect("a/b", [Address(LOOPBACK, server.sockets[0].getsockname()[1])])
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection(at.host, at.port)
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    while True:
                        writer.write(bytes(1_000_000))
                        await writer.drain()
            full.set()
            (forwarder,) = links._links["a/b"]
            while forwarder._tasks:
                await asyncio.wait(forwarder._tasks)
            writer.transport.abort()
            await links.close()
    finally:
        released.set()
        await gone.wait()
        server.close()


async def passes(at: Address) -> bool:
    """True where a word comes back."""
    reader, writer = await asyncio.open_connection(at.host, at.port)
    try:
        writer.write(b"x")
        return await reader.readexactly(1) == b"x"
    except (ConnectionError, asyncio.IncompleteReadError):
        return False
    finally:
        await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    """Closes a connection, which may have been reset."""
    with suppress(ConnectionError):
        writer.close()
        await writer.wait_closed()


async def answered(line: bytes) -> Mapping[str, Any]:
    """A launcher that takes everything that is declared."""
    return {"took": parse(line, TARGETS).action, "effects": [], "done": []}


async def test_the_socket_is_for_its_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its mode; and whoever connects as somebody else gets nothing, nor is the socket of somebody else asked."""
    server = await socket_file.serve(tmp_path, answered)
    status = (tmp_path / socket_file.FILE).stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert (await socket_file.ask(tmp_path, {"action": "mend"}))["took"] == "mend"
    assert "there is no such action" in (await socket_file.ask(tmp_path, {"action": "x"}))["error"]
    with monkeypatch.context() as other:
        other.setattr(os, "geteuid", lambda: status.st_uid + 1)
        with pytest.raises(socket_file.NotThere, match="not the socket of this user"):
            await socket_file.ask(tmp_path, {"action": "mend"})
        other.setattr(socket_file, "is_ours", lambda connection: False)
        other.setattr(os, "geteuid", lambda: status.st_uid)
        assert "the user who started" in (await socket_file.ask(tmp_path, {"action": "mend"}))["error"]
    server.close()
    with pytest.raises(socket_file.NotThere):
        await socket_file.ask(tmp_path / "none", {"action": "mend"})


def test_a_file_in_the_place_of_the_socket_is_left_as_it_is(tmp_path: Path) -> None:
    """It is refused as none of ours; what ends then must not remove it."""
    (tmp_path / socket_file.FILE).write_text("of somebody else")
    breaking = Breaking(tmp_path)
    breaking.start()
    with pytest.raises(FileExistsError):
        breaking.open(World(dict, (), lambda name, seconds: None, Entrance, list, ""))  # type: ignore[arg-type]
    breaking.mend()
    breaking.stop()
    assert (tmp_path / socket_file.FILE).read_text() == "of somebody else"


async def test_an_action_that_fails_is_answered(tmp_path: Path) -> None:
    """For any reason; that is for the launcher's own output."""

    async def failing(line: bytes) -> Mapping[str, Any]:
        raise KeyError("/secret/path")

    server = await socket_file.serve(tmp_path, failing)
    answer = await socket_file.ask(tmp_path, {"action": "mend"})
    server.close()
    assert "has failed" in answer["error"]
    assert "KeyError" not in answer["error"] and "secret" not in answer["error"]


class Alone(NamedTuple):
    """A process that nobody supervises."""

    running: bool = True
    group: Group | None = Group(-1, 0.0)


@pytest.fixture
def breaking(tmp_path: Path) -> Iterator[Breaking]:
    """A launcher's part with one process, at a socket."""

    def entrance() -> Entrance:
        return Entrance(Address(LOOPBACK, 1), None, None)

    began = Breaking(tmp_path)
    began.start()
    victims = {"order_service": Victim(Alone(), "order_service")}
    began.open(World(lambda: victims, (), lambda name, seconds: None, entrance, lambda: parse_urls("amqp://x"), ""))
    yield began
    began.mend()
    began.stop()


def fail(*_: object) -> None:
    """Fails as nobody foresees."""
    raise RuntimeError("unforeseen")


@pytest.mark.parametrize(
    ("action", "fails"),
    [
        ({"action": "pause", "target": "order_service", "amount": 1}, "send"),
        ({"action": "kill", "target": "order_service"}, "kill"),
        ({"action": "burst", "amount": 1}, "burst"),
    ],
)
async def test_an_effect_that_fails_ends_alone(
    breaking: Breaking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: Mapping[str, Any], fails: str
) -> None:
    """It is over and told of, links pass on, and the next action is taken."""
    if fails == "send":
        monkeypatch.setattr(breakings, "send", lambda groups, number: fail() if number == signal.SIGCONT else None)
    elif fails == "kill":
        monkeypatch.setattr(breakings, "kill", fail)
    else:
        monkeypatch.setattr(Burst, "run", fail)
    await socket_file.ask(tmp_path, action)
    until = time.monotonic() + SECONDS
    while (state := await socket_file.ask(tmp_path, {"action": STATUS}))["effects"]:
        assert time.monotonic() < until
    assert fails == "kill" or any("has failed" in entry["text"] for entry in state["done"])
    assert breaking._thread.is_alive()


def test_the_other_side_is_known_by_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system tells."""
    one_end, other_end = socket.socketpair()
    with one_end, other_end:
        assert socket_file.is_ours(one_end)
        user = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: user + 1)
        assert socket_file.is_ours(one_end) is not hasattr(socket, "SO_PEERCRED")


async def test_a_folder_may_have_any_name_that_is_one(tmp_path: Path) -> None:
    """A socket's name has 100 bytes at most, whatever else the path of a file may have."""
    (folder := tmp_path / ("x" * 200)).mkdir()
    server = await socket_file.serve(folder, answered)
    assert await socket_file.ask(folder, {"action": "mend"}) == await answered(b'{"action": "mend"}')
    server.close()
    await server.wait_closed()


async def test_a_socket_that_cannot_be_is_told_before_it_is_made(tmp_path: Path) -> None:
    """A file of somebody's stays where it is."""
    (tmp_path / socket_file.FILE).write_text("mine")
    with pytest.raises(FileExistsError, match="no socket"):
        await socket_file.serve(tmp_path, answered)


def test_a_loop_that_has_ended_is_borne(tmp_path: Path) -> None:
    """The launcher ends all the same."""
    ended = Breaking(tmp_path)
    ended.start()
    ended.stop()
    ended.mend()
    ended.stop()


MENDING = '{"action": "mend"}'
NOBODY: Mapping[str, str | None] = {}


class Served(NamedTuple):
    """A page, its token, and a way to ask it."""

    origin: str
    token: str
    session: aiohttp.ClientSession

    async def post(
        self, body: str = MENDING, changed: Mapping[str, str | None] = NOBODY
    ) -> tuple[int, Mapping[str, Any]]:
        """The status and the answer; headers may be changed, or left out."""
        usual = {"Origin": self.origin, page.HEADER: self.token, "Content-Type": "application/json"}
        given = {**usual, **{name.replace("_", "-"): value for name, value in changed.items()}}
        headers = {name: value for name, value in given.items() if value is not None}
        async with self.session.post(f"{self.origin}{page.PATH}", data=body, headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text.startswith("{") else {"error": text}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """A page beside a launcher that may be asked."""
    launcher = await socket_file.serve(tmp_path, answered)
    async for one_page in _served(page.Breaking(tmp_path, new_key(), Board())):
        yield one_page
    launcher.close()


@pytest.fixture
async def only_reads() -> AsyncIterator[Served]:
    """A page without the flag."""
    async for one_page in _served(None):
        yield one_page


async def _served(breaking: page.Breaking | None) -> AsyncIterator[Served]:
    async def details(order_id: str) -> Mapping[str, Any]:
        return {}

    server = Server(Board(), details, 0, new_key())
    if breaking is not None:
        server.allow(breaking)
    await server.start()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS)) as session:
        yield Served(server.link.partition("/#")[0], breaking.token if breaking else "", session)
    await server.stop()


async def test_whoever_has_the_token_may_break(served: Served) -> None:
    """From the page itself."""
    status, answer = await served.post()
    assert (status, answer.get("took")) == (200, "mend")


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"X_Ordersys_Token": None}, 403),
        ({"X_Ordersys_Token": ""}, 403),
        ({"X_Ordersys_Token": "wrong"}, 403),
        ({"Origin": None}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1"}, 421),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
async def test_nobody_else_may(served: Served, changed: dict[str, str | None], status: int) -> None:
    """Not without the token, not from another page, not under another name of the host, and not by a form."""
    assert (await served.post(changed=changed))[0] == status


@pytest.mark.parametrize(("token", "path"), [(b"\xff", b""), (b"wrong", b"?key=\xff"), (b"\xed\xa0\x80", b"?key=%ff")])
async def test_a_token_that_is_no_text_is_a_wrong_one(served: Served, token: bytes, path: bytes) -> None:
    """Octets that are no UTF-8 are compared as they came."""
    headers = [b"Origin: " + served.origin.encode(), b"X-Ordersys-Token: " + token, b"Content-Type: application/json"]
    posted = await raw(served, b"POST /live/break" + path, *headers, b"Content-Length: 2", b"", b"{}")
    looked = await raw(served, b"GET /live/events" + path, b"", b"")
    assert {answer[0].split()[1] for answer in (posted, looked)} <= {b"400", b"403"}


async def test_a_body_may_come_in_parts(served: Served) -> None:
    """As a network cuts it."""
    token = served.token.encode()
    headers = [b"Origin: " + served.origin.encode(), b"X-Ordersys-Token: " + token, b"Content-Type: application/json"]
    length = b"Content-Length: %d" % len(MENDING)
    first, rest = MENDING.encode()[:5], MENDING.encode()[5:]
    answer = await raw(served, b"POST /live/break", *headers, length, b"", first, then=rest)
    assert b" 200 " in answer[0]


async def raw(served: Served, line: bytes, *lines: bytes, then: bytes = b"") -> list[bytes]:
    """The lines of the answer to a request of these octets; the rest of the body comes later."""
    host = urlsplit(served.origin).netloc
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection(*host.split(":"))
        head = [line + b" HTTP/1.1", b"Host: " + host.encode(), b"Connection: close", *lines]
        writer.write(b"\r\n".join(head))
        await writer.drain()
        if then:
            await asyncio.sleep(0.2)  # so that it is another segment
            writer.write(then)
        answer = await reader.read()
        await closed(writer)
    return answer.split(b"\r\n")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("no JSON", 400),
        ('{"action": "run"}', 400),
        ('{"action": "burst", "amount": 100000}', 400),
        ('"mend"', 400),
        ('{"action": "mend"}' + " " * MOST_BYTES, 413),
    ],
)
async def test_the_page_passes_on_what_is_declared_alone(served: Served, body: str, status: int) -> None:
    """And says why not."""
    answered_with, answer = await served.post(body)
    assert answered_with == status
    assert answer["error"]


async def test_the_key_is_no_token_and_the_token_no_key(served: Served) -> None:
    """And neither is taken from the query."""
    async with served.session.get(f"{served.origin}/live/events?key={served.token}") as answer:
        assert answer.status == 403
    url = f"{served.origin}{page.PATH}?token={served.token}"
    headers = {"Origin": served.origin, "Content-Type": "application/json"}
    async with served.session.post(url, data='{"action": "mend"}', headers=headers) as answer:
        assert answer.status == 403


async def test_without_the_flag_the_page_only_reads(only_reads: Served) -> None:
    """It has no such way, whatever is shown to it."""
    assert (await only_reads.post())[0] == 405
    async with only_reads.session.get(f"{only_reads.origin}{page.PATH}") as answer:
        assert answer.status == 404

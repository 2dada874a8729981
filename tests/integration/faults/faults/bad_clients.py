"""Faults of clients without manners, by accident or on purpose: good ones are served all the same, and in time.

While it goes on, no service takes more memory than is stated. What is never going to end, the service ends.
"""

import gzip
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
import psutil

from ordersys.api.product.v1.product_service_pb2 import (
    CancelOrderRequest,
    CreateProductRequest,
    GetProductRequest,
    ListProductsRequest,
)
from tests import http2
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.faults.fault import Act, Fault, FaultContext
from tests.integration.faults.faults.service_watch import MOST_BYTES, Ask, harm, watching
from tests.integration.faults.workload.load import PATH
from tests.integration.faults.workload.manner import manner
from tests.integration.faults.workload.raw_clients import RawClient, RawClients
from tests.integration.faults.workload.requests import creating, new_id

_SERVICE = "/ordersys.api.product.v1.ProductService/"
_FEW, _MANY, _CALLS = 4, 300, 150
_BEARABLE_SECONDS = 20.0
"""A service waits 5 s for a client to say what it wants; the rest is for a busy machine, which hears of it late."""
_SPARE_FILES = 40
_READERS, _PAGES, _WORDY, _PATIENCE = 2, 100, 100, 20.0
_BOMB_BYTES = 256 * 1024 * 1024
_GIANT = b"\0" + b"\xff" * 4 + b"x" * 1000
_FIELDS = [(f"x-{number}", "x" * 100) for number in range(120)]
_MANY_FIELDS = [(f"x-{number}", "x" * 100) for number in range(10_000)]
_FLOODERS, _FLOODS = 32, 10
_CANCEL_CODE = (8).to_bytes(4)


class Misdeed(NamedTuple):
    """The actions of raw clients, whether the service has to end them, whether they need large pages."""

    do: Callable[[RawClients], None]
    ended: bool = False
    large: bool = False
    most_bytes: int = MOST_BYTES


def bad_client_faults() -> Iterator[Fault]:
    """One misdeed each, by many at once."""
    for name, misdeed in MISDEEDS.items():
        yield Fault(f"clients that {name}", suffers(misdeed))
    yield Fault("clients that use up all descriptors", _uses_up_descriptors)


def suffers(misdeed: Misdeed) -> Act:
    """The Product Service suffers it."""

    def act(context: FaultContext) -> Sequence[Finding]:
        address = context.environment.service("product_service").address
        if misdeed.large:
            _fill_pages(context)
        raw = RawClients(address, context.dice, manner(context.environment.identities))
        with watching(context.environment, buying(context)) as seen, raw as raw_clients:
            misdeed.do(raw_clients)
            borne = raw_clients.borne_after(_BEARABLE_SECONDS) if misdeed.ended else 0
            context.last(4.0 if misdeed.large else 1.0, 10.0)
        return [*unended(borne), *harm(seen, misdeed.most_bytes)]

    return act


def unended(borne: int) -> Iterator[Finding]:
    """Finds connections that the service should have ended."""
    if borne:
        yield Finding(Kind.UNRECOVERED, f"{borne} connections were still borne with after {_BEARABLE_SECONDS:.0f} s")


def buying(context: FaultContext) -> Ask:
    """The call of a client that does no harm."""
    request = GetProductRequest(product_id=context.goods.plenty[0])

    def ask(channel: grpc.Channel, timeout: float) -> object:
        get: Any = channel.unary_unary(_SERVICE + "GetProduct", request_serializer=GetProductRequest.SerializeToString)
        return get(request, timeout=timeout)

    return ask


def _uses_up_descriptors(context: FaultContext) -> Sequence[Finding]:
    """Only so many files may the service still open; many more connect. Who was there before goes on."""
    process = psutil.Process(context.environment.pid("product_service"))
    before = process.rlimit(psutil.RLIMIT_NOFILE)
    try:
        with watching(context.environment, buying(context)) as seen:
            process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + _SPARE_FILES, before[1]))
            address = context.environment.service("product_service").address
            with RawClients(address, context.dice, manner(context.environment.identities)) as raw_clients:
                _idle(raw_clients)
                context.last(2.0, 10.0)
    finally:
        process.rlimit(psutil.RLIMIT_NOFILE, before)
    return list(harm(seen))


def _say_nothing(raw_clients: RawClients) -> None:
    for _ in range(_MANY):
        raw_clients.connect()


def _idle(raw_clients: RawClients) -> None:
    for _ in range(_MANY):
        raw_clients.connect().greet()


def _stall(raw_clients: RawClients) -> None:
    """The headers of calls, and nothing more."""
    for client in _few(raw_clients):
        for _ in range(_CALLS):
            client.call(PATH)


def _announce_giants(raw_clients: RawClients) -> None:
    """Requests of 4 GiB, as they say, and the beginning of them."""
    for client in _few(raw_clients):
        for _ in range(_CALLS):
            client.say(http2.frame(http2.DATA, 0, client.call(PATH), _GIANT))


def _send_giant_frames(raw_clients: RawClients) -> None:
    """Frames of 16 MiB, as they say."""
    for kind in (http2.DATA, http2.HEADERS, http2.SETTINGS, http2.PING):
        client = raw_clients.connect().greet()
        client.call(PATH)
        client.say(b"\xff\xff\xff" + bytes([kind, 0]) + b"\0\0\0\1" + bytes(100_000))


def _send_bombs(raw_clients: RawClients) -> None:
    """Requests that become a thousand times as large when they are unpacked."""
    bomb = gzip.compress(bytes(_BOMB_BYTES), 9)
    for client in _few(raw_clients):
        stream = client.call(PATH, [("grpc-encoding", "gzip")])
        client.say(http2.message(stream, bomb, compressed=True))


def _flood_with_metadata(raw_clients: RawClients) -> None:
    """More than is taken with a call; and some that never ends (the CONTINUATION flood of 2024)."""
    for client in _few(raw_clients):
        for _ in range(_CALLS):
            client.call(PATH, _FIELDS, http2.END_HEADERS | http2.END_STREAM)
        endless = client.call(PATH, flags=0)
        for _ in range(_MANY):
            client.say(http2.frame(http2.CONTINUATION, 0, endless, http2.block(_FIELDS)))


def _flood_with_headers(raw_clients: RawClients) -> None:
    """Headers in CONTINUATION frames, many at once and 1.1 MB each, from clients that acknowledge nothing.

    Until they do, no limit on metadata holds: gRPC keeps what comes, and most of it even becomes a call. What a service
    takes then depends on how soon it gets to look at itself: twice as much as else is borne (docs/reliability.md).
    """
    blocks = [_in_frames(1 + 2 * number, http2.call_fields(PATH) + _MANY_FIELDS) for number in range(_FLOODS)]
    with ThreadPoolExecutor(_FLOODERS) as flooders:
        for client in [raw_clients.connect().greet() for _ in range(_FLOODERS)]:
            flooders.submit(client.say, b"".join(blocks))


def _flood_with_endless_headers(raw_clients: RawClients) -> None:
    """The same, and no call ever begins: each its 16 MiB."""
    endless = http2.frame(http2.HEADERS, 0, 1, http2.block(http2.call_fields(PATH)))
    part = http2.frame(http2.CONTINUATION, 0, 1, http2.block(_FIELDS))
    with ThreadPoolExecutor(_FLOODERS) as flooders:
        for client in [raw_clients.connect().greet() for _ in range(_FLOODERS)]:
            flooders.submit(client.say, endless + part * 800)


def _fill_windows(raw_clients: RawClients) -> None:
    """The beginning of requests of 4 MB, as much of each as is taken before anybody reads it."""
    begun = bytes([0]) + (4_000_000).to_bytes(4) + b"x" * 60_000
    frames = [begun[at : at + http2.FRAME_SIZE] for at in range(0, len(begun), http2.FRAME_SIZE)]
    with ThreadPoolExecutor(_FLOODERS) as flooders:
        for client in [raw_clients.connect().greet() for _ in range(_FLOODERS)]:
            calls = [client.call(PATH) for _ in range(_CALLS)]
            said = b"".join(http2.frame(http2.DATA, 0, stream, part) for stream in calls for part in frames)
            flooders.submit(client.say, said)


def _watch_and_never_read(raw_clients: RawClients) -> None:
    """Streams of health, as many as are taken and more, and a window that lets no word of them through."""
    for _ in range(_MANY // 10):
        client = raw_clients.connect().greet({http2.INITIAL_WINDOW_SIZE: 0})
        for _ in range(10):
            client.say(http2.message(client.call("/grpc.health.v1.Health/Watch"), b""))


def _in_frames(stream: int, fields: Sequence[tuple[str, str]]) -> bytes:
    """One header block, however long, in frames every peer takes."""
    block = http2.block(fields)
    parts = [block[at : at + http2.FRAME_SIZE] for at in range(0, len(block), http2.FRAME_SIZE)]
    first = http2.frame(http2.HEADERS, 0, stream, parts[0])
    return first + b"".join(
        http2.frame(http2.CONTINUATION, http2.END_HEADERS if part is parts[-1] else 0, stream, part)
        for part in parts[1:]
    )


def _reset_rapidly(raw_clients: RawClients) -> None:
    """Calls given up in the same breath (CVE-2023-44487); had they not been, they would be refused."""
    for client in _few(raw_clients):
        for _ in range(10 * _CALLS):
            unknown = CancelOrderRequest(request_id=new_id(raw_clients.dice), order_id=new_id(raw_clients.dice))
            stream = client.call(_SERVICE + "CancelOrder")
            given_up = http2.frame(http2.RST_STREAM, 0, stream, _CANCEL_CODE)
            client.say(http2.message(stream, unknown.SerializeToString()) + given_up)


def _come_and_go(raw_clients: RawClients) -> None:
    for _ in range(_MANY):
        client = raw_clients.connect().greet()
        client.call(PATH)
        client.leave(rudely=True)


def _take_nothing(raw_clients: RawClients) -> None:
    """Calls for large pages, and a window that lets none of it through."""
    for _ in range(_READERS):
        _list(raw_clients.connect().greet({http2.INITIAL_WINDOW_SIZE: 0}))


def _never_read(raw_clients: RawClients) -> None:
    """Calls for large pages, every window wide open, and nobody listens."""
    for _ in range(_READERS):
        _list(raw_clients.connect(buffer=4096).greet({http2.INITIAL_WINDOW_SIZE: http2.WIDEST_WINDOW}))


def _few(raw_clients: RawClients) -> Iterator[RawClient]:
    return (raw_clients.connect().greet() for _ in range(_FEW))


def _fill_pages(context: FaultContext) -> None:
    """Lets a page of products be large."""
    texts = {f"wordy-{number}": "x" * 2000 for number in range(_WORDY)}
    with context.environment.channel("product_service") as channel:
        path, serializer = _SERVICE + "CreateProduct", CreateProductRequest.SerializeToString
        create: Any = channel.unary_unary(path, request_serializer=serializer)
        creations = [creating(new_id(context.dice), product, 0) for product in texts]
        for creation in creations:
            creation.product.description = texts[creation.product.id]
        for under_way in [create.future(creation, timeout=_PATIENCE) for creation in creations]:
            under_way.exception()


def _list(client: RawClient) -> None:
    client.say(http2.window_update(0, http2.WIDEST_WINDOW - http2.FIRST_WINDOW))
    page = ListProductsRequest(page_size=500).SerializeToString()
    for _ in range(_PAGES):
        client.say(http2.message(client.call(_SERVICE + "ListProducts"), page))


MISDEEDS = {
    "say nothing": Misdeed(_say_nothing, ended=True),
    "connect and call nobody": Misdeed(_idle),
    "send no requests": Misdeed(_stall, ended=True),
    "announce 4 GiB": Misdeed(_announce_giants, ended=True),
    "send giant frames": Misdeed(_send_giant_frames, ended=True),
    "send compression bombs": Misdeed(_send_bombs, ended=True),
    "flood with metadata": Misdeed(_flood_with_metadata, ended=True),
    "flood with headers, acknowledging nothing": Misdeed(_flood_with_headers, ended=True, most_bytes=2 * MOST_BYTES),
    "flood with endless headers, acknowledging nothing": Misdeed(
        _flood_with_endless_headers, ended=True, most_bytes=2 * MOST_BYTES
    ),
    "fill every window": Misdeed(_fill_windows, ended=True),
    "watch and never read": Misdeed(_watch_and_never_read),
    "reset rapidly": Misdeed(_reset_rapidly),
    "come and go": Misdeed(_come_and_go),
    "take nothing": Misdeed(_take_nothing, large=True),
    "never read": Misdeed(_never_read, large=True),
}

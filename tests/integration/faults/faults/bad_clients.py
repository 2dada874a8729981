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
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.faults.fault import Act, Fault, Scene
from tests.integration.faults.faults.service_watch import MOST_BYTES, Ask, harm, watching
from tests.integration.faults.workload import http2
from tests.integration.faults.workload.load import PATH
from tests.integration.faults.workload.raw_clients import Boor, Crowd
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
    """What a crowd does, whether the service has to put an end to it, whether it needs large pages."""

    do: Callable[[Crowd], None]
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

    def act(scene: Scene) -> Sequence[Finding]:
        address = scene.stage.service("product_service").address
        if misdeed.large:
            _fill_pages(scene)
        with watching(scene.stage, buying(scene)) as seen, Crowd(address, scene.dice) as crowd:
            misdeed.do(crowd)
            borne = crowd.borne_after(_BEARABLE_SECONDS) if misdeed.ended else 0
            scene.last(4.0 if misdeed.large else 1.0, 10.0)
        return [*unended(borne), *harm(seen, misdeed.most_bytes)]

    return act


def unended(borne: int) -> Iterator[Finding]:
    """What is never going to end is ended."""
    if borne:
        yield Finding(Kind.UNRECOVERED, f"{borne} connections were still borne with after {_BEARABLE_SECONDS:.0f} s")


def buying(scene: Scene) -> Ask:
    """What a client that does no harm asks for."""
    request = GetProductRequest(product_id=scene.goods.plenty[0])

    def ask(channel: grpc.Channel, timeout: float) -> object:
        get: Any = channel.unary_unary(_SERVICE + "GetProduct", request_serializer=GetProductRequest.SerializeToString)
        return get(request, timeout=timeout)

    return ask


def _uses_up_descriptors(scene: Scene) -> Sequence[Finding]:
    """Only so many files may the service still open; many more connect. Who was there before goes on."""
    process = psutil.Process(scene.stage.pid("product_service"))
    before = process.rlimit(psutil.RLIMIT_NOFILE)
    try:
        with watching(scene.stage, buying(scene)) as seen:
            process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + _SPARE_FILES, before[1]))
            with Crowd(scene.stage.service("product_service").address, scene.dice) as crowd:
                _idle(crowd)
                scene.last(2.0, 10.0)
    finally:
        process.rlimit(psutil.RLIMIT_NOFILE, before)
    return list(harm(seen))


def _say_nothing(crowd: Crowd) -> None:
    for _ in range(_MANY):
        crowd.connect()


def _idle(crowd: Crowd) -> None:
    for _ in range(_MANY):
        crowd.connect().greet()


def _stall(crowd: Crowd) -> None:
    """The headers of calls, and nothing more."""
    for boor in _few(crowd):
        for _ in range(_CALLS):
            boor.call(PATH)


def _announce_giants(crowd: Crowd) -> None:
    """Requests of 4 GiB, as they say, and the beginning of them."""
    for boor in _few(crowd):
        for _ in range(_CALLS):
            boor.say(http2.frame(http2.DATA, 0, boor.call(PATH), _GIANT))


def _send_giant_frames(crowd: Crowd) -> None:
    """Frames of 16 MiB, as they say."""
    for kind in (http2.DATA, http2.HEADERS, http2.SETTINGS, http2.PING):
        boor = crowd.connect().greet()
        boor.call(PATH)
        boor.say(b"\xff\xff\xff" + bytes([kind, 0]) + b"\0\0\0\1" + bytes(100_000))


def _send_bombs(crowd: Crowd) -> None:
    """Requests that become a thousand times as large when they are unpacked."""
    bomb = gzip.compress(bytes(_BOMB_BYTES), 9)
    for boor in _few(crowd):
        stream = boor.call(PATH, [("grpc-encoding", "gzip")])
        boor.say(http2.message(stream, bomb, compressed=True))


def _flood_with_metadata(crowd: Crowd) -> None:
    """More than is taken with a call; and some that never ends (the CONTINUATION flood of 2024)."""
    for boor in _few(crowd):
        for _ in range(_CALLS):
            boor.call(PATH, _FIELDS, http2.END_HEADERS | http2.END_STREAM)
        endless = boor.call(PATH, flags=0)
        for _ in range(_MANY):
            boor.say(http2.frame(http2.CONTINUATION, 0, endless, http2.block(_FIELDS)))


def _flood_with_headers(crowd: Crowd) -> None:
    """Headers in CONTINUATION frames, many at once and 1.1 MB each, from clients that acknowledge nothing.

    Until they do, no limit on metadata holds: gRPC keeps what comes, and most of it even becomes a call. What a service
    takes then depends on how soon it gets to look at itself: twice as much as else is borne (docs/reliability.md).
    """
    blocks = [_in_frames(1 + 2 * number, http2.call_fields(PATH) + _MANY_FIELDS) for number in range(_FLOODS)]
    with ThreadPoolExecutor(_FLOODERS) as flooders:
        for boor in [crowd.connect().greet() for _ in range(_FLOODERS)]:
            flooders.submit(boor.say, b"".join(blocks))


def _flood_with_endless_headers(crowd: Crowd) -> None:
    """The same, and no call ever begins: each its 16 MiB."""
    endless = http2.frame(http2.HEADERS, 0, 1, http2.block(http2.call_fields(PATH)))
    part = http2.frame(http2.CONTINUATION, 0, 1, http2.block(_FIELDS))
    with ThreadPoolExecutor(_FLOODERS) as flooders:
        for boor in [crowd.connect().greet() for _ in range(_FLOODERS)]:
            flooders.submit(boor.say, endless + part * 800)


def _fill_windows(crowd: Crowd) -> None:
    """The beginning of requests of 4 MB, as much of each as is taken before anybody reads it."""
    begun = bytes([0]) + (4_000_000).to_bytes(4) + b"x" * 60_000
    frames = [begun[at : at + http2.FRAME_SIZE] for at in range(0, len(begun), http2.FRAME_SIZE)]
    with ThreadPoolExecutor(_FLOODERS) as flooders:
        for boor in [crowd.connect().greet() for _ in range(_FLOODERS)]:
            calls = [boor.call(PATH) for _ in range(_CALLS)]
            said = b"".join(http2.frame(http2.DATA, 0, stream, part) for stream in calls for part in frames)
            flooders.submit(boor.say, said)


def _watch_and_never_read(crowd: Crowd) -> None:
    """Streams of health, as many as are taken and more, and a window that lets no word of them through."""
    for _ in range(_MANY // 10):
        boor = crowd.connect().greet({http2.INITIAL_WINDOW_SIZE: 0})
        for _ in range(10):
            boor.say(http2.message(boor.call("/grpc.health.v1.Health/Watch"), b""))


def _in_frames(stream: int, fields: Sequence[tuple[str, str]]) -> bytes:
    """One header block, however long, in frames every peer takes."""
    block = http2.block(fields)
    parts = [block[at : at + http2.FRAME_SIZE] for at in range(0, len(block), http2.FRAME_SIZE)]
    first = http2.frame(http2.HEADERS, 0, stream, parts[0])
    return first + b"".join(
        http2.frame(http2.CONTINUATION, http2.END_HEADERS if part is parts[-1] else 0, stream, part)
        for part in parts[1:]
    )


def _reset_rapidly(crowd: Crowd) -> None:
    """Calls given up in the same breath (CVE-2023-44487); had they not been, they would be refused."""
    for boor in _few(crowd):
        for _ in range(10 * _CALLS):
            unknown = CancelOrderRequest(request_id=new_id(crowd.dice), order_id=new_id(crowd.dice))
            stream = boor.call(_SERVICE + "CancelOrder")
            given_up = http2.frame(http2.RST_STREAM, 0, stream, _CANCEL_CODE)
            boor.say(http2.message(stream, unknown.SerializeToString()) + given_up)


def _come_and_go(crowd: Crowd) -> None:
    for _ in range(_MANY):
        boor = crowd.connect().greet()
        boor.call(PATH)
        boor.leave(rudely=True)


def _take_nothing(crowd: Crowd) -> None:
    """Calls for large pages, and a window that lets none of it through."""
    for _ in range(_READERS):
        _list(crowd.connect().greet({http2.INITIAL_WINDOW_SIZE: 0}))


def _never_read(crowd: Crowd) -> None:
    """Calls for large pages, every window wide open, and nobody listens."""
    for _ in range(_READERS):
        _list(crowd.connect(buffer=4096).greet({http2.INITIAL_WINDOW_SIZE: http2.WIDEST_WINDOW}))


def _few(crowd: Crowd) -> Iterator[Boor]:
    return (crowd.connect().greet() for _ in range(_FEW))


def _fill_pages(scene: Scene) -> None:
    """Lets a page of products be large."""
    texts = {f"wordy-{number}": "x" * 2000 for number in range(_WORDY)}
    with grpc.insecure_channel(scene.stage.service("product_service").address) as channel:
        path, serializer = _SERVICE + "CreateProduct", CreateProductRequest.SerializeToString
        create: Any = channel.unary_unary(path, request_serializer=serializer)
        creations = [creating(new_id(scene.dice), product, 0) for product in texts]
        for creation in creations:
            creation.product.description = texts[creation.product.id]
        for under_way in [create.future(creation, timeout=_PATIENCE) for creation in creations]:
            under_way.exception()


def _list(boor: Boor) -> None:
    boor.say(http2.window_update(0, http2.WIDEST_WINDOW - http2.FIRST_WINDOW))
    page = ListProductsRequest(page_size=500).SerializeToString()
    for _ in range(_PAGES):
        boor.say(http2.message(boor.call(_SERVICE + "ListProducts"), page))


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

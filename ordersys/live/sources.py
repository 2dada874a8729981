"""The sources of the page: health, products, the newest orders, the logs, the queues, the metrics, the dead letters.

All of it is read, nothing is changed, and nothing that is read is missed by anybody: queues are looked at by passive
declarations on one connection, events by the logs of their subscribers. Each source is read by itself; one that fails
is shown as such, keeps no other waiting, and is tried again.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from http.client import HTTPException
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from ordersys.api.notification.v1.dead_letter_service_pb2 import ListDeadLettersRequest
from ordersys.api.notification.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from ordersys.api.notification.v1.notification_log_pb2_grpc import NotificationLogStub
from ordersys.api.order.v1.order_service_pb2 import GetOrderRequest, ListOrdersRequest
from ordersys.api.product.v1.product_service_pb2 import ListProductsRequest
from ordersys.contract import pagination
from ordersys.contract.addresses import Address, Addresses, channel_options
from ordersys.contract.topology import topology
from ordersys.grpc_client.connection import Client
from ordersys.grpc_client.credentials import Credentials
from ordersys.grpc_client.peers import Peers
from ordersys.live.board import Board
from ordersys.live.exposition import Metrics
from ordersys.live.ledger import Ledger
from ordersys.live.log_reader import UNTRACED, LogReader
from ordersys.live.reconciliation import Reconciler, Seen, Stock
from ordersys.live.records import record
from ordersys.live.scraping import scraped
from ordersys.live.snapshot import Broker, Depth, Document, Facts, Letters, Process, Rate, document, order_document
from ordersys.runtime.rabbitmq.connection import Session
from ordersys.runtime.rabbitmq.errors import BrokerRefused, BrokerUnavailable
from ordersys.runtime.rabbitmq.reconnecting import opened
from ordersys.runtime.rabbitmq.refusals import NOT_FOUND
from ordersys.runtime.rabbitmq.urls import BrokerUrls

_HEALTH_SECONDS, _QUEUES_SECONDS, _READ_SECONDS, _STOCK_SECONDS = 0.5, 0.5, 1.0, 2.0
_SHOW_SECONDS = 0.25
_CALL_SECONDS = 1.0
"""A service that has not said by then that it is well is shown as one that does not answer, and so is a broker that
has not told its depths. With the half second between two questions that is within two seconds of its last word."""
_OPEN_SECONDS = 6.0  # a connection with TLS to a busy broker takes longer than a question
_MOST_SECONDS = 15.0
_ORDERS, _LETTERS, _PAGES = 50, 50, 4
_AGAIN_SECONDS = 10.0
_STUCK_SECONDS = 2.0
"""What is older than that in an outbox, or among sagas, is held up by something, and not only under way."""
_RATE_SAMPLES = 6
_LONGEST = 300
_STOCK = "stock"
SILENT = "does not answer"


class Places(NamedTuple):
    """The places that are read, and whom services know the reader as. `brokers` is None where nobody names one."""

    peers: Peers
    known_as: Credentials
    brokers: BrokerUrls | None
    metrics: Callable[[], Mapping[str, str]]
    """Tells the addresses of the metrics, by process: they may be others after a restart."""
    others: Mapping[str, Address | Addresses] = MappingProxyType({})
    """Subscribers of the contract beyond the peers, by name: those of which somebody said where they listen."""

    @property
    def services(self) -> Mapping[str, Address | Addresses]:
        """All that are read, by name."""
        return {**{peer.module.replace("_", "-"): peer.address for peer in self.peers}, **self.others}


class Sources:
    """Reads everything, again and again, into `facts`, and shows it on a board."""

    def __init__(self, places: Places, facts: Facts, board: Board) -> None:
        peers = places.peers
        self._places, self._facts, self._board = places, facts, board
        self._client = Client(peers, _CALL_SECONDS, known_as=places.known_as)
        self._queues = _Queues(places.brokers) if places.brokers else None
        numbers = {peer.module.replace("_", "-"): number for number, peer in enumerate(peers[2:], 1)}
        numbers |= {name: number for number, name in enumerate(places.others, len(numbers) + 1)}
        self._channels = {name: _channel(places, name, address) for name, address in places.others.items()}
        for name, channel in self._channels.items():  # they are asked as the others are
            self._client.logs[numbers[name]] = NotificationLogStub(channel)
            self._client.letters[numbers[name]] = DeadLetterServiceStub(channel)
        self._numbers = {s.consumer: numbers[s.consumer] for s in facts.subscribed if s.consumer in numbers}
        self._begin_anew(facts.ledger)
        self._well: dict[str, float] = {}
        self._broker_since: float | None = None
        self._settled_since: float | None = None
        self._began = int(time.time() * 1000)
        self._samples: dict[str, deque[tuple[float, Metrics]]] = {}
        self._letters_seen: dict[str, tuple[object, float]] = {}
        self._read = dict.fromkeys([_STOCK, *self._numbers], 0.0)
        """When the last reading of the stock, and of each log to its end, began."""

    def _begin_anew(self, ledger: Ledger) -> None:
        """Reads all logs from their beginning, into a ledger that is empty."""
        self._facts.ledger = ledger
        self._logs = {consumer: LogReader(self._client.logs[number]) for consumer, number in self._numbers.items()}
        self._reconciler = Reconciler(ledger, [peer.module.replace("_", "-") for peer in self._places.peers])

    def _empty_ledger(self) -> Ledger:
        return Ledger([s for s in self._facts.subscribed if s.consumer in self._numbers])

    async def run(self) -> None:
        """Reads until it is cancelled."""
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            stack.push_async_callback(self._client.close)
            for channel in self._channels.values():
                stack.push_async_callback(channel.close)
            if self._queues is not None:
                stack.push_async_callback(self._queues.close)
            for name, seconds, work in self._works(stack):
                group.create_task(self._repeat(name, seconds, work))
            group.create_task(self._show())

    async def order(self, order_id: str) -> Document:
        """An order with all that was recorded of it. Raises AioRpcError."""
        request = GetOrderRequest(order_id=order_id)
        order = (await self._client.orders.GetOrder(request, timeout=_CALL_SECONDS, metadata=UNTRACED)).order
        ledger = self._empty_ledger()
        for consumer, number in self._numbers.items():
            try:
                async for page in LogReader(self._client.logs[number], order.id).read():
                    for notification in page:
                        ledger.tell(consumer, record(notification), 0.0)
            except grpc.aio.AioRpcError:
                continue  # it is away, as the page says; the other has heard at least as much
        return order_document(ledger, order, ledger.newest())

    def _works(self, stack: AsyncExitStack) -> Iterator[tuple[str, float, Callable[[], Awaitable[None]]]]:
        for name, addresses in self._places.services.items():
            for address in addresses.each:
                channel = _channel(self._places, name, address)
                stack.push_async_callback(channel.close)
                yield f"health of {name} at {address}", _HEALTH_SECONDS, _Health(self, name, str(address), channel).ask
        yield "orders", _READ_SECONDS, self._read_orders
        yield _STOCK, _STOCK_SECONDS, self._read_stock
        for consumer in self._logs:
            yield f"log of {consumer}", _READ_SECONDS, _bound(self._read_log, consumer)
            yield f"dead letters of {consumer}", _READ_SECONDS, _bound(self._read_letters, consumer)
        yield "metrics", _READ_SECONDS, self._read_metrics
        yield "queues", _QUEUES_SECONDS, self._read_queues

    async def _repeat(self, name: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                async with asyncio.timeout(_MOST_SECONDS):
                    await work()
            except Exception as error:  # noqa: BLE001 - shown on the page; a source never ends the process
                self._trouble(name, _reason(error))
            else:
                self._trouble(name, "")
            await self._board.pause(seconds)

    def _trouble(self, name: str, reason: str) -> None:
        others = {source: text for source, text in self._facts.troubles.items() if source != name}
        self._facts.troubles = {**others, name: reason} if reason else others

    async def _show(self) -> None:
        """Shows what has changed four times a second."""
        while True:
            self.show_now()
            await self._board.pause(_SHOW_SECONDS)

    def show_now(self) -> None:
        """Reconciles, and shows what has changed: by itself, and at once where somebody went away or came back."""
        now = time.monotonic()
        self._note_who_is_well(now)
        self._facts.checks = self._reconciler.checks(self._seen(now))
        self._board.show(document(self._facts, int(time.time()) - 1))

    def _note_who_is_well(self, now: float) -> None:
        facts = self._facts
        serving = {process.name for process in facts.processes.values() if process.is_well}
        queues = {subscription.consumer: subscription.queue for subscription in facts.subscribed}
        for name in {process.name for process in facts.processes.values()}:
            depth = facts.broker.depths.get(queues.get(name, ""))
            is_free = f"log of {name}" not in facts.troubles and (depth is None or not depth.messages)
            if name in serving and is_free and facts.broker.state != "away":
                self._well.setdefault(name, now)
            else:
                self._well.pop(name, None)
        metrics = facts.metrics.values()
        is_stuck = any((told_by.outbox_age or 0) > _STUCK_SECONDS for told_by in metrics)  # a link to it is cut
        self._broker_since = _since(self._broker_since, now, facts.broker.state != "away" and not is_stuck)
        is_in_doubt = any((told_by.saga_age or 0) > _STUCK_SECONDS for told_by in metrics)
        self._settled_since = _since(self._settled_since, now, not is_in_doubt)

    def _seen(self, now: float) -> Seen:
        facts = self._facts
        orders = None if "orders" in facts.troubles else facts.orders
        stock = None if _STOCK in facts.troubles else facts.stock
        audits = [metrics.imbalance for metrics in facts.metrics.values() if metrics.imbalance is not None]
        audited = sum(audits) if audits else None
        letters = sum(len(letters.letters) for letters in facts.letters.values())
        since = self._broker_since
        well, settled = dict(self._well), self._settled_since
        behind = [consumer for consumer, log in self._logs.items() if log.is_behind]
        read = min(self._read[_STOCK], self._read.get(facts.ledger.source, 0.0))
        return Seen(now, well, since, orders, facts.is_all, stock, audited, self._began, settled, letters, behind, read)

    async def _read_orders(self) -> None:
        request = ListOrdersRequest(page_size=_ORDERS)
        page = await self._client.orders.ListOrders(request, timeout=_CALL_SECONDS, metadata=UNTRACED)
        self._facts.orders, self._facts.is_all = list(page.orders), not page.next_page_token

    async def _read_stock(self) -> None:
        """Of 2,000 products at most; of others nothing is compared."""
        began = time.monotonic()
        request = ListProductsRequest(page_size=pagination.MAXIMUM_SIZE)
        stock: dict[str, Stock] = {}
        for _ in range(_PAGES):
            page = await self._client.products.ListProducts(request, timeout=_CALL_SECONDS, metadata=UNTRACED)
            stock.update({product.id: Stock(product.available, product.held) for product in page.products})
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        self._facts.stock, self._read[_STOCK] = stock, began

    async def _read_log(self, consumer: str) -> None:
        began, log, ledger = time.monotonic(), self._logs[consumer], self._facts.ledger
        was_behind = log.is_behind
        async for page in log.read():
            now = time.monotonic()
            for notification in page:
                entry = record(notification)
                ledger.tell(consumer, entry, now, is_judged=log.is_whole or not was_behind)
                ledger.count(consumer, entry.kind, entry.recorded // 1000)
        if log.is_another:  # whatever is known is of the system before
            self._begin_anew(self._empty_ledger())
        elif not log.is_behind:
            self._read[consumer] = began

    async def _read_letters(self, consumer: str) -> None:
        """Lists them when there is a sign that they have changed; without metrics there is no sure one."""
        processes = [process for process in self._facts.processes.values() if process.name == consumer]
        if not any(process.is_well for process in processes):
            return
        metrics = {name: m.dead_letters for name, m in self._facts.metrics.items() if _is_of(name, consumer)}
        signs = (self._dead_letter_depth(consumer), metrics, processes)
        seen, listed = self._letters_seen.get(consumer, (None, 0.0))
        is_blind = not metrics or None in metrics.values()
        if signs == seen and not (is_blind and time.monotonic() - listed >= _AGAIN_SECONDS):
            return
        stub = self._client.letters[self._numbers[consumer]]
        request = ListDeadLettersRequest(page_size=_LETTERS)
        page = await stub.ListDeadLetters(request, timeout=_CALL_SECONDS, metadata=UNTRACED)
        self._letters_seen[consumer] = signs, time.monotonic()
        before = self._facts.letters.get(consumer)
        letters = Letters(list(page.dead_letters), bool(page.next_page_token), int(time.time() * 1000))
        if before is None or before[:2] != letters[:2]:
            self._facts.letters = {**self._facts.letters, consumer: letters}

    def _dead_letter_depth(self, consumer: str) -> int:
        names = [s.dead_letter_queue for s in self._facts.subscribed if s.consumer == consumer]
        depths = [self._facts.broker.depths.get(name) for name in names]
        return sum(depth.messages for depth in depths if depth is not None)

    async def _read_metrics(self) -> None:
        now, places = time.monotonic(), self._places.metrics()
        scrapes = (asyncio.to_thread(_scraped, address) for address in places.values())
        answers = zip(places, await asyncio.gather(*scrapes), strict=True)
        read = {name: metrics for name, metrics in answers if metrics is not None}
        for name, metrics in read.items():
            self._samples.setdefault(name, deque(maxlen=_RATE_SAMPLES)).append((now, metrics))
        self._facts.metrics = read
        self._facts.calls = [rate for name in read for rate in _rates(name, self._samples[name])]

    async def _read_queues(self) -> None:
        if self._queues is None:
            reason = "nobody said how to reach RabbitMQ, so that the depths of the queues are not known"
            self._facts.broker = Broker("unknown", reason)
            return
        before, self._facts.broker = self._facts.broker.state, await self._queues.read()
        if self._facts.broker.state != before:
            self.show_now()


class _Health:
    """The health of one process."""

    def __init__(self, owner: Sources, name: str, address: str, channel: grpc.aio.Channel) -> None:
        self._owner, self._facts, self._key = owner, owner._facts, (name, address)
        self._stub: Any = HealthStub(channel)

    async def ask(self) -> None:
        """Asks, and notes the answer with the time since when it has been the same."""
        health = await self._asked()
        before = self._facts.processes.get(self._key)
        since = int(time.time() * 1000) if before is None or before.health != health else before.since
        self._facts.processes = {**self._facts.processes, self._key: Process(*self._key, health, since)}
        if before is not None and before.health != health:
            self._owner.show_now()

    async def _asked(self) -> str:
        try:
            answer = await self._stub.Check(HealthCheckRequest(), timeout=_CALL_SECONDS)
        except grpc.aio.AioRpcError:
            return SILENT
        if answer.status not in HealthCheckResponse.ServingStatus.values():
            return str(answer.status)
        return str(HealthCheckResponse.ServingStatus.Name(answer.status))


class _Queues:
    """The depths of the queues of the contract, on one connection that is opened again when it breaks."""

    def __init__(self, brokers: BrokerUrls) -> None:
        self._brokers = brokers
        self._stack = AsyncExitStack()
        self._session: Session | None = None
        self._is_broken = False

    async def read(self) -> Broker:
        """The state of the broker. Waits for some seconds at most."""
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                session = await self._opened()
            async with asyncio.timeout(_CALL_SECONDS):
                return Broker("up", "", await _depths(session))
        except BrokerRefused as error:
            self._is_broken = True
            return Broker("unknown", str(error)[:_LONGEST])
        except (BrokerUnavailable, TimeoutError) as error:
            self._is_broken = True
            return Broker("away", str(error)[:_LONGEST] or SILENT)

    async def close(self) -> None:
        """Closes the connection."""
        await self._stack.aclose()

    async def _opened(self) -> Session:
        if self._session is None or self._is_broken or self._session.closed.done():
            # Only now: a silent broker takes its time to be left, and that it is away is to be shown before.
            self._session, self._is_broken = None, False
            await self._stack.aclose()
            self._session = await self._stack.enter_async_context(opened(self._brokers, "live page"))
        return self._session


async def _depths(session: Session) -> Mapping[str, Depth]:
    depths: dict[str, Depth] = {}
    left = [queue.name for queue in topology().queues]
    while left:
        async with session.rpc_channel() as channel:
            try:
                while left:
                    counts = await channel.find_queue(left[0])
                    depths[left.pop(0)] = Depth(counts.messages, counts.consumers)
            except BrokerUnavailable as error:  # which has closed the channel
                if error.code != NOT_FOUND:
                    raise
                left.pop(0)  # it is not there, or its node is away: the page shows no depth for it
    return depths


_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000))


def _channel(places: Places, name: str, address: Address | Addresses) -> grpc.aio.Channel:
    return places.known_as.channel(address.target, name, [*_OPTIONS, *channel_options(address)])


def _bound(work: Callable[[str], Awaitable[None]], consumer: str) -> Callable[[], Awaitable[None]]:
    return lambda: work(consumer)


def _since(before: float | None, now: float, holds: bool) -> float | None:
    """Since when something holds; None while it does not."""
    if not holds:
        return None
    return now if before is None else before


def _is_of(process: str, consumer: str) -> bool:
    """True for the name of a process of that service: order_service-2 is one of order-service."""
    return process.partition("-")[0].replace("_", "-") == consumer


def _scraped(address: str) -> Metrics | None:
    """None where the process does not answer: its health says that it is away."""
    try:
        return scraped(address, _CALL_SECONDS)
    except (OSError, HTTPException, ValueError):
        return None


def _rates(name: str, samples: Sequence[tuple[float, Metrics]]) -> Iterator[Rate]:
    """Calls a second over the samples; none across a restart, after which counts begin anew."""
    service = name.partition("-")[0].replace("_", "-")
    (first, before), (last, after) = samples[0], samples[-1]
    pairs = ((a.calls, b.calls) for (_, a), (_, b) in pairwise(samples))
    has_restarted = any(b.get(method, 0.0) < count for a, b in pairs for method, count in a.items())
    if last > first and not has_restarted:
        for method, count in after.calls.items():
            yield Rate(service, method, round((count - before.calls.get(method, 0.0)) / (last - first), 1))


def _reason(error: Exception) -> str:
    """The reason in one line that is not long."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details() or ''}"[:_LONGEST]
    text = str(error).splitlines()
    return (text[0] if text else type(error).__name__)[:_LONGEST]

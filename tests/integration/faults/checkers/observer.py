"""Observes a round when all is quiet: by calls, event taps, and queries of the databases for unfinished work."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest, Notification
from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderRejected, OrderUpdated
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest
from ordersys.api.product.v1.product_service_pb2 import ListProductsRequest
from ordersys.contract.events import Event
from tests.contract.harness.client import LISTENERS
from tests.integration.faults.checkers.observations import Finding, Kind, Lease, Observations, Stock
from tests.integration.faults.checkers.records import EXCHANGES, happened
from tests.integration.faults.environment import event_taps
from tests.integration.faults.environment.environment import Environment
from tests.integration.faults.workload.calls import Calls
from tests.integration.faults.workload.history import Operation

QUIET_SECONDS = 30.0
_PAGE = 500
_TIMEOUT = 10.0
_POLL = 0.1
_STILL_TO_DO = {
    "sagas without an outcome": ("product_service", "SELECT count(*) FROM sagas"),
    "refusals not published": ("product_service", "SELECT count(*) FROM outbox"),
    "changes not published": ("order_service", "SELECT count(*) FROM outbox"),
}


class Observer:
    """Observes round after round in one environment."""

    def __init__(self, calls: Calls, environment: Environment, patience: float = QUIET_SECONDS) -> None:
        self._calls = calls
        self._environment = environment
        self._patience = patience
        self._token = dict.fromkeys(LISTENERS, "")
        self._recorded: dict[str, dict[int, Notification]] = {listener: {} for listener in LISTENERS}
        self._reckoned: dict[str, object] = {}

    def observations(
        self, name: str, operations: Sequence[Operation], missed_before: Mapping[str, int]
    ) -> Observations:
        """The observations of the round called `name`, when all is quiet, or patience ends."""
        until = time.monotonic() + self._patience
        while any(left := self._left()) and any(left.values()) and time.monotonic() < until:
            time.sleep(_POLL)
        received = self._heard(name)
        self._wait_for_records(received, missed_before)
        recorded = {
            listener: [record for record in records.values() if _told_about(record).startswith(name)]
            for listener, records in self._recorded.items()
        }
        orders, stock = self._orders(name), self._stock(name)
        self._reckoned.update({**_versions(orders), **stock})
        database = self._environment.database
        leases = [] if database is None else [Lease(*entry) for entry in database.leases()]
        deadlocks = [] if database is None else database.deadlocks()
        return Observations(operations, orders, stock, received, recorded, missed_before, left, leases, deadlocks)

    def _wait_for_records(self, received: Mapping[str, Sequence[Event]], missed_before: Mapping[str, int]) -> None:
        """Until all is recorded, or patience ends without another record: what is late is not lost."""
        known, until = -1, 0.0
        while not self._all_recorded(received, missed_before):
            now = sum(map(len, self._recorded.values()))
            if now > known:
                known, until = now, time.monotonic() + self._patience
            elif time.monotonic() > until:
                return
            time.sleep(_POLL)

    def changed_since(self, name: str) -> list[Finding]:
        """The changes to orders and products of rounds called `name…` after they had been reckoned up."""
        now = {**_versions(self._orders(name, all_pages=True)), **self._stock(name)}
        changed = [key for key in now.keys() | self._reckoned.keys() if now.get(key) != self._reckoned.get(key)]
        return [Finding(Kind.DUPLICATED, f"{key} has changed since its round was over") for key in changed]

    def _left(self) -> dict[str, int]:
        state = self._environment.state
        left = {name: int(state.rows(service, query)[0][0]) for name, (service, query) in _STILL_TO_DO.items()}
        if self._environment.setup.replicas > 1:
            left.update(event_taps.crowded(self._environment.amqp))
        return left

    def _heard(self, name: str) -> dict[str, list[Event]]:
        everything = event_taps.read(self._environment.amqp)
        return {exchange: [e for e in es if _about(e.message).startswith(name)] for exchange, es in everything.items()}

    def _all_recorded(self, received: Mapping[str, Sequence[Event]], missed_before: Mapping[str, int]) -> bool:
        for listener in LISTENERS:
            self._read_on(listener)
        known = {listener: {record.event_id for record in self._recorded[listener].values()} for listener in LISTENERS}
        return all(
            event.event_id in known[listener]
            for listener in LISTENERS
            for event in received[EXCHANGES[listener]]
            if happened(event) >= missed_before.get(listener, 0)
        )

    def _read_on(self, listener: str) -> None:
        """From the last page that was full: what was recorded before is known."""
        token = self._token[listener]
        while True:
            page = self._ok(ListNotificationsRequest(page_size=_PAGE, page_token=token), listener)
            self._recorded[listener].update((record.sequence, record) for record in page.notifications)
            if not page.next_page_token:
                return
            self._token[listener] = token = page.next_page_token

    def _orders(self, name: str, all_pages: bool = False) -> list[Order]:
        """The newest first; those of the last round lie at the beginning, apart from what an earlier one left open."""
        orders: list[Order] = []
        token = ""
        while True:
            page = self._ok(ListOrdersRequest(page_size=_PAGE, page_token=token))
            ours = [order for order in page.orders if order.customer_id.startswith(name)]
            orders += ours
            token = page.next_page_token
            if not token or not (ours or all_pages):
                return orders

    def _stock(self, name: str) -> dict[str, Stock]:
        stock: dict[str, Stock] = {}
        token = ""
        while True:
            page = self._ok(ListProductsRequest(page_size=_PAGE, page_token=token))
            stock.update((p.id, Stock(p.available, p.held)) for p in page.products if f"-{name}" in p.id)
            token = page.next_page_token
            if not token:
                return stock

    def _ok(self, request: Any, role: str | None = None) -> Any:
        """The answer of a service that works, or is about to."""
        until = time.monotonic() + QUIET_SECONDS
        while True:
            answer = self._calls.call(request, _TIMEOUT, role=role)
            if answer.response is not None:
                return answer.response
            if time.monotonic() > until:
                raise TimeoutError(f"{request.DESCRIPTOR.name} is not answered: {answer.status}")
            time.sleep(_POLL)


def _versions(orders: Sequence[Order]) -> dict[str, object]:
    return {order.id: order.version for order in orders}


def _about(message: Any) -> str:
    """The customer an event is about."""
    return str(message.order.customer_id if hasattr(message, "order") else message.customer_id)


_KINDS: Sequence[Callable[[], Any]] = (OrderCreated, OrderUpdated, OrderRejected)


def _told_about(notification: Notification) -> str:
    for kind in _KINDS:
        message = kind()
        if notification.event.Unpack(message):
            return _about(message)
    return ""

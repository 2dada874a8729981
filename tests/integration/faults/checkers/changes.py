"""Changes of orders: each version beyond the first was asked for by a request of its own."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ordersys.api.order.v1.order_pb2 import OrderState
from tests.integration.faults.checkers.observations import TOPIC, Finding, Kind, Observations, answered_orders
from tests.integration.faults.workload.history import Operation, Outcome

Change = tuple[str, object]
"""An order's id, and the state or the items it is to have."""


def made_twice_or_never_asked(observations: Observations) -> Iterator[Finding]:
    """A version nobody was answered is the work of a request without an answer, one for each."""
    explained = {(o.id, o.version) for operation in _changes(observations) for o in answered_orders(operation)}
    open_ones = Counter(
        asked(operation) for operation in _changes(observations) if operation.outcome is Outcome.UNKNOWN
    )
    for order_id, version, change in sorted(_told(observations), key=lambda entry: entry[:2]):
        if (order_id, version) in explained:
            continue
        open_ones[change] -= 1
        if open_ones[change] < 0:
            yield Finding(Kind.DUPLICATED, f"version {version} of order {order_id}: nobody asked for it, or not again")


def one_version_for_two(observations: Observations) -> Iterator[Finding]:
    """Two requests that changed something were never answered the same version."""
    owners: dict[tuple[str, int], Operation] = {}
    for operation in _changes(observations):
        for order in answered_orders(operation)[:1]:
            owner = owners.setdefault((order.id, order.version), operation)
            if owner is not operation:
                yield Finding(
                    Kind.LOST,
                    f"operations {owner.number} and {operation.number} were both answered version {order.version}"
                    f" of order {order.id}",
                )


def asked(operation: Operation) -> Change:
    """The change an operation asks for."""
    request = operation.request
    if operation.call == "CancelOrder":
        return request.order_id, OrderState.ORDER_STATE_CANCELLED
    if request.WhichOneof("change") == "state":
        return request.order_id, request.state
    return request.order_id, _units(request.items.items)


def _changes(observations: Observations) -> Iterator[Operation]:
    return observations.asked("UpdateOrder", "CancelOrder")


def _told(observations: Observations) -> set[tuple[str, int, Change]]:
    """Every version beyond the first that events tell of, with what had changed."""
    updates = [event for event in observations.received.get(TOPIC, ()) if event.type.endswith("OrderUpdated")]
    return {(event.order_id, event.version, _change(event.message)) for event in updates}


def _change(message: Any) -> Change:
    order = message.order
    return order.id, (order.state if "state" in message.changed_fields else _units(order.items))


def _units(items: Any) -> frozenset[tuple[str, int]]:
    return frozenset((item.product_id, item.quantity) for item in items)

"""Orders: each one acknowledged is there, each one there was asked for, once."""

from collections import Counter
from collections.abc import Iterator

from tests.integration.faults.checkers.observations import Finding, Kind, Observations, answered_orders, placed
from tests.integration.faults.workload.history import Operation, Outcome

PLACEMENTS = ("PlaceOrder", "CreateOrder", "BatchCreateOrders")


def acknowledged_and_missing(observations: Observations) -> Iterator[Finding]:
    """An order that was answered is there, no older than it was answered."""
    for operation in observations.operations:
        for order in answered_orders(operation):
            there = observations.by_id.get(order.id)
            if there is None or there.version < order.version:
                state = f"at version {there.version}" if there else "not there"
                yield Finding(
                    Kind.LOST,
                    f"operation {operation.number} was answered order {order.id} at version {order.version};"
                    f" it is {state}",
                )


def present_and_never_asked(observations: Observations) -> Iterator[Finding]:
    """An order that is there was asked for, and not refused."""
    owners = _owners(observations)
    for order in observations.orders:
        owner = owners.get(order.customer_id)
        if owner is None:
            yield Finding(Kind.DUPLICATED, f"order {order.id} is there and nobody asked for it")
        elif owner.outcome is Outcome.FAIL:
            yield Finding(Kind.DUPLICATED, f"order {order.id} is there; operation {owner.number} was refused it")


def placed_twice(observations: Observations) -> Iterator[Finding]:
    """One request, one order."""
    for customer, times in Counter(order.customer_id for order in observations.orders).items():
        for _ in range(times - 1):
            yield Finding(Kind.DUPLICATED, f"customer {customer} asked for one order and has another one")


def _owners(observations: Observations) -> dict[str, Operation]:
    return {
        placement.customer_id: operation
        for operation in observations.asked(*PLACEMENTS)
        for placement in placed(operation)
    }

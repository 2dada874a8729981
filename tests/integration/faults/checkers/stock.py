"""Stock: no unit appears or vanishes, what is held is held by an order, and the last one is sold once."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from ordersys.api.order.v1.order_pb2 import OrderState
from tests.contract.harness.linearizability import Operation as Move
from tests.contract.harness.linearizability import linearizable
from tests.integration.faults.checkers.observations import Finding, Kind, Observations
from tests.integration.faults.workload.history import KEPT, Operation, Outcome

_OUTCOMES = {Outcome.OK: True, Outcome.FAIL: False, Outcome.UNKNOWN: None}
SCARCE = "scarce-"
"""Products that are called so are placed alone, adjusted and given back by cancellations only, and not often."""


def created_and_missing(observations: Observations) -> Iterator[Finding]:
    """A product that was acknowledged is there."""
    for operation in observations.asked("CreateProduct"):
        product = operation.request.product.id
        if operation.outcome is Outcome.OK and product not in observations.stock:
            yield Finding(Kind.LOST, f"operation {operation.number} created {product}; it is not there")


def conserved(observations: Observations) -> Iterator[Finding]:
    """First stock + adjustments = available + held, none of them below zero."""
    adjusted: Counter[str] = Counter()
    open_ones: defaultdict[str, list[int]] = defaultdict(list)
    for operation in observations.asked("AdjustStock"):
        if operation.outcome is Outcome.OK:
            adjusted[operation.request.product_id] += operation.request.delta
        elif operation.outcome is Outcome.UNKNOWN:
            open_ones[operation.request.product_id].append(operation.request.delta)
    first = _first(observations)
    for product, stock in observations.stock.items():
        off = sum(stock) - first[product] - adjusted[product]
        if off not in _sums(open_ones[product]):
            yield Finding(Kind.OVERSOLD, f"{product} has {off} units more than it was given")
        if min(stock) < 0:
            yield Finding(Kind.OVERSOLD, f"{product} is below zero: {stock}")


def held_by_orders(observations: Observations) -> Iterator[Finding]:
    """Stock that is held is held by orders that are not cancelled: no more (an orphan), no less (sold twice)."""
    held: Counter[str] = Counter()
    for order in observations.orders:
        if order.state != OrderState.ORDER_STATE_CANCELLED:
            held.update({item.product_id: item.quantity for item in order.items})
    for product, stock in observations.stock.items():
        if stock.held != held[product]:
            kind = Kind.ORPHAN if stock.held > held[product] else Kind.OVERSOLD
            yield Finding(kind, f"{stock.held} of {product} are held, orders hold {held[product]}")


def linear(observations: Observations) -> Iterator[Finding]:
    """Operations on a scarce product could have happened one after the other (Wing & Gong 1993)."""
    first = _first(observations)
    for product, moves in _moves(observations).items():
        if not linearizable(moves, first[product]):
            yield Finding(Kind.OVERSOLD, f"no order of what happened to {product} explains the answers: {moves}")


def _moves(observations: Observations) -> Mapping[str, list[Move]]:
    moves: defaultdict[str, list[Move]] = defaultdict(list)
    for operation in observations.asked("PlaceOrder", "AdjustStock", "CancelOrder"):
        if operation.outcome is Outcome.FAIL and operation.reason != KEPT:
            continue
        for product, units in _taken(observations, operation).items():
            if product.startswith(SCARCE):
                outcome = _OUTCOMES[operation.outcome]
                moves[product].append(Move(operation.called, operation.answered, units, outcome))
    return moves


def _taken(observations: Observations, operation: Operation) -> dict[str, int]:
    """The units an operation takes of each product, if it is made."""
    request = operation.request
    if operation.call == "AdjustStock":
        return {request.product_id: -request.delta}
    if operation.call == "PlaceOrder":
        return {item.product_id: item.quantity for item in request.items}
    order = observations.by_id.get(request.order_id)
    return {item.product_id: -item.quantity for item in order.items} if order else {}


def _first(observations: Observations) -> Mapping[str, int]:
    created = (operation.request.product for operation in observations.asked("CreateProduct"))
    return {product.id: product.available for product in created}


def _sums(units: list[int]) -> set[int]:
    """The possible sums when each may have happened or not."""
    sums = {0}
    for count in units:
        sums |= {so_far + count for so_far in sums}
    return sums

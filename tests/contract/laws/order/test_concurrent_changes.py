"""Laws of changes of one order that come at the same time, put to the Order Service itself."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import UpdateOrderRequest
from tests.contract.harness.client import ORDER, Answer
from tests.contract.harness.order_requests import changing, moving
from tests.contract.harness.system_under_test import SystemUnderTest

pytestmark = pytest.mark.judges(ORDER)
CROWD = 12
CHANGES = 120
"""So many that some of them meet where two processes make them, however the machine spreads a crowd in time."""


def at_once(system: SystemUnderTest, requests: list[UpdateOrderRequest]) -> list[Answer]:
    """The answers to requests of a crowd, each of whom makes the next one when it is answered."""
    with ThreadPoolExecutor(CROWD) as pool:
        return list(pool.map(lambda request: system.call(request, ORDER), requests))


@pytest.mark.cites(
    "order_service.proto", "When set, the change is made only if the order is at this version. 1 or more."
)
def test_of_changes_that_expect_one_version_one_is_made(system: SystemUnderTest) -> None:
    """Nobody's change is lost under another's: one of a crowd is answered, all others are VERSION_MISMATCH."""
    order = system.create()
    answers = at_once(system, [changing(order, {"lamp": quantity}, expected=1) for quantity in range(3, 3 + CROWD)])
    (made,) = [answer.response.order for answer in answers if answer.response is not None]
    assert sorted(answer.reason for answer in answers) == ["", *["VERSION_MISMATCH"] * (CROWD - 1)]
    assert made.version == 2
    assert system.order(order.id) == made


@pytest.mark.cites("order.proto", "1 when created, one more with each change")
@pytest.mark.cites(
    "implement.md",
    "they have the effect of the same calls one after the other, each between its request and its answer",
)
def test_changes_at_once_have_a_version_each(system: SystemUnderTest) -> None:
    """Each is answered with the order as it became by that very change, and the last of them is what is kept."""
    order = system.create()
    wanted = list(range(3, 3 + CHANGES))
    answers = at_once(system, [changing(order, {"lamp": quantity}) for quantity in wanted])
    made: list[Order] = [answer.response.order for answer in answers]
    assert [changed.items[0].quantity for changed in made] == wanted
    assert sorted(changed.version for changed in made) == list(range(2, 2 + CHANGES))
    assert system.order(order.id) == max(made, key=lambda changed: changed.version)


@pytest.mark.cites("order.proto", "1 when created, one more with each change")
def test_of_moves_that_exclude_each_other_one_is_made(system: SystemUnderTest) -> None:
    """A crowd pays and cancels: the order goes one of the ways its life cycle has, step by step."""
    order = system.create()
    paid, cancelled = OrderState.ORDER_STATE_PAID, OrderState.ORDER_STATE_CANCELLED
    answers = at_once(system, [moving(order, state) for state in [paid, cancelled] * (CROWD // 2)])
    made: list[Order] = [answer.response.order for answer in answers if answer.response is not None]
    states = [moved.state for moved in sorted(made, key=lambda moved: moved.version)]
    assert states in ([cancelled], [paid, cancelled])
    assert {answer.reason for answer in answers if answer.response is None} == {"STATE_NOT_ALLOWED"}
    assert system.order(order.id).version == 1 + len(states)

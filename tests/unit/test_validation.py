"""The rules of the contract, those that CEL can't say among them."""

from itertools import product

import protovalidate
import pytest

from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderUpdated
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.contract import descriptors
from ordersys.contract.validation import violations
from ordersys.order_service.lifecycle import ITEMS_MAY_CHANGE, TRANSITIONS
from tests.compat.contract_changes import ORDER, contract_with
from tests.compat.image import image
from tests.unit.test_lifecycle import order


def found(message: Order | OrderCreated | OrderUpdated) -> list[tuple[str, str]]:
    return [(broken.field, broken.rule) for broken in violations(message)]


@pytest.mark.parametrize(("before", "after"), list(product(TRANSITIONS, TRANSITIONS)))
def test_an_update_tells_of_the_steps_that_the_life_cycle_has(
    before: "OrderState.ValueType", after: "OrderState.ValueType"
) -> None:
    """The rule in the contract and the table of the Order Service are one: also for items, which stay in a state."""
    event = OrderUpdated(order=order(), previous_state=before, changed_fields=["items" if before == after else "state"])
    event.order.version, event.order.state = 9, after
    allowed = after in TRANSITIONS[before] or (before == after and before in ITEMS_MAY_CHANGE)
    assert found(event) == ([] if allowed else [("", "order_updated.state")])


def test_a_total_that_is_no_sum_is_told_with_the_sum() -> None:
    """Wherever the order stands, and as a sentence."""
    event = OrderCreated(order=order())
    event.order.total.units += 1
    (broken,) = violations(event)
    assert (broken.field, broken.rule) == ("order.total", "money.sum_of")
    units, nanos = order().total.units, order().total.nanos
    assert str(broken) == (
        f"order.total: must be the sum of quantity × unit_price over items, which is {units}.{nanos:09d}"
    )


def test_a_rule_of_the_whole_message_is_told_without_a_field() -> None:
    """As a sentence of its own."""
    paid = order()
    paid.state = OrderState.ORDER_STATE_PAID
    (broken,) = violations(paid)
    assert str(broken) == "version must be at least 2 when PAID or CANCELLED, 3 when SHIPPED, 4 when DELIVERED"


def test_a_sum_is_not_looked_at_where_an_item_is_wrong() -> None:
    """The first complaint is the one that has to be mended first."""
    wrong = order()
    wrong.items[0].quantity = 0
    assert found(wrong) == [("items[0].quantity", "int32.gte_lte")]


def test_a_rule_that_can_not_be_evaluated_is_broken() -> None:
    """Some values are beyond CEL; whoever sends one gets a refusal, and nobody else anything."""
    rule = 'options { [buf.validate.message] { cel { id: "x" expression: "string(this.create_time) != \'\'" } } }'
    changed = contract_with(f"{ORDER}.Order", rule)
    files = descriptors.link(changed)
    (kind,) = [descriptor for descriptor in descriptors.messages(files) if descriptor.full_name == f"{ORDER}.Order"]
    message = descriptors.message_class(kind).FromString(order().SerializeToString())
    validator = protovalidate.Validator()
    assert violations(message, validator) == []
    message.create_time.seconds = 1_764_000_000_000  # type: ignore[attr-defined]
    assert [broken.rule for broken in violations(message, validator)] == ["evaluation"]
    assert image() != changed

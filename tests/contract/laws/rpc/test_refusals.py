"""Laws of the refusals: each situation of the contract's table has its code, its reason and its details."""

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, PreconditionFailure, ResourceInfo

from ordersys.api.order.v1 import order_service_pb2 as order_api
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import BatchCreateOrdersRequest, GetOrderRequest
from ordersys.api.product.v1 import product_service_pb2 as product_api
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import AdjustStockRequest, CreateProductRequest, GetProductRequest
from ordersys.contract.errors import DOMAIN
from tests.contract.harness.client import ORDER, PRODUCT, Answer, of_each
from tests.contract.harness.order_requests import (
    CANCELLED,
    DELIVERED,
    PAID,
    PLACED,
    SHIPPED,
    State,
    changing,
    in_state,
    moving,
    updated,
)
from tests.contract.harness.refusals import refusal_in, taken_order
from tests.contract.harness.system_under_test import PRICE, SystemUnderTest, creating, new_id, placing, quantities

Code = grpc.StatusCode
NEVER = 2**32 + 1
"""A version that no order has, and equal to the first in its lower bits."""
ALLOWED: dict[State, set[State]] = {
    PLACED: {PAID, CANCELLED},
    PAID: {SHIPPED, CANCELLED},
    SHIPPED: {DELIVERED},
    DELIVERED: set(),
    CANCELLED: set(),
}


def info(answer: Answer) -> dict[str, str]:
    """The metadata of a refusal of this system."""
    info: ErrorInfo = answer.detail(ErrorInfo())
    assert info.domain == DOMAIN
    return dict(info.metadata)


@pytest.mark.cites(
    "implement.md",
    "Add google.rpc.ErrorInfo with reason (the name of the value), domain (the option of the enum: ordersys)",
)
@pytest.mark.cites(
    "implement.md",
    "Add the details that the comment of the reason names: BadRequest, ResourceInfo or PreconditionFailure.",
)
@pytest.mark.cites("error_reason.proto", "No such product. Details: google.rpc.ResourceInfo. Metadata: product_id.")
@pytest.mark.cites("implement.md", "the id alone, as in the metadata")
@pytest.mark.judges(PRODUCT)
def test_an_unknown_product_is_named(system: SystemUnderTest) -> None:
    """NOT_FOUND with ResourceInfo, wherever a product is asked for."""
    missing = f"p-{new_id()}"
    for request in (
        GetProductRequest(product_id=missing),
        AdjustStockRequest(request_id=new_id(), product_id=missing, delta=1),
        placing({missing: 1}),
    ):
        answer = system.call(request)
        assert (answer.code, answer.reason) == (Code.NOT_FOUND, "PRODUCT_NOT_FOUND")
        assert answer.detail(ResourceInfo()).resource_name == missing
        assert info(answer)["product_id"] == missing


@pytest.mark.cites("error_reason.proto", "No such order. Details: google.rpc.ResourceInfo. Metadata: order_id.")
@pytest.mark.cites("error_reason.proto", "resource_name the id alone")
@pytest.mark.judges(ORDER)
def test_an_unknown_order_is_named(system: SystemUnderTest) -> None:
    """NOT_FOUND with ResourceInfo, wherever an order is asked for."""
    missing = new_id()
    for request in (
        GetOrderRequest(order_id=missing),
        order_api.UpdateOrderRequest(request_id=new_id(), order_id=missing, state=PAID),
    ):
        answer = system.call(request)
        assert (answer.code, answer.reason) == (Code.NOT_FOUND, "ORDER_NOT_FOUND")
        assert answer.detail(ResourceInfo()).resource_name == missing


@pytest.mark.cites(
    "implement.md", "Updating and cancelling an order that the Order Service does not know is ORDER_NOT_FOUND."
)
@pytest.mark.judges(PRODUCT)
def test_an_order_unknown_to_the_order_service_is_unknown_to_the_product_service(system: SystemUnderTest) -> None:
    """Updating and cancelling answer as reading does."""
    missing = new_id()
    for request in (
        product_api.UpdateOrderRequest(request_id=new_id(), order_id=missing, state=PAID),
        product_api.CancelOrderRequest(request_id=new_id(), order_id=missing),
    ):
        answer = system.call(request)
        assert (answer.code, answer.reason) == (Code.NOT_FOUND, "ORDER_NOT_FOUND")


@pytest.mark.cites(
    "error_reason.proto",
    "Not enough stock; nothing was taken. Details: google.rpc.PreconditionFailure with one violation a product",
)
@pytest.mark.cites("implement.md", "type OUT_OF_STOCK, subject the product id, description as in the example")
@pytest.mark.judges(PRODUCT)
def test_want_of_stock_names_each_product_and_takes_nothing(system: SystemUnderTest) -> None:
    """FAILED_PRECONDITION: what was asked and what is available, for every product that is short."""
    short, enough, none = system.new_product(3), system.new_product(9), system.new_product(0)
    answer = system.call(placing({short: 5, enough: 9, none: 1}))
    assert (answer.code, answer.reason) == (Code.FAILED_PRECONDITION, "OUT_OF_STOCK")
    violations = answer.detail(PreconditionFailure()).violations
    assert {(v.type, v.subject, v.description) for v in violations} == {
        ("OUT_OF_STOCK", short, "asked 5, available 3"),
        ("OUT_OF_STOCK", none, "asked 1, available 0"),
    }
    assert [system.stock(p) for p in (short, enough, none)] == [(3, 0), (9, 0), (0, 0)]


@pytest.mark.cites("product_service.proto", "FAILED_PRECONDITION (OUT_OF_STOCK) when it would fall below zero.")
@pytest.mark.judges(PRODUCT)
def test_stock_never_falls_below_zero(system: SystemUnderTest) -> None:
    """An adjustment that would take more than there is takes nothing."""
    product = system.new_product(4)
    answer = system.call(AdjustStockRequest(request_id=new_id(), product_id=product, delta=-5))
    assert (answer.code, answer.reason) == (Code.FAILED_PRECONDITION, "OUT_OF_STOCK")
    assert system.stock(product) == (4, 0)
    assert system.ok(AdjustStockRequest(request_id=new_id(), product_id=product, delta=-4)).product.available == 0


@pytest.mark.cites("implement.md", "gives the gRPC code, the text, and whether it is retryable or final")
@pytest.mark.cites(
    "product_service.proto", "Creates a product with its first stock. Errors: ALREADY_EXISTS (PRODUCT_ALREADY_EXISTS)."
)
@pytest.mark.judges(PRODUCT)
def test_a_taken_product_id_is_refused(system: SystemUnderTest) -> None:
    """ALREADY_EXISTS, and the product there is stays as it is."""
    product = system.product(system.new_product(4))
    other = Product(id=product.id, name="Another", unit_price=PRICE, available=9)
    answer = system.call(CreateProductRequest(request_id=new_id(), product=other))
    assert (answer.code, answer.reason) == (Code.ALREADY_EXISTS, "PRODUCT_ALREADY_EXISTS")
    assert system.product(product.id) == product


@pytest.mark.cites("order_service.proto", "ALREADY_EXISTS (ORDER_ALREADY_EXISTS) when the id is taken by another order")
@pytest.mark.cites("order_service.proto", "An order keeps its id in every state, and whoever asks.")
@pytest.mark.cites("order_service.proto", "one that is refused does not hinder the others")
@pytest.mark.judges(ORDER)
@pytest.mark.parametrize("state", ALLOWED, ids=OrderState.Name)
def test_a_taken_order_id_is_refused(system: SystemUnderTest, state: State) -> None:
    """ALREADY_EXISTS for each customer, alone and in a batch, whose other orders are created; the order stays."""
    order = in_state(system, system.create(), state)
    refusal = taken_order(order.id)
    for customer in (order.customer_id, "another"):
        existing, free = creating({"desk": 3}, customer), creating()
        existing.order_id = order.id
        answer = system.call(existing)
        assert answer.response is None, f"taken from {OrderState.Name(state)}: {answer}"
        assert refusal_in(answer) == refusal
        refused, created = of_each(system.call(BatchCreateOrdersRequest(requests=[existing, free])), 2)
        assert refused.response is None, f"taken in a batch from {OrderState.Name(state)}: {refused}"
        assert refusal_in(refused) == refusal
        assert created.response is not None, f"hindered: {created}"
        assert created.response.order.id == free.order_id
        assert system.order(order.id) == order


@pytest.mark.cites("implement.md", "the state by the name of its enum value")
@pytest.mark.cites(
    "order.proto", "The life cycle: PLACED → PAID → SHIPPED → DELIVERED, and CANCELLED from PLACED or PAID."
)
@pytest.mark.cites(
    "error_reason.proto", "The order's state does not allow this. Metadata: order_id, from_state, to_state"
)
@pytest.mark.cites("error_reason.proto", "states by the name of their enum value")
@pytest.mark.judges(ORDER)
@pytest.mark.parametrize("start", ALLOWED, ids=OrderState.Name)
@pytest.mark.parametrize("end", [PAID, SHIPPED, DELIVERED, CANCELLED], ids=OrderState.Name)
def test_the_life_cycle_is_the_contracts(system: SystemUnderTest, start: State, end: State) -> None:
    """From each state only the transitions of the contract, whatever changed before; others name both states."""
    for changes in (0, 1):
        order = ordered(system, start, changes)
        answer = system.call(moving(order, end))
        if end in ALLOWED[start]:
            assert (answer.response.order.state, answer.response.order.version) == (end, order.version + 1)
        else:
            assert (answer.code, answer.reason) == (Code.FAILED_PRECONDITION, "STATE_NOT_ALLOWED")
            assert info(answer)["from_state"] == OrderState.Name(start)
            assert info(answer)["to_state"] == OrderState.Name(end)
            assert system.order(order.id) == order


def ordered(system: SystemUnderTest, state: State, changes: int) -> Order:
    """A new order in a state, the items of which have changed that often."""
    order = system.create()
    for units in range(changes):
        order = updated(system, changing(order, {"chair": units + 1}))
    return in_state(system, order, state)


@pytest.mark.cites("order_service.proto", "In another state than PLACED they are refused as others are.")
@pytest.mark.cites("order.proto", "The only state in which items may change.")
@pytest.mark.judges(ORDER)
@pytest.mark.parametrize("state", ALLOWED, ids=OrderState.Name)
def test_items_change_only_while_placed(system: SystemUnderTest, state: State) -> None:
    """In any other state items are refused, those it has already as well, and the order stays."""
    for changes in (0, 1):
        order = ordered(system, state, changes)
        same = {item.product_id: item.quantity for item in order.items}
        for wanted in ({"chair": 4}, same):
            answer = system.call(changing(order, wanted))
            if state == PLACED:
                assert {item.product_id: item.quantity for item in answer.response.order.items} == wanted
                continue
            assert (answer.code, answer.reason) == (Code.FAILED_PRECONDITION, "STATE_NOT_ALLOWED")
            assert info(answer)["from_state"] == info(answer)["to_state"] == OrderState.Name(state)
            assert system.order(order.id) == order


@pytest.mark.cites("implement.md", "ErrorInfo.metadata, numbers | decimal digits")
@pytest.mark.cites("order_service.proto", "When set, the change is made only if the order is at this version.")
@pytest.mark.cites(
    "error_reason.proto", "expected_version is not the order's version. Metadata: order_id, current_version."
)
@pytest.mark.judges(ORDER)
def test_a_stale_version_is_aborted_with_the_current_one(system: SystemUnderTest) -> None:
    """ABORTED for a version before or after it, whatever was to change, and nothing does; the current one is taken."""
    order = ordered(system, PLACED, 2)
    same = {item.product_id: item.quantity for item in order.items}
    wide = (order.version + 2**bits for bits in (8, 16, 31, 32, 62))  # equal in their lower bits
    for expected in (1, order.version - 1, order.version + 1, *wide, 2**63 - 1):
        for request in (
            changing(order, {"lamp": 7}, expected),
            changing(order, same, expected),
            moving(order, PAID, expected),
        ):
            answer = system.call(request)
            assert (answer.code, answer.reason) == (Code.ABORTED, "VERSION_MISMATCH"), f"expected {expected}"
            assert info(answer) == {"order_id": order.id, "current_version": str(order.version)}
            assert system.order(order.id) == order
    changed = updated(system, changing(order, {"lamp": 7}, order.version))
    assert changed.version == order.version + 1
    assert updated(system, moving(changed, PAID, changed.version)).version == changed.version + 1


@pytest.mark.cites("implement.md", "it is passed on as it is, and what was reserved for it is released")
@pytest.mark.cites(
    "product_service.proto", "STATE_NOT_ALLOWED), ABORTED (VERSION_MISMATCH), UNAVAILABLE (OUTCOME_OPEN)"
)
@pytest.mark.judges(PRODUCT)
def test_the_product_service_passes_refusals_on_and_keeps_the_stock(system: SystemUnderTest) -> None:
    """Stale versions and forbidden changes are refused as the Order Service does it; the order keeps its stock."""
    product = system.new_product(10)
    order = system.place({product: 4})
    more = product_api.ItemQuantities(items=quantities({product: 9}))
    stale = product_api.UpdateOrderRequest(
        request_id=new_id(), order_id=order.id, items=more, expected_version=2**32 + 1
    )
    assert system.call(stale).reason == "VERSION_MISMATCH"
    for state in (PAID, SHIPPED):
        system.ok(product_api.UpdateOrderRequest(request_id=new_id(), order_id=order.id, state=state))
    for late in (
        product_api.UpdateOrderRequest(request_id=new_id(), order_id=order.id, items=more),
        product_api.CancelOrderRequest(request_id=new_id(), order_id=order.id),
    ):
        answer = system.call(late)
        assert (answer.code, answer.reason) == (Code.FAILED_PRECONDITION, "STATE_NOT_ALLOWED")
    system.eventually(lambda: system.stock(product) == (6, 4))


@pytest.mark.cites(
    "implement.md", "an order whose items may not change is refused for its state, and not with OUT_OF_STOCK"
)
@pytest.mark.cites("product_service.proto", "Any other failure that is final leaves the id unused.")
@pytest.mark.judges(PRODUCT)
def test_an_order_whose_items_may_not_change_is_no_matter_of_stock(system: SystemUnderTest) -> None:
    """STATE_NOT_ALLOWED for a cancelled order whose stock has been sold since; the id stays unused."""
    product = system.new_product(4)
    order = system.place({product: 1})
    system.ok(product_api.CancelOrderRequest(request_id=new_id(), order_id=order.id))
    other = system.place({product: 4})
    items = product_api.ItemQuantities(items=quantities({product: 1}))
    request = product_api.UpdateOrderRequest(request_id=new_id(), order_id=order.id, items=items)
    answer = system.call(request)
    assert (answer.code, answer.reason) == (Code.FAILED_PRECONDITION, "STATE_NOT_ALLOWED")
    request.order_id = other.id
    assert system.ok(request).order.items[0].quantity == 1

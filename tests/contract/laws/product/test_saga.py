"""Laws of the Product Service when the Order Service is slow, silent or unwilling."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.product.v1.product_service_pb2 import (
    BatchPlaceOrdersRequest,
    PlaceOrderRequest,
)
from ordersys.contract.errors import StatusError, reason_of, status_error
from tests.contract.conftest import ProductServiceAlone
from tests.contract.harness.client import PRODUCT
from tests.contract.harness.fake_order_service import Behaviour, LosesReplies, Refuses, Slow
from tests.contract.harness.product_alone import (
    ORPHAN_SECONDS,
    assert_open,
    by_id,
    cancelling,
    changing,
    give_up,
    orders_of,
    resolved,
    silent,
    stock,
)
from tests.contract.harness.system_under_test import placing
from tools.documents.error_reasons import reasons

pytestmark = pytest.mark.judges(PRODUCT, "stand-in")
# Without these nothing is said of the effect: by proxies, by servers that are not ours, by libraries.
BARE_CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
FINAL = [name for name, stated in reasons().items() if stated.final]
IN_DOUBT = [name for name, stated in reasons().items() if not stated.final]
TAKEN = "ORDER_ALREADY_EXISTS"  # of an id that is new it can't be true


@pytest.mark.cites(
    "implement.md",
    "the order of PlaceOrder is the one that CreateOrder created, priced by the products, under the same id",
)
@pytest.mark.cites("product_service.proto", "Places an order: reserves its stock and creates it, or does neither.")
def test_what_the_order_service_created_is_what_the_client_is_answered(alone: ProductServiceAlone) -> None:
    """One order, with the products' prices, under the id the client gets; its stock is held."""
    product = alone.system.new_product(10)
    order = alone.system.place({product: 4})
    assert orders_of(alone, product) == [order]
    assert order.items[0].unit_price == alone.system.product(product).unit_price
    assert stock(alone, product) == (6, 4)


@pytest.mark.cites(
    "implement.md", "Where the reason is retryable, add google.rpc.RetryInfo with a delay greater than zero."
)
@pytest.mark.cites(
    "implement.md",
    "the outcome is in doubt. Keep the stock reserved and answer OUTCOME_OPEN.",
)
@pytest.mark.cites("error_reason.proto", "Whether the request took effect is open: repeat it with the same request_id.")
@silent
def test_silence_leaves_the_outcome_open_and_the_stock_held(alone: ProductServiceAlone, behaviour: Behaviour) -> None:
    """OUTCOME_OPEN; the units are neither sold again nor lost; repeating the request resolves it, once."""
    product = alone.system.new_product(10)
    request = placing({product: 4})
    with alone.fake_order_service.answering(behaviour):
        assert_open(alone.system.call(request))
        assert stock(alone, product) == (6, 4)
    order = resolved(alone, request)
    assert orders_of(alone, product) == [order]
    assert stock(alone, product) == (6, 4)


@pytest.mark.cites("implement.md", "complete or compensate every pending saga within 30 s after the fault is over")
@pytest.mark.cites("product_service.proto", "A placement is kept, and a change once the order was read")
@silent
def test_what_nobody_repeats_is_resolved_all_the_same(alone: ProductServiceAlone, behaviour: Behaviour) -> None:
    """Within 30 s after the fault clears, the reservation belongs to exactly one order."""
    product = alone.system.new_product(10)
    with alone.fake_order_service.answering(behaviour):
        assert_open(alone.system.call(placing({product: 4})))
    alone.system.eventually(lambda: orders_of(alone, product), ORPHAN_SECONDS)
    assert len(orders_of(alone, product)) == 1
    assert stock(alone, product) == (6, 4)


@pytest.mark.cites("implement.md", "it is passed on as it is, and what was reserved for it is released")
@pytest.mark.cites("error_reason.proto", "Whoever has reserved something for it may release it.")
@pytest.mark.parametrize("reason", [name for name in FINAL if name != TAKEN])
def test_a_final_refusal_gives_the_stock_back(alone: ProductServiceAlone, reason: str) -> None:
    """It is passed on as it is, nothing stays held, and no order appears later."""
    product = alone.system.new_product(10)
    with alone.fake_order_service.answering(Refuses(status_error(ErrorReason.Value(reason)))):
        assert alone.system.call(placing({product: 4})).reason == reason
    alone.system.eventually(lambda: stock(alone, product) == (10, 0))
    assert orders_of(alone, product) == []


@pytest.mark.cites("error_reason.proto", "Without this mark the outcome is in doubt for whoever is told the reason")
@pytest.mark.cites("implement.md", "Only a reason marked final is a refusal")
@pytest.mark.parametrize("reason", [*IN_DOUBT, TAKEN])
def test_a_refusal_that_is_not_final_leaves_the_outcome_open(alone: ProductServiceAlone, reason: str) -> None:
    """Whatever its code: the stock stays held, and repeating the request resolves it."""
    assert_resolved_after(alone, status_error(ErrorReason.Value(reason)))


@pytest.mark.cites("implement.md", "a status without a reason, a reason you don't know: the outcome is in doubt")
@pytest.mark.parametrize("code", BARE_CODES, ids=lambda code: code.name)
def test_a_status_without_a_reason_leaves_the_outcome_open(alone: ProductServiceAlone, code: grpc.StatusCode) -> None:
    """A code alone says nothing of the effect, not even one that reasons come with that are final."""
    assert_resolved_after(alone, StatusError(Status(code=code.value[0], message="said by somebody else")))


def assert_resolved_after(alone: ProductServiceAlone, refused: StatusError) -> None:
    """While the Order Service refuses so, a placement is open and its stock held; then it gets its order."""
    product = alone.system.new_product(10)
    request = placing({product: 4})
    with alone.fake_order_service.answering(Refuses(refused)):
        assert_open(alone.system.call(request))
        assert stock(alone, product) == (6, 4)
    order = resolved(alone, request)
    assert orders_of(alone, product) == [order]
    assert stock(alone, product) == (6, 4)


@pytest.mark.cites("implement.md", "Read the order before you compensate")
@pytest.mark.cites(
    "error_reason.proto", "an earlier try may have succeeded, its reply may have been lost and its request_id forgotten"
)
@pytest.mark.parametrize("repeated", [True, False], ids=["repeated", "left alone"])
def test_no_outage_is_too_long_for_an_order_that_exists(alone: ProductServiceAlone, repeated: bool) -> None:
    """Its creation's reply was lost, and the Order Service forgot the request: the order's stock stays held by it."""
    product = alone.system.new_product(10)
    request = placing({product: 4})
    with alone.fake_order_service.answering(LosesReplies()):
        assert_open(alone.system.call(request))
        alone.fake_order_service.forget()
        assert_open(alone.system.call(request))
        alone.fake_order_service.forget()
    (order,) = orders_of(alone, product)
    if repeated:
        assert resolved(alone, request) == order
    cancelled: Order = alone.system.ok(cancelling(order)).order
    assert (cancelled.id, cancelled.version) == (order.id, 2)
    assert stock(alone, product) == (10, 0)
    assert resolved(alone, request) == order
    assert orders_of(alone, product) == [cancelled]


@pytest.mark.cites("error_reason.proto", "reads the resource before it believes a final refusal")
@pytest.mark.parametrize(
    ("ask", "left"),
    [(lambda order: changing(order, 7), 7), (lambda order: changing(order, 1), 1), (cancelling, 0)],
    ids=["more", "fewer", "cancel"],
)
def test_no_outage_is_too_long_for_a_change_that_was_made(
    alone: ProductServiceAlone, ask: Callable[[Order], Any], left: int
) -> None:
    """Its reply was lost, and the Order Service forgot the request: the stock follows what the order shows."""
    product = alone.system.new_product(10)
    request = ask(alone.system.place({product: 4}))
    with alone.fake_order_service.answering(LosesReplies()):
        assert_open(alone.system.call(request))
        alone.fake_order_service.forget()
    assert resolved(alone, request).version == 2
    assert stock(alone, product) == (10 - left, left)
    assert alone.system.ok(request).order.version == 2


@pytest.mark.cites(
    "implement.md", "The version that a change in doubt has made itself is no VERSION_MISMATCH for its repeat."
)
@pytest.mark.parametrize("ask", [lambda order: changing(order, 7), cancelling], ids=["change", "cancel"])
def test_a_change_in_doubt_is_no_match_for_its_own_version(
    alone: ProductServiceAlone, ask: Callable[[Order], Any]
) -> None:
    """Made on the expected version, its reply lost: a repeat is no VERSION_MISMATCH, which would mean no effect."""
    product = alone.system.new_product(10)
    order = alone.system.place({product: 4})
    request = ask(order)
    request.expected_version = order.version
    with alone.fake_order_service.answering(LosesReplies()):
        for _ in range(3):
            assert_open(alone.system.call(request))
    assert resolved(alone, request).version == order.version + 1


@pytest.mark.cites(
    "implement.md", "a change waits until the one before it has its outcome, and each is answered with its own"
)
@pytest.mark.parametrize("ask", [lambda order: changing(order, 7), cancelling], ids=["change", "cancel"])
def test_a_change_that_overtakes_its_placement_waits_for_it(
    alone: ProductServiceAlone, ask: Callable[[Order], Any]
) -> None:
    """Who changes an order whose placement is still open leaves it to be resolved: each is answered with its own."""
    product = alone.system.new_product(20)
    request = placing({product: 4})
    with alone.fake_order_service.answering(LosesReplies()):
        assert_open(alone.system.call(request))
    (order,) = orders_of(alone, product)
    changed: Order = alone.system.ok(ask(order)).order
    assert changed.version == 2
    assert resolved(alone, request) == order
    held = sum(item.quantity for item in changed.items) if changed.state == order.state else 0
    assert stock(alone, product) == (20 - held, held)


@pytest.mark.cites("implement.md", "A cancelled call does not interrupt a saga.")
@pytest.mark.parametrize("seconds", [0.05, 0.2])
def test_a_client_that_gives_up_cuts_no_saga_in_two(alone: ProductServiceAlone, seconds: float) -> None:
    """Its deadline passes while the order is created: the order exists, and its repeat is answered with it."""
    request = give_up(alone, lambda: placing({alone.system.new_product(10): 4}), seconds)
    product = request.items[0].product_id
    (order,) = alone.system.eventually(lambda: orders_of(alone, product))
    assert resolved(alone, request) == order
    assert stock(alone, product) == (6, 4)


@pytest.mark.cites(
    "implement.md", "A call to the Order Service needs a timeout of a few seconds; an answer within it is no fault."
)
def test_slowness_within_the_deadline_is_no_fault(alone: ProductServiceAlone) -> None:
    """The client waits and gets its order."""
    product = alone.system.new_product(10)
    with alone.fake_order_service.answering(Slow(0.3)):
        order = alone.system.place({product: 4})
    assert orders_of(alone, product) == [order]


@pytest.mark.cites("implement.md", "so that no order is created twice")
def test_repeats_never_make_a_second_order(alone: ProductServiceAlone) -> None:
    """However often replies are lost, every question about an order is the same question."""
    product = alone.system.new_product(10)
    request = placing({product: 4})
    with alone.fake_order_service.answering(LosesReplies(may_retry=True)):
        for _ in range(3):
            assert_open(alone.system.call(request))
    assert orders_of(alone, product) == [resolved(alone, request)]


@pytest.mark.cites("product_service.proto", "one that is refused, or whose outcome is open, does not hinder the others")
@pytest.mark.cites(
    "product_service.proto",
    "UNAVAILABLE with OUTCOME_OPEN means that the request may have been kept: repeating it tells what became of it.",
)
@silent
def test_silence_leaves_each_order_of_a_batch_open(alone: ProductServiceAlone, behaviour: Behaviour) -> None:
    """The call is answered, each with OUTCOME_OPEN; repeating any of them, by either call, resolves it, once."""
    product = alone.system.new_product(10)
    requests = [placing({product: 2}), placing({product: 1}), placing({product: 99})]
    with alone.fake_order_service.answering(behaviour):
        results = alone.system.ok(BatchPlaceOrdersRequest(requests=requests)).results
        assert [reason_of(result.status) for result in results] == ["OUTCOME_OPEN", "OUTCOME_OPEN", "OUT_OF_STOCK"]
        assert stock(alone, product) == (7, 3)
    orders = [resolved(alone, request) for request in requests[:2]]
    again = alone.system.ok(BatchPlaceOrdersRequest(requests=requests)).results
    assert [result.order for result in again[:2]] == orders
    assert by_id(orders_of(alone, product)) == by_id(orders)
    assert stock(alone, product) == (7, 3)


@pytest.mark.cites("implement.md", "complete or compensate every pending saga within 30 s after the fault is over")
@silent
def test_a_batch_nobody_repeats_is_resolved_all_the_same(alone: ProductServiceAlone, behaviour: Behaviour) -> None:
    """Each reservation of it belongs to exactly one order within 30 s after the fault clears."""
    product = alone.system.new_product(10)
    with alone.fake_order_service.answering(behaviour):
        alone.system.ok(BatchPlaceOrdersRequest(requests=[placing({product: 2}) for _ in range(3)]))
    alone.system.eventually(lambda: len(orders_of(alone, product)) == 3, ORPHAN_SECONDS)
    assert stock(alone, product) == (4, 6)


@pytest.mark.cites("product_service.proto", "The status PlaceOrder would have ended with.")
@pytest.mark.cites("implement.md", "what was reserved for it is released")
def test_a_final_refusal_gives_the_stock_of_a_batch_back(alone: ProductServiceAlone) -> None:
    """Each of its orders is refused as it would be alone, and nothing stays held."""
    product = alone.system.new_product(10)
    with alone.fake_order_service.answering(Refuses(status_error(ErrorReason.INVALID_REQUEST))):
        results = alone.system.ok(BatchPlaceOrdersRequest(requests=[placing({product: 2}) for _ in range(3)])).results
    assert [reason_of(result.status) for result in results] == ["INVALID_REQUEST"] * 3
    alone.system.eventually(lambda: stock(alone, product) == (10, 0))
    assert orders_of(alone, product) == []


@pytest.mark.cites("implement.md", "A cancelled call does not interrupt a saga.")
@pytest.mark.cites("product_service.proto", "each as PlaceOrder would")
def test_a_client_that_gives_up_a_batch_cuts_no_saga_in_two(alone: ProductServiceAlone) -> None:
    """Its deadline passes while the orders are created: they exist, and its repeat is answered with them."""

    def three() -> BatchPlaceOrdersRequest:
        product = alone.system.new_product(10)
        return BatchPlaceOrdersRequest(requests=[placing({product: 1}) for _ in range(3)])

    batch = give_up(alone, three)
    product = batch.requests[0].items[0].product_id
    alone.system.eventually(lambda: len(orders_of(alone, product)) == 3)
    assert by_id(result.order for result in alone.system.ok(batch).results) == by_id(orders_of(alone, product))
    assert stock(alone, product) == (7, 3)


@pytest.mark.cites(
    "implement.md", "what a placement or a change needs more is reserved before the Order Service is asked"
)
@silent
def test_more_is_reserved_before_the_order_service_is_asked(alone: ProductServiceAlone, behaviour: Behaviour) -> None:
    """While the outcome of a change is open, what it needs more is held; resolved, it belongs to the order."""
    product = alone.system.new_product(10)
    request = changing(alone.system.place({product: 4}), 7)
    with alone.fake_order_service.answering(behaviour):
        assert_open(alone.system.call(request))
        assert stock(alone, product) == (3, 7)
    assert resolved(alone, request).items[0].quantity == 7
    assert stock(alone, product) == (3, 7)


@pytest.mark.cites("implement.md", "what a change needs less is released only when the Order Service has made it")
@silent
@pytest.mark.parametrize(("ask", "left"), [(changing, 1), (cancelling, 0)], ids=["fewer", "cancel"])
def test_less_is_released_only_when_the_order_service_has_accepted(
    alone: ProductServiceAlone, behaviour: Behaviour, ask: Callable[[Order, int], Any], left: int
) -> None:
    """While the outcome is open the order keeps all it holds; resolved, the rest is back, once."""
    product = alone.system.new_product(10)
    request = ask(alone.system.place({product: 4}), 1)
    with alone.fake_order_service.answering(behaviour):
        assert_open(alone.system.call(request))
        assert stock(alone, product) == (6, 4)
    resolved(alone, request)
    for _ in range(2):
        alone.system.ok(request)
        assert stock(alone, product) == (10 - left, left)


@pytest.mark.cites(
    "implement.md", "Every repeat is the same request: the same order id and the same request_id at the Order Service"
)
def test_an_order_wanted_by_nobody_else_is_asked_for_under_one_id(alone: ProductServiceAlone) -> None:
    """The Order Service gets the product's items, the customer and a request_id it can tell repeats by."""
    product = alone.system.new_product(10)
    request: PlaceOrderRequest = placing({product: 4}, customer_id="bert")
    with alone.fake_order_service.answering(LosesReplies()):
        assert_open(alone.system.call(request))
    order = resolved(alone, request)
    asked = [change.request for change in alone.fake_order_service.changes if change.request.order_id == order.id]
    assert [(request.customer_id, request.items[0].product_id, request.items[0].quantity) for request in asked] == [
        ("bert", product, 4)
    ]
    tries = [asked.request.request_id for asked in alone.fake_order_service.asked if asked.request.order_id == order.id]
    assert len(tries) > 1
    assert set(tries) == {asked[0].request_id}

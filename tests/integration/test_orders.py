"""Orders through the whole system: what is taken, what is refused, what is heard of it."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.rpc.error_details_pb2 import PreconditionFailure

from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest, Notification
from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderRejected, OrderUpdated
from ordersys.api.order.v1.order_pb2 import OrderState
from ordersys.api.product.v1.product_service_pb2 import AdjustStockRequest, CancelOrderRequest
from tests.integration.api import SECONDS, Api, eventually, new_id, placing, reason, status

MANY = 32


def test_a_created_order_is_heard_of_once_by_both_notification_services(api: Api) -> None:
    """One event id, recorded once by each service, equal to what the API answered."""
    order = api.place({api.new_product(10): 2})
    for service in (1, 2):
        (heard,) = eventually(lambda service=service: api.heard(service, order.id))  # type: ignore[misc]
        event = OrderCreated()
        assert heard.event.Unpack(event)
        assert event.order == order
    assert api.heard(1, order.id)[0].event_id == api.heard(2, order.id)[0].event_id


def test_every_change_is_heard_of_in_version_order_by_service_2_only(api: Api) -> None:
    """Updates and cancellation reach the topic exchange; the fanout exchange carries the creation alone."""
    product = api.new_product(10)
    order = api.place({product: 2})
    order = api.change(order, {product: 3})
    order = api.advance(order, OrderState.ORDER_STATE_PAID)
    order = api.cancel(order)
    heard = eventually(lambda: h if len(h := api.heard(2, order.id)) == 4 else None)
    assert [(n.version, n.late) for n in heard] == [(1, False), (2, False), (3, False), (4, False)]
    event = OrderUpdated()
    assert heard[3].event.Unpack(event)
    assert (event.order, event.previous_state, list(event.changed_fields)) == (
        order,
        OrderState.ORDER_STATE_PAID,
        ["state"],
    )
    assert [n.version for n in api.heard(1, order.id)] == [1]


def test_stock_follows_an_order_by_the_difference(api: Api) -> None:
    """Placing holds, updating holds or returns the difference, cancelling returns the rest."""
    first, second = api.new_product(10), api.new_product(10)
    order = api.place({first: 4, second: 1})
    assert (api.stock(first), api.stock(second)) == ((6, 4), (9, 1))
    order = api.change(order, {first: 1, second: 5})
    assert (api.stock(first), api.stock(second)) == ((9, 1), (5, 5))
    order = api.change(order, {second: 6})
    assert (api.stock(first), api.stock(second)) == ((10, 0), (4, 6))
    api.cancel(order)
    assert (api.stock(first), api.stock(second)) == ((10, 0), (10, 0))


def test_an_item_that_stays_keeps_its_price(api: Api) -> None:
    """The total follows the quantities at the prices the order was placed at."""
    product = api.new_product(10, units=7)
    order = api.place({product: 2})
    changed = api.change(order, {product: 3})
    assert (order.total.units, changed.total.units) == (14, 21)


def test_an_update_beyond_the_stock_changes_nothing(api: Api) -> None:
    """Refused with what was asked more and what there was; order and stock stay."""
    product = api.new_product(5)
    order = api.place({product: 3})
    with pytest.raises(grpc.RpcError) as refused:
        api.change(order, {product: 9})
    assert reason(refused.value) == "OUT_OF_STOCK"
    assert (api.stock(product), api.order(order.id)) == ((2, 3), order)


def test_a_refusal_for_stock_is_an_outcome_and_its_event_is_published_once(api: Api) -> None:
    """The repeat is refused as before, even after a restock, and OrderRejected is recorded once, by service 2."""
    product = api.new_product(3)
    request = placing({product: 4})
    for _ in range(2):
        with pytest.raises(grpc.RpcError) as refused:
            api.products.PlaceOrder(request, timeout=SECONDS)
        failure = PreconditionFailure()
        assert any(detail.Unpack(failure) for detail in status(refused.value).details)
        assert [(v.subject, v.description) for v in failure.violations] == [(product, "asked 4, available 3")]
        api.products.AdjustStock(AdjustStockRequest(request_id=new_id(), product_id=product, delta=5), timeout=SECONDS)
    assert api.stock(product) == (13, 0)
    rejections = eventually(lambda: rejected_of(api, product))
    assert len(rejections) == 1
    assert api.heard(1, rejections[0]) == []


def rejected_of(api: Api, product: str) -> list[str]:
    """The order ids of the refusals that service 2 has heard of for a product, among its newest records."""
    order_ids = []
    for notification in everything_heard(api):
        event = OrderRejected()
        if notification.event.Unpack(event) and event.shortages[0].product_id == product:
            order_ids.append(event.order_id)
    return order_ids


def everything_heard(api: Api) -> list[Notification]:
    """All that service 2 has recorded."""
    request = ListNotificationsRequest(page_size=500)
    notifications: list[Notification] = []
    while True:
        page = api.logs[2].ListNotifications(request, timeout=SECONDS)
        notifications += page.notifications
        if not page.next_page_token:
            return notifications
        request.page_token = page.next_page_token


def test_the_last_units_are_sold_once(api: Api) -> None:
    """Of many clients that want the last seven units at once, seven get one each."""
    product = api.new_product(7)

    def buy(_: int) -> str:
        try:
            api.place({product: 1})
        except grpc.RpcError as error:
            return reason(error)
        return "sold"

    with ThreadPoolExecutor(MANY) as pool:
        outcomes = Counter(pool.map(buy, range(MANY)))
    assert outcomes == {"sold": 7, "OUT_OF_STOCK": MANY - 7}
    assert api.stock(product) == (0, 7)


def test_one_request_sent_many_times_at_once_is_one_order(api: Api) -> None:
    """All repeats get the same answer, and stock is taken once."""
    product = api.new_product(100)
    request = placing({product: 3})
    with ThreadPoolExecutor(MANY) as pool:
        orders = list(pool.map(lambda _: api.products.PlaceOrder(request, timeout=SECONDS).order, range(MANY)))
    assert all(order == orders[0] for order in orders)
    assert api.stock(product) == (97, 3)


def test_many_changes_of_one_order_at_once_are_made_one_after_the_other(api: Api) -> None:
    """Every change is made once, versions rise by one, and the stock is that of the last."""
    product = api.new_product(1000)
    order = api.place({product: 1})
    with ThreadPoolExecutor(8) as pool:
        changed = list(pool.map(lambda units: api.change(order, {product: units}), range(2, 18)))
    assert sorted(snapshot.version for snapshot in changed) == list(range(2, 18))
    last = api.order(order.id)
    assert last.version == 17
    assert api.stock(product) == (1000 - last.items[0].quantity, last.items[0].quantity)


def test_stock_is_conserved_under_a_random_crowd(api: Api) -> None:
    """Stock neither appears nor vanishes, however many clients place, change, cancel and adjust at once."""
    products = [api.new_product(40) for _ in range(3)]
    adjusted: Counter[str] = Counter()

    def live(seed: int) -> None:
        dice = random.Random(seed)
        orders = []
        for _ in range(12):
            product = dice.choice(products)
            try:
                match dice.randrange(4):
                    case 0 | 1:
                        orders.append(api.place({product: dice.randint(1, 6)}))
                    case 2 if orders:
                        orders.append(api.change(orders.pop(), {dice.choice(products): dice.randint(1, 6)}))
                    case 3 if orders:
                        api.cancel(orders.pop())
                    case _:
                        request = AdjustStockRequest(request_id=new_id(), product_id=product, delta=2)
                        api.products.AdjustStock(request, timeout=SECONDS)
                        adjusted[product] += 2
            except grpc.RpcError as error:
                assert reason(error) == "OUT_OF_STOCK"

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(live, range(8)))
    for product in products:
        available, held = api.stock(product)
        assert available + held == 40 + adjusted[product]
        assert min(available, held) >= 0


def test_a_request_id_used_for_something_else_is_refused(api: Api) -> None:
    """The same id with another request, or in another call, is REQUEST_ID_REUSED; nothing is taken."""
    product, request_id = api.new_product(10), new_id()
    order = api.place({product: 1}, request_id)
    for call in (
        lambda: api.place({product: 2}, request_id),
        lambda: api.products.CancelOrder(CancelOrderRequest(request_id=request_id, order_id=order.id)),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            call()
        assert reason(refused.value) == "REQUEST_ID_REUSED"
    assert api.stock(product) == (9, 1)


def test_a_failed_validation_burns_no_request_id(api: Api) -> None:
    """A request refused for its form may be sent again in order, under the same id."""
    product, request_id = api.new_product(10), new_id()
    with pytest.raises(grpc.RpcError) as refused:
        api.place({product: 0}, request_id)
    assert reason(refused.value) == "INVALID_REQUEST"
    assert api.place({product: 1}, request_id).version == 1


def test_a_stale_version_is_aborted_and_a_current_one_taken(api: Api) -> None:
    """expected_version guards a change against changes it does not know of."""
    product = api.new_product(10)
    order = api.place({product: 1})
    api.change(order, {product: 2}, expected_version=1)
    with pytest.raises(grpc.RpcError) as refused:
        api.change(order, {product: 3}, expected_version=1)
    assert refused.value.code() == grpc.StatusCode.ABORTED
    assert api.stock(product) == (8, 2)


def test_a_cancelled_client_leaves_no_half_order(api: Api) -> None:
    """A call abandoned at once either never happened, or resolves to one order when repeated."""
    product = api.new_product(1000)
    requests = [placing({product: 1}) for _ in range(50)]
    for number, request in enumerate(requests):
        call = api.products.PlaceOrder.future(request, timeout=(number % 10) / 1000 + 0.0001)
        call.cancel() if number % 2 else call.exception()
    orders = {api.products.PlaceOrder(request, timeout=SECONDS).order.id for request in requests}
    assert len(orders) == 50
    assert eventually(lambda: api.stock(product) == (950, 50))

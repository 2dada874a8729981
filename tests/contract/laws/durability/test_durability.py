"""Laws of a crash (SIGKILL) at any moment: nothing is lost that was answered, acknowledged or is owed."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from ordersys.api.notification.v1.dead_letter_service_pb2 import DiscardDeadLettersRequest
from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest, Notification
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import (
    BatchCreateOrdersRequest,
    CreateOrderRequest,
    GetOrderRequest,
    ListOrdersRequest,
    OrderItems,
    UpdateOrderRequest,
)
from ordersys.api.product.v1.product_service_pb2 import AdjustStockRequest, ListProductsRequest
from ordersys.contract.events import Event
from ordersys.contract.times import microseconds
from tests.contract.conftest import ProductServiceAlone
from tests.contract.harness.amqp_frames import Delivery
from tests.contract.harness.amqp_proxy import AmqpProxy, Rule, Verdict
from tests.contract.harness.broker_faults import BrokerFault, understood
from tests.contract.harness.certificate import RESTART
from tests.contract.harness.client import LISTENERS, ORDER, PRODUCT
from tests.contract.harness.event_tap import EventTap
from tests.contract.harness.fake_order_service import Unavailable
from tests.contract.harness.injector import SUBSCRIPTIONS, Injector
from tests.contract.harness.order_events import FANOUT, TOPIC, assert_in_order, assert_properties
from tests.contract.harness.order_requests import CANCELLED, DELIVERED, PAID, WAYS, moving
from tests.contract.harness.product_alone import ORPHAN_SECONDS, assert_open, cancelling, changing, orders_of, stock
from tests.contract.harness.sample_orders import sample_order
from tests.contract.harness.subscriber_deliveries import created, fence, recorded
from tests.contract.harness.system_under_test import SystemUnderTest, creating, new_id, placing, priced
from tests.contract.harness.traces import carrying, new_trace, trace_id
from tests.contract.harness.traffic import Traffic

pytestmark = pytest.mark.judges(RESTART)
each_listener = pytest.mark.parametrize("role", LISTENERS)
EVENTS = 30
BATCH = 300
VERSIONS = 12  # of two digits: they sort otherwise as text
UNITS = 10_000
survives = pytest.mark.cites("implement.md", "A crash loses nothing that was answered.")


class HeldAcks(Rule):
    """Holds a subscriber's first acknowledgement of these events until it is released; then the broker gets it."""

    def __init__(self, queue: str, order_ids: set[str]) -> None:
        self._queue = queue
        self._order_ids = order_ids
        self.met = threading.Event()
        self.released = threading.Event()

    def acknowledged(self, queue: str, deliveries: list[Delivery]) -> Verdict:
        if queue == self._queue and any(self._is_ours(understood(delivery)) for delivery in deliveries):
            self.met.set()
            self.released.wait()
        return Verdict.PASS

    def _is_ours(self, event: Event | None) -> bool:
        return event is not None and event.order_id in self._order_ids


@contextmanager
def unpublished(proxy: AmqpProxy | None) -> Iterator[None]:
    """Nothing that is published reaches the broker."""
    assert proxy is not None
    with proxy.ruled(BrokerFault(lambda event: True, Verdict.LOSE)):
        yield


def paying(order: Order) -> UpdateOrderRequest:
    """A request for the next state."""
    return UpdateOrderRequest(request_id=new_id(), order_id=order.id, state=OrderState.ORDER_STATE_PAID)


def with_items(order: Order, quantity: int) -> UpdateOrderRequest:
    """A request for other items."""
    items = OrderItems(items=priced({"lamp": quantity, "chair": 1}))
    return UpdateOrderRequest(request_id=new_id(), order_id=order.id, items=items)


def reading(request: CreateOrderRequest) -> GetOrderRequest:
    """A request for the order that this one creates."""
    return GetOrderRequest(order_id=request.order_id)


def heard(event_tap: EventTap, order: Order) -> bool:
    """True once both exchanges have told of an order, up to its version."""
    topic = {h.event.version for h in event_tap.received(order.id, TOPIC) if h.event}
    return topic >= set(range(1, order.version + 1)) and bool(event_tap.received(order.id, FANOUT))


def assert_told(system: SystemUnderTest, event_tap: EventTap, order: Order) -> None:
    """Each version of an order is heard of, under one id and with one content; the last as the order is now."""
    event_tap.wait(lambda: heard(event_tap, order), system.patience, f"the events of order {order.id}")
    heard_of = [
        (h.event.version, h.properties.message_id, h.event.message) for h in event_tap.received(order.id) if h.event
    ]
    assert [
        message.order for version, _, message in heard_of if version == order.version and message.order != order
    ] == []
    assert len({event_id for _, event_id, _ in heard_of}) == len({version for version, _, _ in heard_of})


@survives
@pytest.mark.cites("implement.md", "It outlives a restart of the service.")
@pytest.mark.cites("implement.md", "publish an event if, and only if, its change is committed")
@pytest.mark.judges(ORDER)
def test_orders_and_their_request_ids_survive_a_crash(system: SystemUnderTest) -> None:
    """Killed among calls, and once more: orders, pages and repeats are as answered, or answered for the first time."""
    customer = f"c-{new_id()}"
    first, *batch = [creating({"lamp": 2, "chair": 1}, customer) for _ in range(4)]
    answered: list[tuple[Any, Any]] = [(first, system.ok(first))]
    whole = BatchCreateOrdersRequest(requests=batch)
    answered.append((whole, system.ok(whole)))
    # The oldest is changed after newer ones were created; one change changes nothing; two orders come to their end.
    oldest, delivered, cancelled, _ = order_ids = [first.order_id, *(each.order_id for each in batch)]
    changes = [with_items(system.order(oldest), 5) for _ in range(2)]
    steps = (oldest, PAID), (cancelled, CANCELLED), *((delivered, state) for state in WAYS[DELIVERED])
    changes.extend(moving(Order(id=order_id), state) for order_id, state in steps)
    answered.extend((request, system.ok(request, ORDER)) for request in changes)
    orders = [system.order(order_id) for order_id in order_ids]
    whole_list, rest = (ListOrdersRequest(customer_id=customer, page_size=size) for size in (500, 2))
    rest.page_token = system.ok(rest).next_page_token
    listed = [system.ok(query) for query in (whole_list, rest)]
    traffic = Traffic(system, creating)
    with traffic.flowing():
        system.crash(ORDER)
    between = creating()
    answered.append((between, system.ok(between)))
    large = BatchCreateOrdersRequest(requests=[creating() for _ in range(BATCH)])
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(system.call, large)
        # Once the first can be read: a commit for each order would be in the midst of them.
        system.eventually(lambda: under_way.done() or system.call(reading(large.requests[0])).response)
        system.crash(ORDER)  # what was found again has to be kept, too, by whoever began with it
    there = sum(bool(system.call(reading(request)).response) for request in large.requests)
    assert there in (0, BATCH), f"of a batch of {BATCH} orders {there} are there"
    answered.append((large, under_way.result().response or system.ok(large)))
    assert [system.ok(query) for query in (whole_list, rest)] == listed
    assert [system.order(order_id) for order_id in order_ids] == orders
    for request, response in [*answered, *traffic.answered]:
        assert system.ok(request, ORDER) == response
    for _, response in traffic.resolved():
        assert system.order(response.order.id) == response.order
        if system.event_tap is not None:  # nothing was published of an order that was lost, and made again
            assert_told(system, system.event_tap, response.order)
    stolen = creating(customer_id=customer)
    stolen.request_id = first.request_id
    assert system.call(stolen).reason == "REQUEST_ID_REUSED"


@pytest.mark.cites("implement.md", "another one follows when that dies, within the 20 s in which waiting events")
@survives
@pytest.mark.judges(ORDER, "broker", "proxy")
def test_events_that_wait_for_the_broker_survive_a_crash(
    system: SystemUnderTest, event_tap: EventTap, proxy: AmqpProxy | None
) -> None:
    """What was answered and not yet published is published afterwards: each version, in order, as at once."""
    answered: list[tuple[Order, str]] = []

    def made(request: CreateOrderRequest | UpdateOrderRequest) -> Order:
        answered.append(
            (system.client.call(request, ORDER, metadata=carrying(trace := new_trace())).response.order, trace)
        )
        return answered[-1][0]

    with unpublished(proxy):
        changed, paid, cancelled = (made(creating()) for _ in range(3))
        for quantity in range(3, 1 + VERSIONS):
            changed = made(with_items(changed, quantity))
        paid, cancelled = made(paying(paid)), made(moving(cancelled, CANCELLED))
        system.crash(ORDER)
        system.crash(ORDER)  # what was found again has to be kept, too, by whoever began with it
    for order in (changed, paid, cancelled):
        assert_told(system, event_tap, order)
        assert_in_order(system, event_tap, order)
    for order, trace in answered:
        for message in event_tap.received(order.id):
            if message.event and message.event.version == order.version:
                assert_properties(message, order.id, microseconds(order.update_time))
                assert trace_id(message.properties.headers["traceparent"]) == trace_id(trace)


@survives
@pytest.mark.cites("implement.md", "It outlives a restart of the service.")
@pytest.mark.judges(PRODUCT, "stand-in")
def test_stock_and_placements_survive_a_crash(alone: ProductServiceAlone) -> None:
    """Killed among placements, and once more: stock, outcomes and refusals are as answered, and nothing is twice."""
    system = alone.system
    product, crowded = system.new_product(10), system.new_product(UNITS)
    placed, adjusted, refused = placing({product: 4}), AdjustStockRequest(request_id=new_id()), placing({product: 50})
    adjusted.product_id, adjusted.delta = product, 90
    assert system.call(refused).reason == "OUT_OF_STOCK"
    answered: list[tuple[Any, Any]] = [(placed, system.ok(placed)), (adjusted, system.ok(adjusted))]
    gone = system.place({product: 3})
    changes = changing(answered[0][1].order, 6), cancelling(gone)
    answered.extend((request, system.ok(request)) for request in changes)
    before, behind = system.product(product), ListProductsRequest(page_size=1)
    behind.page_token = system.ok(behind).next_page_token
    listed = [product.id for product in system.ok(behind).products]
    traffic = Traffic(system, lambda: placing({crowded: 1}))
    with traffic.flowing():
        system.crash(PRODUCT)
    between = placing({crowded: 1})
    traffic.answered.append((between, system.eventually(lambda: system.call(between).response)))
    system.crash(PRODUCT)  # what was found again has to be kept, too, by whoever began with it
    assert system.product(product) == before
    assert [product.id for product in system.ok(behind).products] == listed
    for request, response in [*answered, *traffic.answered]:
        assert system.ok(request) == response
    assert system.call(refused).reason == "OUT_OF_STOCK"
    system.ok(cancelling(answered[0][1].order))  # what it holds is known still
    system.eventually(lambda: stock(alone, product) == (100, 0))
    orders = {response.order.id for _, response in traffic.resolved()}
    system.eventually(lambda: stock(alone, crowded) == (UNITS - len(orders), len(orders)), ORPHAN_SECONDS)
    assert {order.id for order in orders_of(alone, crowded)} == orders


@survives
@pytest.mark.judges(PRODUCT, "stand-in")
def test_a_saga_whose_outcome_is_open_survives_a_crash(alone: ProductServiceAlone) -> None:
    """The stock stays held; afterwards it belongs to one order, whether somebody repeats the request or nobody does."""
    system = alone.system
    asked, left = system.new_product(10), system.new_product(10)
    request = placing({asked: 4})
    with alone.fake_order_service.answering(Unavailable()):
        for each in (request, placing({left: 3})):
            assert_open(system.call(each))
        system.crash(PRODUCT)
        assert (stock(alone, asked), stock(alone, left)) == ((6, 4), (7, 3))
    order = system.eventually(lambda: system.call(request).response).order
    assert orders_of(alone, asked) == [order]
    system.eventually(lambda: len(orders_of(alone, left)) == 1, ORPHAN_SECONDS)
    assert (stock(alone, asked), stock(alone, left)) == ((6, 4), (7, 3))


@survives
@pytest.mark.judges(PRODUCT, "broker", "proxy")
def test_a_refusal_that_waits_for_the_broker_survives_a_crash(
    system: SystemUnderTest, event_tap: EventTap, proxy: AmqpProxy | None
) -> None:
    """OrderRejected is published afterwards, under one id."""
    request = placing({system.new_product(1): 5}, customer_id=f"c-{new_id()}")
    with unpublished(proxy):
        assert system.call(request).reason == "OUT_OF_STOCK"
        system.crash(PRODUCT)

    def about(event: Event | None) -> bool:
        return event is not None and getattr(event.message, "customer_id", "") == request.customer_id

    event_tap.wait(lambda: any(about(h.event) for h in event_tap.everything()), system.patience)
    rejections = [h for h in event_tap.everything() if about(h.event)]
    assert {h.exchange for h in rejections} == {TOPIC}
    assert len({h.properties.message_id for h in rejections}) == 1


@survives
@pytest.mark.cites("implement.md", "It outlives a restart of the service.")
@pytest.mark.cites("implement.md", "record the event under its `message_id`, commit, *then* acknowledge")
@pytest.mark.judges("broker")
@each_listener
def test_records_and_dead_letters_survive_a_crash(
    system: SystemUnderTest, injector: Injector, proxy: AmqpProxy | None, role: str
) -> None:
    """Killed while it acknowledges: all is as it was listed, what it acknowledged is recorded, and nothing twice."""
    order, kept, gone = sample_order(), sample_order(), sample_order()
    event_id = injector.deliver(role, created(order))
    (record,) = recorded(system, role, order.id)
    ids = [injector.put_aside(role, created(dead)) for dead in (kept, gone)]
    letters = [system.eventually(lambda i=i: system.dead_letter(role, i)) for i in ids]  # type: ignore[misc]
    fence(system, injector, role)  # a second record, so that there is a second page
    behind = ListNotificationsRequest(page_size=1)
    behind.page_token = system.ok(behind, role).next_page_token
    listed = system.ok(behind, role)
    request = DiscardDeadLettersRequest(request_id=new_id(), dead_letter_ids=[letters[1].id])
    answer = system.ok(request, role)
    _crash_in_the_midst(system, injector, proxy, role)
    injector.deliver(role, created(order), message_id=event_id)
    fence(system, injector, role)
    assert system.notifications(role, order.id) == [record]
    assert [system.dead_letter(role, i) for i in ids] == [letters[0], None]
    assert system.ok(behind, role).notifications == listed.notifications
    assert system.ok(request, role) == answer


def _crash_in_the_midst(system: SystemUnderTest, injector: Injector, proxy: AmqpProxy | None, role: str) -> None:
    """Kills it at its first acknowledgement of many events, where there is a proxy; all of them are recorded, once."""
    orders = [sample_order() for _ in range(EVENTS)]
    held = HeldAcks(SUBSCRIPTIONS[role].queue, {order.id for order in orders})
    with _acting(proxy, held):
        for each in orders:
            injector.deliver(role, created(each))
        system.eventually(lambda: held.met.is_set() if proxy else _some(system, role, orders))
        system.crash(role, ended=held.released.set)
    counts = Counter(len(recorded(system, role, each.id)) for each in orders)
    assert counts == {1: EVENTS}


@contextmanager
def _acting(proxy: AmqpProxy | None, held: HeldAcks) -> Iterator[None]:
    """The rule is in force, and in the end holds nothing any more. What it let through stays through: no cut."""
    if proxy is not None:
        proxy.rule = held
    try:
        yield
    finally:
        held.released.set()
        if proxy is not None:
            proxy.rule = Rule()


def _some(system: SystemUnderTest, role: str, orders: list[Order]) -> list[Notification]:
    return [record for order in orders[:3] for record in system.notifications(role, order.id)]


@survives
@pytest.mark.judges(PRODUCT, ORDER, "broker")
def test_a_crash_of_everything_loses_nothing(system: SystemUnderTest, event_tap: EventTap) -> None:
    """All services killed at once among placements: orders, stock, events and records agree afterwards."""
    product = system.new_product(UNITS)
    traffic = Traffic(system, lambda: placing({product: 1}))
    assert system.crasher is not None
    killed = sorted(system.crasher.roles)
    with traffic.flowing():
        system.crash(*killed)
    placed = [response.order for _, response in traffic.resolved()]
    for request, response in traffic.answered:
        assert system.ok(request) == response
    for order in placed:
        assert system.order(order.id) == order
        assert_told(system, event_tap, order)
    system.eventually(lambda: system.stock(product) == (UNITS - len(placed), len(placed)), ORPHAN_SECONDS)
    for role in sorted(set(LISTENERS) & set(killed)):
        for order in placed:
            assert len(recorded(system, role, order.id)) == 1

"""Laws that hold when many clients act at once."""

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.product.v1.product_service_pb2 import (
    AdjustStockRequest,
    CancelOrderRequest,
    ItemQuantities,
    UpdateOrderRequest,
)
from tests.contract.harness.client import ORDER, PRODUCT
from tests.contract.harness.examples import with_examples
from tests.contract.harness.linearizability import linearizable
from tests.contract.harness.stock_client import CALLS, StockClient
from tests.contract.harness.system_under_test import SystemUnderTest, new_id, placing, quantities

CLIENTS = 6
BUYERS = 24
ADJUSTMENTS = 120
LOOKS = 20


@pytest.mark.cites(
    "implement.md",
    "they have the effect of the same calls one after the other, each between its request and its answer",
)
@pytest.mark.judges(PRODUCT)
@with_examples
@given(stock=st.integers(0, 8), seed=st.integers(0, 2**32))
def test_the_stock_of_each_product_is_linearizable(system: SystemUnderTest, stock: int, seed: int) -> None:
    """Placements, updates, cancellations and adjustments at once could have come one after the other."""
    products = [system.new_product(stock) for _ in range(2)]
    clients = [StockClient(system, products, random.Random(f"{seed} {number}")) for number in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(StockClient.live, clients))
    for product in products:
        history = [operation for client in clients for operation in client.histories[product]]
        assert linearizable(history, stock), history
        left = stock - sum(operation.units for operation in history if operation.outcome)
        if not any(operation.outcome is None for operation in history):
            assert system.stock(product)[0] == left, history


@pytest.mark.cites(
    "implement.md", "Requests at several processes at once have the effect of the same requests one after the other"
)
@pytest.mark.cites("product.proto", "Units that can still be ordered.")
@pytest.mark.cites("error_reason.proto", "Not enough stock; nothing was taken.")
@pytest.mark.judges(PRODUCT)
@with_examples
@given(stock=st.integers(1, 5))
def test_the_last_unit_is_sold_once(system: SystemUnderTest, stock: int) -> None:
    """As many of a crowd get one as there are."""
    product = system.new_product(stock)
    with ThreadPoolExecutor(BUYERS) as pool:
        answers = Counter(pool.map(lambda _: system.call(placing({product: 1})).reason, range(BUYERS)))
    assert answers == {"": stock, "OUT_OF_STOCK": BUYERS - stock}
    assert system.stock(product) == (0, stock)


@pytest.mark.cites("product_service.proto", "The product as it became.")
@pytest.mark.judges(PRODUCT)
def test_each_adjustment_is_answered_with_the_stock_after_it(system: SystemUnderTest) -> None:
    """Of a crowd that adds a unit each, every one is told another number, and all numbers are told."""
    product = system.new_product(0)

    def add(_: int) -> int:
        request = AdjustStockRequest(request_id=new_id(), product_id=product, delta=1)
        return int(system.ok(request).product.available)

    with ThreadPoolExecutor(BUYERS) as pool:
        answered = sorted(pool.map(add, range(ADJUSTMENTS)))
    assert answered == list(range(1, ADJUSTMENTS + 1))
    assert system.stock(product) == (ADJUSTMENTS, 0)


@pytest.mark.cites("product_service.proto", "The product as it is now.")
@pytest.mark.judges(PRODUCT)
def test_a_product_is_shown_as_it_is_now(system: SystemUnderTest) -> None:
    """Whichever process has changed it, and whichever has shown it before."""
    product = system.new_product(0)
    for units in range(1, 1 + LOOKS):
        assert system.stock(product) == (units - 1, 0)
        system.ok(AdjustStockRequest(request_id=new_id(), product_id=product, delta=1))
        assert system.stock(product) == (units, 0)


@pytest.mark.cites("product.proto", "what it had at first plus all adjustments equals available + held at every moment")
@pytest.mark.judges(PRODUCT, ORDER)
@with_examples
@given(seed=st.integers(0, 2**32))
def test_stock_is_conserved_whatever_happens_at_once(system: SystemUnderTest, seed: int) -> None:
    """Placements, changes, cancellations and adjustments on few products: no unit appears or vanishes."""
    products = {system.new_product(12): 12 for _ in range(3)}

    def client(number: int) -> tuple[Counter[str], list[Order]]:
        return _wander(system, list(products), random.Random(f"{seed} {number}"))

    with ThreadPoolExecutor(CLIENTS) as pool:
        outcomes = list(pool.map(client, range(CLIENTS)))
    adjusted: Counter[str] = Counter()
    for mine, _ in outcomes:
        adjusted.update(mine)
    orders = [system.order(order.id) for _, placed in outcomes for order in placed]
    held = Counter(dict.fromkeys(products, 0))
    for order in orders:
        if order.state != OrderState.ORDER_STATE_CANCELLED:
            held.update({item.product_id: item.quantity for item in order.items})
    for product, first in products.items():
        system.eventually(lambda p=product: system.stock(p)[1] == held[p])  # type: ignore[misc]
        assert sum(system.stock(product)) == first + adjusted[product]


def _wander(system: SystemUnderTest, products: list[str], dice: random.Random) -> tuple[Counter[str], list[Order]]:
    """The units a client adjusted of each product, and the orders it placed."""
    adjusted: Counter[str] = Counter()
    orders: list[Order] = []
    for _ in range(CALLS * 2):
        product, units = dice.choice(products), dice.randint(1, 4)
        actions: list[Callable[[], None]] = [lambda: _place(system, orders, dice, products)]
        actions.append(lambda p=product, u=units: _adjust(system, adjusted, p, u - 2 or 1))  # type: ignore[misc]
        if orders:
            order = dice.choice(orders)
            actions.append(lambda o=order, p=product, u=units: _change(system, o, p, u))  # type: ignore[misc]
            actions.append(lambda o=order: _cancel(system, o))  # type: ignore[misc]
        dice.choice(actions)()
    return adjusted, orders


def _place(system: SystemUnderTest, orders: list[Order], dice: random.Random, products: list[str]) -> None:
    wanted = {product: dice.randint(1, 4) for product in dice.sample(products, 2)}
    answer = system.call(placing(wanted))
    if answer.response is not None:
        orders.append(answer.response.order)


def _adjust(system: SystemUnderTest, adjusted: Counter[str], product: str, delta: int) -> None:
    answer = system.call(AdjustStockRequest(request_id=new_id(), product_id=product, delta=delta))
    if answer.response is not None:
        adjusted[product] += delta


def _change(system: SystemUnderTest, order: Order, product: str, units: int) -> None:
    items = ItemQuantities(items=quantities({product: units}))
    system.call(UpdateOrderRequest(request_id=new_id(), order_id=order.id, items=items))


def _cancel(system: SystemUnderTest, order: Order) -> None:
    system.call(CancelOrderRequest(request_id=new_id(), order_id=order.id))


@pytest.mark.cites(
    "implement.md", "a change waits until the one before it has its outcome, and each is answered with its own"
)
@pytest.mark.judges(PRODUCT)
def test_every_change_of_a_crowd_is_answered_with_itself(system: SystemUnderTest) -> None:
    """Changes of one order at once are made one after the other: each answer has what was asked for with it."""
    product = system.new_product(1000)
    order = system.place({product: 1})

    def change(units: int) -> Order:
        items = ItemQuantities(items=quantities({product: units}))
        changed: Order = system.ok(UpdateOrderRequest(request_id=new_id(), order_id=order.id, items=items)).order
        return changed

    asked = range(2, 42)
    with ThreadPoolExecutor(CLIENTS) as pool:
        changed = list(pool.map(change, asked))
    assert [order.items[0].quantity for order in changed] == list(asked)
    assert sorted(order.version for order in changed) == list(asked)
    held = max(changed, key=lambda order: order.version).items[0].quantity
    system.eventually(lambda: system.stock(product) == (1000 - held, held))

"""Stories of products and orders with a Product Service: the steps there are, of a few customers and products."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.type.money_pb2 import Money
from hypothesis import strategies as st

from ordersys.api.order.v1.order_pb2 import OrderState
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import (
    AdjustStockRequest,
    CancelOrderRequest,
    CreateProductRequest,
    GetProductRequest,
    ItemQuantities,
    ListProductsRequest,
    PlaceOrderRequest,
    UpdateOrderRequest,
)
from tests.contract.harness.client import PRODUCT
from tests.contract.harness.event_tap import EventTap
from tests.contract.harness.model import CANCELLED, FOLLOWS, PLACED
from tests.contract.harness.normal_form import copy, items_of, normal
from tests.contract.harness.paging import walk
from tests.contract.harness.refusals import refusal_in, unknown_product
from tests.contract.harness.rejections import compare_rejections
from tests.contract.harness.steps import Kind
from tests.contract.harness.stock_judge import StockJudge, units
from tests.contract.harness.system_under_test import SystemUnderTest, new_id, quantities
from tests.contract.harness.variants import spelled

_SHOP = (30, 20, 9, 2)  # units of the first products: plenty of one, too few of another
_MOST_PRODUCTS = 6
_TOO_MANY = 999
_NEXT = OrderState.ORDER_STATE_UNSPECIFIED
"""The state that follows, whichever it is."""
_PAID, _SHIPPED, _DELIVERED = (
    OrderState.ORDER_STATE_PAID,
    OrderState.ORDER_STATE_SHIPPED,
    OrderState.ORDER_STATE_DELIVERED,
)
_WHICH = st.integers(0, 99)
_OR_NONE = st.sampled_from([*range(30), -1])
"""Which of the things there are; of -1 one that there is not."""
_WANTED = st.dictionaries(
    st.sampled_from([*range(_MOST_PRODUCTS)] * 4 + [-1]), st.integers(1, 5), min_size=1, max_size=3
)
_EXPECTED = st.sampled_from(["none"] * 5 + ["this"] * 2 + ["older", "newer"])
_PRICES = st.builds(Money, currency_code=st.just("EUR"), units=st.integers(0, 999), nanos=st.integers(0, 999_999_999))


class StockStory(StockJudge):
    """Requests of a few customers about a few products of their own."""

    def __init__(self, system: SystemUnderTest, event_tap: EventTap | None) -> None:
        """`event_tap`: where there is a broker, what is published."""
        super().__init__(system)
        self.event_tap = event_tap
        self.name = new_id()[:13]
        self.customers = [f"c-{self.name}-{number}" for number in range(2)]

    def begin(self) -> None:
        """Some products at different prices, and some orders."""
        for number, available in enumerate(_SHOP):
            self.create_product(available, Money(currency_code="EUR", units=number, nanos=990_000_000), number % 2)
        self.place_many([{0: 3, 1: 2}, {1: 4, 2: 1}, {0: 1, 2: 2}], None)

    def create_product(self, available: int, price: Money, held: int) -> None:
        """A product; the fields that the service sets may stand in the request, and mean nothing there."""
        if len(self.products) == _MOST_PRODUCTS:
            return
        product = Product(
            id=f"s-{self.name}-{len(self.products)}",
            name=f"Product {held}",
            description="" if held else "As described",
            unit_price=price,
            available=available,
            held=held,
        )
        if held:
            product.create_time.seconds = product.update_time.seconds = held
        self.ask(CreateProductRequest(request_id=new_id(), product=product))

    def create_it_again(self, which: int, price: Money) -> None:
        """A product under an id that is taken."""
        product = Product(id=self.product_id(which), name="Another", unit_price=price, available=9)
        self.ask(CreateProductRequest(request_id=new_id(), product=product))

    def restock(self, which: int, delta: int) -> None:
        """More or less of a product."""
        self.ask(AdjustStockRequest(request_id=new_id(), product_id=self.product_id(which), delta=delta))

    def place(self, wanted: Mapping[int, int], customer: int) -> None:
        """An order."""
        self.ask(self.placing(wanted, customer))

    def place_many(self, wishes: Sequence[Mapping[int, int]], again: int | None) -> None:
        """In one call; one of them maybe twice, or an earlier one once more."""
        requests = [self.placing(wanted, number % 2) for number, wanted in enumerate(wishes)]
        if again is not None:
            earlier = [*requests, *self.placements()]
            requests.append(spelled(earlier[again % len(earlier)], again))
        self.ask_many(requests)

    def change(self, which: int, wanted: Mapping[int, int], expected: str) -> None:
        """Other items for an order."""
        order_id = self.order_id(which)
        self.ask(self.changing(order_id, expected, items=ItemQuantities(items=quantities(self.wanted(wanted)))))

    def change_a_little(self, which: int, by: Mapping[int, int]) -> None:
        """Some more, some less, some other items and some no more; of nothing, the items it has."""
        order_id = self.order_id(which)
        items = dict(self.model.orders[order_id].items)
        for product_id, units_more in self.wanted(by).items():
            items[product_id] = max(items.get(product_id, 0) + units_more - 3, 0)
        left = {product_id: units for product_id, units in items.items() if units}
        if left:
            self.ask(self.changing(order_id, "none", items=ItemQuantities(items=quantities(left))))

    def advance(self, which: int, state: "OrderState.ValueType", expected: str) -> None:
        """Another state for an order; of none, the one that comes next."""
        order_id = self.order_id(which)
        if state == _NEXT:
            following = FOLLOWS[self.model.orders[order_id].state] if order_id in self.model.orders else ()
            state = next((state for state in following if state != CANCELLED), _DELIVERED)
        self.ask(self.changing(order_id, expected, state=state))

    def deliver(self, which: int) -> None:
        """An order taken to the end of its life, and one step further."""
        order_id = self.order_id(which)
        for state in (_PAID, _SHIPPED, _DELIVERED, _DELIVERED):
            self.ask(self.changing(order_id, "none", state=state))

    def cancel(self, which: int, expected: str) -> None:
        """An order called off."""
        self.ask(self.cancelling(self.order_id(which), expected))

    def change_what_is_stale(self, which: int, how: str) -> None:
        """A change that nothing forbids but the version it expects: the one before."""
        order_id = self.placed_order(which)
        product_id = self.product_id(0)
        items = ItemQuantities(items=quantities({product_id: 1 + self.model.orders[order_id].version}))
        if self.model.orders[order_id].version == 1:
            self.ask(self.changing(order_id, "this", items=items))
            items.items[0].quantity += 1
        if how == "cancel":
            self.ask(self.cancelling(order_id, "older"))
        else:
            self.ask(self.changing(order_id, "older", **({"items": items} if how == "items" else {"state": _PAID})))

    def repeat_long_after(self, which: int) -> None:
        """Two changes of an order, then its cancellation, and each of them again: answered as at first."""
        order_id = self.placed_order(which)
        changes: list[Any] = []
        for units_more in (1, 2):
            items = quantities({**self.model.orders[order_id].items, self.product_id(0): units_more})
            changes.append(self.changing(order_id, "none", items=ItemQuantities(items=items)))
            self.ask(changes[-1])
        changes.append(self.cancelling(order_id, "this"))
        for request in (changes[-1], *changes):
            self.ask(request)

    def want_too_much(self, which: int, how: str) -> None:
        """More than there is: of an order, for one, of the stock itself. Restocked and repeated, it stays refused."""
        product_id, other_id = self.product_id(which), self.product_id(which + 1)
        wanted = {product_id: self.model.available[product_id] + 1 + which % 2}
        both = {other_id: self.model.available[other_id] + 1, **wanted}
        request: Any = PlaceOrderRequest(request_id=new_id(), customer_id=self.customers[0], items=quantities(both))
        if how == "change":
            order_id = self.placed_order(which)
            wanted[product_id] += self.model.orders[order_id].items.get(product_id, 0)
            request = self.changing(order_id, "none", items=ItemQuantities(items=quantities(wanted)))
        elif how == "adjust":
            request = AdjustStockRequest(request_id=new_id(), product_id=product_id, delta=-wanted[product_id])
        self.ask(request)
        self.ask(AdjustStockRequest(request_id=new_id(), product_id=product_id, delta=3))
        self.ask(request)

    def repeat(self, which: int, spelling: int) -> None:
        """A request again: answered as at first, whatever happened since, if it had an outcome; else judged anew."""
        self.ask(spelled(self.earlier(which), spelling))

    def repeat_many(self, which: Sequence[int], spelling: int) -> None:
        """In one call, whichever call they were first asked by; one of them altered."""
        earlier = self.placements()
        requests = [spelled(earlier[number % len(earlier)], spelling) for number in which]
        requests.append(self.altered(requests[0], which[0]))
        self.ask_many(requests)

    def ask_for_another(self, which: int, how: int) -> None:
        """The id of a request that had an outcome serves no other, however little it differs; other ids are free."""
        self.ask(self.altered(self.earlier(which), how))

    def ask_by_another_call(self, which: int, delta: int) -> None:
        """To a request_id all calls are one."""
        request_id = self.earlier(which).request_id
        self.ask(AdjustStockRequest(request_id=request_id, product_id=self.product_id(which), delta=delta))

    def look(self, which: int) -> None:
        """At a product."""
        answer = self.system.call(GetProductRequest(product_id=self.product_id(which)))
        if which < 0:
            assert refusal_in(answer) == unknown_product(self.product_id(which))
        else:
            self.compare_product(answer.response.product)

    def list_products(self, size: int) -> None:
        """By id; those of the story as the model has them."""
        listed: list[Product] = walk(self.system, PRODUCT, ListProductsRequest(), lambda page: page.products, [size])
        ids = [product.id for product in listed]
        assert ids == sorted(set(ids))
        own = [product for product in listed if product.id.startswith(f"s-{self.name}-")]
        assert [product.id for product in own] == sorted(self.products)
        for product in own:
            self.compare_product(product)

    def end(self) -> None:
        """Each refusal for want of stock was published once, as it was answered, where there is a broker."""
        if self.event_tap is None:
            return
        self.ask(self.placing({0: _TOO_MANY}, 0))
        events = compare_rejections(self.event_tap, self.system.patience, self.customers, self.rejected)
        order_ids = {event.order_id for event in events}
        assert len(order_ids) == len(events)
        assert not order_ids & self.versions.keys()

    # How requests are made

    def product_id(self, which: int) -> str:
        """One of the products there are."""
        return "nobody-has-created-this" if which < 0 else list(self.products)[which % len(self.products)]

    def order_id(self, which: int) -> str:
        """One of the orders there are, mostly one of the last three."""
        last = list(self.model.orders)[-3 if which % 10 < 7 else 0 :]
        return new_id() if which < 0 else last[which % len(last)]

    def placed_order(self, which: int) -> str:
        """One of the orders that may be changed; a new one where there is none."""
        while not (placed := [order_id for order_id, order in self.model.orders.items() if order.state == PLACED]):
            # At most twice: an Order Service that was told to refuse does so once.
            self.restock(0, 1)
            self.place({0: 1}, 0)
        return placed[which % len(placed)]

    def wanted(self, wanted: Mapping[int, int]) -> dict[str, int]:
        """Units of products there are, each once."""
        return {self.product_id(which): units for which, units in wanted.items()}

    def placing(self, wanted: Mapping[int, int], customer: int) -> PlaceOrderRequest:
        """A request for an order."""
        items = quantities(self.wanted(wanted))
        return PlaceOrderRequest(request_id=new_id(), customer_id=self.customers[customer], items=items)

    def changing(self, order_id: str, expected: str, **change: Any) -> UpdateOrderRequest:
        """A request for a change of an order."""
        request = UpdateOrderRequest(request_id=new_id(), order_id=order_id, **change)
        if version := self.version(order_id, expected):
            request.expected_version = version
        return request

    def cancelling(self, order_id: str, expected: str) -> CancelOrderRequest:
        """A request to call an order off."""
        request = CancelOrderRequest(request_id=new_id(), order_id=order_id)
        if version := self.version(order_id, expected):
            request.expected_version = version
        return request

    def version(self, order_id: str, expected: str) -> int:
        """The version a request expects, 0 for none."""
        known = self.model.orders.get(order_id)
        version = known.version if known else 1
        return {"none": 0, "this": version, "older": version - 1, "newer": version + 1}[expected]

    def earlier(self, which: int) -> Any:
        """One of the requests asked for, of each call as often as of any other."""
        kinds = list({type(request): None for request in self.asked})
        kind = kinds[which % len(kinds)]
        of_kind = [request for request in self.asked if isinstance(request, kind)]
        return of_kind[which // len(kinds) % len(of_kind)]

    def placements(self) -> list[PlaceOrderRequest]:
        """The placements asked for, alone or in a batch."""
        return [request for request in self.asked if isinstance(request, PlaceOrderRequest)]

    def altered(self, request: Any, how: int) -> Any:
        """Another request of the kind under the same id: one field differs."""
        others = list(_others(request, sorted(self.products), self.customers))
        return others[how % len(others)]


_STALE, _TOO_MUCH = ("items", "state", "cancel"), ("place", "change", "adjust")
_STATES = st.sampled_from([_NEXT] * 5 + [_PAID, _SHIPPED, _DELIVERED])
KINDS = (
    Kind(1, StockStory.look, {"which": _OR_NONE}),
    Kind(1, StockStory.list_products, {"size": st.sampled_from([0, 100, 500])}),
    Kind(1, StockStory.create_product, {"available": st.integers(0, 12), "price": _PRICES, "held": st.integers(0, 3)}),
    Kind(1, StockStory.create_it_again, {"which": _WHICH, "price": _PRICES}),
    Kind(1, StockStory.restock, {"which": _OR_NONE, "delta": st.integers(-9, 9).filter(bool)}),
    Kind(1, StockStory.place, {"wanted": _WANTED, "customer": st.integers(0, 1)}),
    Kind(
        2,
        StockStory.place_many,
        {"wishes": st.lists(_WANTED, min_size=1, max_size=4), "again": st.none() | _WHICH},
    ),
    Kind(2, StockStory.change, {"which": _OR_NONE, "wanted": _WANTED, "expected": _EXPECTED}),
    Kind(3, StockStory.change_a_little, {"which": _WHICH, "by": st.just({}) | _WANTED}),
    Kind(3, StockStory.advance, {"which": _OR_NONE, "state": _STATES, "expected": _EXPECTED}),
    Kind(1, StockStory.deliver, {"which": _WHICH}),
    Kind(2, StockStory.cancel, {"which": _OR_NONE, "expected": _EXPECTED}),
    *(Kind(1, StockStory.change_what_is_stale, {"which": _WHICH, "how": st.just(how)}) for how in _STALE),
    Kind(1, StockStory.repeat_long_after, {"which": _WHICH}),
    *(Kind(1, StockStory.want_too_much, {"which": _WHICH, "how": st.just(how)}) for how in _TOO_MUCH),
    Kind(2, StockStory.repeat, {"which": _WHICH, "spelling": _WHICH}),
    Kind(2, StockStory.repeat_many, {"which": st.lists(_WHICH, min_size=1, max_size=4), "spelling": _WHICH}),
    Kind(3, StockStory.ask_for_another, {"which": _WHICH, "how": _WHICH}),
    Kind(1, StockStory.ask_by_another_call, {"which": _WHICH, "delta": st.integers(1, 5)}),
)
"""The steps of a story, of any system with a Product Service."""


def _others(request: Any, products: Sequence[str], customers: Sequence[str]) -> Iterable[Any]:
    """Other requests with the request_id of this one: each differs from it in one thing."""
    if isinstance(request, PlaceOrderRequest):
        yield _with(request, customer_id=next(name for name in customers if name != request.customer_id))
    if isinstance(request, UpdateOrderRequest | CancelOrderRequest):
        yield _with(request, order_id=new_id())
        yield _with(request, expected_version=request.expected_version + 1)
    if isinstance(request, UpdateOrderRequest):
        yield _with(request, state=_SHIPPED if request.state == _PAID else _PAID)
    if isinstance(request, AdjustStockRequest):
        yield _with(request, delta=-request.delta)
        yield _with(request, product_id=next(name for name in products if name != request.product_id))
    if isinstance(request, CreateProductRequest):
        yield from _other_products(request)
    if items_of(request) is not None:
        yield from _other_items(request, products)


def _other_products(request: CreateProductRequest) -> Iterable[CreateProductRequest]:
    product = request.product
    dearer = Money(currency_code="EUR", units=product.unit_price.units + 1, nanos=product.unit_price.nanos)
    for field, value in {
        "name": f"{product.name}!",
        "description": f"{product.description}!",
        "available": product.available + 1,
        "id": f"{product.id}-b",
    }.items():
        other = copy(request)
        setattr(other.product, field, value)
        yield other
    other = copy(request)
    other.product.unit_price.CopyFrom(dearer)
    yield other


def _other_items(request: Any, products: Sequence[str]) -> Iterable[Any]:
    count = len(items_of(request))
    for index in range(count):
        more = copy(request)
        items_of(more)[index].quantity += 1
        yield more
    if count > 1:
        fewer = copy(request)
        del items_of(fewer)[-1]
        yield fewer
    for product_id in sorted(set(products) - units(request).keys())[:1]:
        instead = copy(request)
        items_of(instead)[0].product_id = product_id
        yield normal(instead)


def _with(request: Any, **fields: Any) -> Any:
    other = copy(request)
    for name, value in fields.items():
        setattr(other, name, value)
    return other

"""The judge of a Product Service: compares each answer with the model, whole and in order.

What only the service can choose is learned from its first answer and held against later ones: order ids and times.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from ordersys.api.order.v1.order_events_pb2 import OrderRejected
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import (
    AdjustStockRequest,
    BatchPlaceOrdersRequest,
    CancelOrderRequest,
    CreateProductRequest,
    PlaceOrderRequest,
)
from tests.contract.harness.client import Answer, of_each
from tests.contract.harness.model import CANCELLED, Model, Verdict
from tests.contract.harness.normal_form import copy, items_of, normal
from tests.contract.harness.refusals import RETRYABLE, Refusal, refusal_in, reused, taken_product
from tests.contract.harness.rejections import Rejected
from tests.contract.harness.system_under_test import SystemUnderTest
from tests.contract.harness.traces import new_trace, trace_id

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Known(NamedTuple):
    """A request in normal form, and the answer that a repeat of it gets."""

    request: Any
    answer: Answer


class StockJudge:
    """Asks a Product Service and compares its answers; knows what was asked of it, and what has to be there."""

    def __init__(self, system: SystemUnderTest) -> None:
        self.system = system
        self.model = Model()
        self.asked: list[Any] = []
        """Every request for a change, in normal form."""
        self.known: dict[str, Known] = {}
        """By request_id: the requests that have an outcome."""
        self.versions: dict[str, list[Order]] = {}
        """The versions of each order, as they were answered."""
        self.rejected: list[Rejected] = []
        """The placements refused for want of stock."""
        self.products: dict[str, Product] = {}
        """As they were seen last."""
        self._latest = 0
        self._moved: dict[str, int] = {}
        self._touched: set[str] = set()

    def ask(self, request: Any) -> None:
        """One request."""
        trace = new_trace()
        (answer,) = self.answers(request, [request], trace)
        self.judge(request, answer, trace)

    def ask_many(self, requests: list[PlaceOrderRequest]) -> None:
        """Placements in one call: each as if it had been asked alone, one after the other."""
        trace = new_trace()
        answers = self.answers(BatchPlaceOrdersRequest(requests=requests), requests, trace)
        for request, answer in zip(requests, answers, strict=True):
            self.judge(request, answer, trace)

    def answers(self, call: Any, requests: Sequence[Any], trace: str) -> list[Answer]:
        """The answer to each request of a call, as soon as it is more than that it may be repeated."""
        answers = self.answered_at_once(call, requests, trace)
        return [self.settled(request, trace, answer) for request, answer in zip(requests, answers, strict=True)]

    def answered_at_once(self, call: Any, requests: Sequence[Any], trace: str) -> list[Answer]:
        """The answer to each request of a call, be it that the outcome is open."""
        answer = self.system.client.call(call, metadata=(("traceparent", trace),))
        return of_each(answer, len(requests)) if isinstance(call, BatchPlaceOrdersRequest) else [answer]

    def settled(self, request: Any, trace: str, answer: Answer) -> Answer:
        """An answer, or that of a repeat where one is asked for: until there is an outcome."""
        if answer.reason not in RETRYABLE:
            return answer

        def again() -> Answer | None:
            repeated = self.system.client.call(request, metadata=(("traceparent", trace),))
            return repeated if repeated.reason not in RETRYABLE else None

        return self.system.eventually(again)

    def judge(self, request: Any, answer: Answer, trace: str) -> None:
        """The answer has to be the one the model foresees; what it changes is changed in the model."""
        asked = normal(request)
        known = self.known.get(asked.request_id)
        if known is not None:
            self.compare_repeat(known, asked, answer)
            return
        self.asked.append(asked)
        verdict = self.verdict(asked)
        if answer.response is None:
            refusal = refusal_in(answer)
            assert refusal in verdict.refusals, f"expected {_one_of(verdict.refusals)}, answered {answer}"
            self.refused(asked, refusal, trace)
        else:
            assert verdict.succeeds, f"answered OK, expected {_one_of(verdict.refusals)}"
            self.succeeded(asked, answer.response)
        if answer.response is not None or answer.reason == "OUT_OF_STOCK":
            self.known[asked.request_id] = Known(asked, answer)

    def compare_repeat(self, known: Known, asked: Any, answer: Answer) -> None:
        """An equal request gets the first answer, any other one is refused."""
        if type(asked) is not type(known.request) or asked != known.request:
            assert answer.response is None, f"the id of another request is taken: {known.request}"
            assert refusal_in(answer) == reused(asked.request_id)
            return
        first = known.answer
        assert (answer.code, answer.response) == (first.code, first.response)
        assert list(answer.status.details) == list(first.status.details)

    def verdict(self, request: Any) -> Verdict:
        """The refusals the model allows for a new request."""
        if isinstance(request, CreateProductRequest):
            is_there = request.product.id in self.products
            return Verdict(frozenset([taken_product(request.product.id)] if is_there else []))
        if isinstance(request, AdjustStockRequest):
            return self.model.may_adjust(request.product_id, request.delta)
        return order_verdict(self.model, request)

    def refused(self, request: Any, refusal: Refusal, trace: str) -> None:
        """A refusal leaves nothing behind, but an event where stock was wanting for an order."""
        self._touch(request)
        if isinstance(request, PlaceOrderRequest) and refusal.reason == "OUT_OF_STOCK":
            shortages = self.model.shortages(units(request))
            event = OrderRejected(customer_id=request.customer_id, shortages=shortages)
            self.rejected.append(Rejected(event, trace_id(trace)))

    def succeeded(self, request: Any, response: Any) -> None:
        """Makes the change in the model, and compares the answer with it."""
        self._touch(request)
        before = {product_id: self.model_stock(product_id) for product_id in self.products}
        if isinstance(request, CreateProductRequest):
            self.products[request.product.id] = request.product
            self.model.create_product(request.product.id, request.product.available, request.product.unit_price)
        elif isinstance(request, AdjustStockRequest):
            self.model.adjust(request.product_id, request.delta)
        elif isinstance(request, PlaceOrderRequest):
            self.model.place(response.order.id, units(request), request.customer_id)
        elif items_of(request) is not None:
            self.model.change(request.order_id, units(request))
        else:
            self.model.advance(request.order_id, state_of(request))
        moved = [product_id for product_id, stock in before.items() if stock != self.model_stock(product_id)]
        self._moved.update(dict.fromkeys(moved, self._latest))
        self.compare_response(request, response)

    def _touch(self, request: Any) -> None:
        """Notes the products whose stock a request may have moved, be it there and back."""
        order = self.model.orders.get(getattr(request, "order_id", ""))
        self._touched.update(units(request), order.items if order else ())

    def compare_response(self, request: Any, response: Any) -> None:
        """As the model has it."""
        if isinstance(request, CreateProductRequest | AdjustStockRequest):
            self.compare_product(response.product)
        elif isinstance(request, PlaceOrderRequest):
            assert _UUID.fullmatch(response.order.id)
            assert response.order.id not in self.versions, "an order id for the second time"
            self.compare_order(request, response.order)
        else:
            self.compare_order(request, response.order)

    def compare_order(self, request: Any, order: Order) -> None:
        """An order as it is answered when it has come to a new version, or would have."""
        versions = self.versions.setdefault(order.id, [])
        expected = self.model.order(order.id)
        expected.create_time.CopyFrom(versions[0].create_time if versions else order.create_time)
        expected.update_time.CopyFrom(order.update_time if versions else order.create_time)
        assert order == expected
        if versions and versions[-1].version == order.version:
            assert order == versions[-1], "no change, and yet another order"
        else:
            assert not versions or _micros(order.update_time) >= _micros(versions[-1].update_time)
            versions.append(order)

    def look_around(self) -> None:
        """After every step, what is available and held of each product, and all else that is said of it."""
        for product_id in self.products:
            self.compare_product(self.product(product_id))

    def product(self, product_id: str) -> Product:
        """A product, as soon as its stock is as the model has it; else as it is when the patience is over."""
        product = Product()

        def as_expected() -> bool:
            product.CopyFrom(self.system.product(product_id))
            return (product.available, product.held) == self.model_stock(product_id)

        with suppress(AssertionError):
            self.system.eventually(as_expected)
        return product

    def compare_product(self, product: Product) -> None:
        """As the model has it; its update_time follows its stock, and nothing else."""
        seen = self.products[product.id]
        expected = copy(seen)
        expected.available, expected.held = self.model_stock(product.id)
        expected.create_time.CopyFrom(seen.create_time if seen.HasField("create_time") else product.create_time)
        expected.update_time.CopyFrom(product.update_time)
        assert product == expected
        time, before = _micros(product.update_time), _micros(seen.update_time)
        if product.id in self._moved:
            assert time >= self._moved.pop(product.id), "its stock changed after that, by the service's own clock"
        elif not seen.HasField("update_time"):
            assert time >= _micros(product.create_time) >= self._latest
        else:
            assert time >= before if product.id in self._touched else time == before
        self._touched.discard(product.id)
        self.products[product.id] = product
        self._latest = max(self._latest, time)

    def model_stock(self, product_id: str) -> tuple[int, int]:
        """(available, held) of a product."""
        return self.model.available[product_id], self.model.held[product_id]


def order_verdict(model: Model, request: Any) -> Verdict:
    """The refusals a model allows for a new request about an order, in normal form."""
    if isinstance(request, PlaceOrderRequest):
        return model.may_place(units(request))
    expected = request.expected_version if request.HasField("expected_version") else None
    if items_of(request) is not None:
        return model.may_change(request.order_id, units(request), expected)
    return model.may_advance(request.order_id, state_of(request), expected)


def is_change(model: Model, request: Any) -> bool:
    """False for the items an order has already: they make no version of it."""
    if isinstance(request, PlaceOrderRequest) or items_of(request) is None or request.order_id not in model.orders:
        return True
    return model.orders[request.order_id].items != units(request)


def units(request: Any) -> dict[str, int]:
    """The units a request wants, by product; empty where it wants none."""
    return {item.product_id: item.quantity for item in items_of(request) or ()}


def state_of(request: Any) -> "OrderState.ValueType":
    return CANCELLED if isinstance(request, CancelOrderRequest) else request.state


def _micros(time: Timestamp) -> int:
    return int(time.ToMicroseconds())


def _one_of(refusals: Iterable[Refusal]) -> str:
    return " or ".join(sorted(map(str, refusals))) or "no refusal"

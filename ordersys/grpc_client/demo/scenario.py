"""The demo's story: what is asked of the system, and what it answered, kept as facts."""

import secrets
from collections import Counter
from collections.abc import Sequence
from itertools import cycle, islice

from ordersys.api.notification.v1.notification_log_pb2 import Notification
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import (
    AdjustStockRequest,
    CancelOrderRequest,
    GetProductRequest,
    ItemQuantities,
    ItemQuantity,
    PlaceOrderRequest,
    UpdateOrderRequest,
)
from ordersys.grpc_client import listing
from ordersys.grpc_client.batch import Batch
from ordersys.grpc_client.connection import Client, Failed, new_request_id
from ordersys.grpc_client.demo.reconciliation import Facts, Stock, complete, customer
from ordersys.grpc_client.errors import error_info
from ordersys.grpc_client.listing import LogReader
from ordersys.grpc_client.order_input import OrderInput

_NAME = 50  # letters of a customer's name that are kept: with the suffix it has 64 at most


class NotRejected(Exception):
    """The system took what it should have refused."""


class Story:
    """Asks, and remembers what was answered. Its customers are its own: nobody else's orders are taken for them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._logs = [LogReader(client, 1), LogReader(client, 2)]
        self._newest = ""
        self.facts = Facts(suffix=f"-{secrets.token_hex(4)}")

    async def begin(self) -> list[Product]:
        """Takes note of everything there is; the products."""
        products = [product async for product in listing.products(self._client)]
        self.facts.stock_before = _stock(products)
        async for order in listing.orders(self._client, ListOrdersRequest(page_size=1)):
            self._newest = order.id
            break
        for log in self._logs:
            async for _ in log.read():
                pass
        return products

    def placing(self, name: str, items: Sequence[ItemQuantity]) -> PlaceOrderRequest:
        """A request for a new order of a customer of this run."""
        customer_id = f"{name[:_NAME]}{self.facts.suffix}"
        return PlaceOrderRequest(request_id=new_request_id(), customer_id=customer_id, items=items)

    async def place(self, request: PlaceOrderRequest) -> Order:
        """Places an order."""
        response = await self._client.product(self._client.products.PlaceOrder, request)
        return self._answered(response.order)

    async def ask_too_much(self, product: Product) -> Failed:
        """Asks for one more than there is of `product`; the refusal. Raises NotRejected."""
        asked = product.available + 1
        if refusal := await self._try(self.placing("demo-greedy", [item(product.id, asked)])):
            return refusal
        raise NotRejected(
            f"{asked} of {product.id} were sold, of which there were {product.available};"
            " is somebody else working with the system?"
        )

    async def product(self, product_id: str) -> Product:
        """A product as it is now."""
        request = GetProductRequest(product_id=product_id)
        return (await self._client.product(self._client.products.GetProduct, request)).product

    async def change_items(self, order: Order, items: Sequence[ItemQuantity]) -> Order:
        """Gives an order other items."""
        request = UpdateOrderRequest(request_id=new_request_id(), order_id=order.id, items=ItemQuantities(items=items))
        return self._answered((await self._client.product(self._client.products.UpdateOrder, request)).order)

    async def pay(self, order: Order) -> Order:
        """Moves an order on to PAID."""
        request = UpdateOrderRequest(request_id=new_request_id(), order_id=order.id, state=OrderState.ORDER_STATE_PAID)
        return self._answered((await self._client.product(self._client.products.UpdateOrder, request)).order)

    async def cancel(self, order: Order) -> Order:
        """Cancels an order."""
        request = CancelOrderRequest(request_id=new_request_id(), order_id=order.id)
        return self._answered((await self._client.product(self._client.products.CancelOrder, request)).order)

    async def restock_for(self, orders: Sequence[OrderInput]) -> int:
        """Sees to it that there is enough for all `orders`; units added."""
        wanted: Counter[str] = Counter()
        for order in orders:
            wanted.update({item.product_id: item.quantity for item in order.items})
        now = _stock([product async for product in listing.products(self._client)])
        missing = {p: units - now[p].available for p, units in wanted.items() if units > now[p].available}
        for product_id, units in missing.items():
            request = AdjustStockRequest(request_id=new_request_id(), product_id=product_id, delta=units)
            await self._client.product(self._client.products.AdjustStock, request)
            self.facts.adjusted[product_id] += units
        return sum(missing.values())

    async def burst(self, wanted: Sequence[OrderInput]) -> None:
        """Places an order for each wish, many in a call. Raises Failed, the first that is no want of stock."""
        requests = [self.placing(order.customer_id, order.items) for order in wanted]
        batch = Batch(self._client, requests, lambda number, outcome: None)
        await batch.place()
        for outcome in batch.outcomes:
            if isinstance(outcome, Order):
                self._answered(outcome)
            elif isinstance(outcome, Failed):
                self._refused(outcome)
                self.facts.short += 1

    async def listen(self) -> bool:
        """Reads what was recorded since the last call; whether there is nothing more to wait for."""
        for log, heard in zip(self._logs, self.facts.heard, strict=True):
            async for notification in log.read():
                if self._is_own(notification):
                    heard.append(notification)
                else:
                    self.facts.foreign += 1
        return complete(self.facts)

    def expect(self, kept: bool, otherwise: str) -> None:
        """Remembers a promise that was not kept."""
        if not kept:
            self.facts.broken.append(otherwise)

    async def end(self) -> None:
        """Takes note of everything there is now."""
        self.facts.stock_after = _stock([product async for product in listing.products(self._client)])
        orders: list[Order] = []
        async for order in listing.orders(self._client, ListOrdersRequest()):
            if order.id == self._newest:
                break
            if self.facts.owns(order.customer_id):
                orders.append(order)
            else:
                self.facts.foreign += 1
        self.facts.orders = orders

    def _is_own(self, notification: Notification) -> bool:
        """A record about an order of this run is of this run, whoever's customer it names."""
        answered = (notification.order_id, 1) in self.facts.answered
        return answered or self.facts.owns(customer(notification))

    async def _try(self, request: PlaceOrderRequest) -> Failed | None:
        """Places an order; the refusal where there is not enough stock."""
        try:
            await self.place(request)
        except Failed as failed:
            self._refused(failed)
            return failed
        return None

    def _refused(self, failed: Failed) -> None:
        """Counts a refusal for want of stock; raises what failed otherwise."""
        if error_info(failed.status).reason != "OUT_OF_STOCK":
            raise failed
        self.facts.refused += 1

    def _answered(self, order: Order) -> Order:
        self.facts.answered[order.id, order.version] = order
        return order


def item(product_id: str, quantity: int) -> ItemQuantity:
    """Some units of a product."""
    return ItemQuantity(product_id=product_id, quantity=quantity)


def repeated(wanted: Sequence[OrderInput], count: int) -> list[OrderInput]:
    """`count` wanted, the given ones over and over."""
    return list(islice(cycle(wanted), count))


def _stock(products: Sequence[Product]) -> dict[str, Stock]:
    return {product.id: Stock(product.available, product.held) for product in products}

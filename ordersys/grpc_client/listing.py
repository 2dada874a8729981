"""Whole lists from pages."""

from collections.abc import AsyncIterator

from ordersys.api.notification.v1.dead_letter_service_pb2 import DeadLetter, ListDeadLettersRequest
from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest, Notification
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest, ListOrdersResponse
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import ListProductsRequest
from ordersys.grpc_client.connection import Client

_PAGE = 500
"""As many as the contract gives at a time."""


async def products(client: Client) -> AsyncIterator[Product]:
    """All products, by id."""
    request = ListProductsRequest(page_size=_PAGE)
    while True:
        page = await client.product(client.products.ListProducts, request)
        for product in page.products:
            yield product
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def orders(client: Client, request: ListOrdersRequest) -> AsyncIterator[Order]:
    """The orders `request` asks for, the newest first."""
    async for page in order_pages(client, request):
        for order in page.orders:
            yield order


async def order_pages(
    client: Client, request: ListOrdersRequest, limit: int | None = None
) -> AsyncIterator[ListOrdersResponse]:
    """The pages of a list, with `limit` orders at most; the token of the last says whether there are more, and where.

    Pages have as many orders as `request` asks for, else 500.
    """
    size, left = request.page_size or _PAGE, limit
    while left is None or left > 0:
        request.page_size = size if left is None else min(size, left)
        page = await client.order(client.orders.ListOrders, request)
        yield page
        left = None if left is None else left - len(page.orders)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def dead_letters(client: Client, number: int) -> AsyncIterator[DeadLetter]:
    """The dead letters of Notification Service 1 or 2."""
    request = ListDeadLettersRequest(page_size=_PAGE)
    while True:
        page = await client.notification(number, client.letters[number].ListDeadLetters, request)
        for letter in page.dead_letters:
            yield letter
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


class LogReader:
    """The log of one notification service, read on from where it was read to."""

    def __init__(self, client: Client, number: int, order_id: str = "") -> None:
        self._client = client
        self._number = number
        self._request = ListNotificationsRequest(order_id=order_id, page_size=_PAGE)
        self._seen = 0

    async def read(self) -> AsyncIterator[Notification]:
        """The records since the last call."""
        while True:
            page = await self._client.notification(
                self._number, self._client.logs[self._number].ListNotifications, self._request
            )
            new = page.notifications[self._seen :]
            self._seen = len(page.notifications)
            for notification in new:
                yield notification
            if not page.next_page_token:
                return
            self._request.page_token = page.next_page_token
            self._seen = 0

"""Whole lists from pages."""

from collections.abc import AsyncIterator

from ordersys.api.notification.v1.dead_letter_service_pb2 import DeadLetter, ListDeadLettersRequest
from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest, Notification
from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.order.v1.order_service_pb2 import ListOrdersRequest
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import ListProductsRequest
from ordersys.grpc_client.connection import Client

_PAGE = 500
MOST_LISTED = 100
"""How many a command lists, unless somebody asks for more."""


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
    request.page_size = request.page_size or _PAGE
    while True:
        page = await client.order(client.orders.ListOrders, request)
        for order in page.orders:
            yield order
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def dead_letters(client: Client, number: int) -> AsyncIterator[DeadLetter]:
    """What Notification Service 1 or 2 could not take."""
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
        """What was recorded since the last call."""
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

"""The commands: each one call or one list, shown as a table or as JSON."""

import argparse
import shlex
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest, Notification
from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import GetOrderRequest, ListOrdersRequest
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import (
    AdjustStockRequest,
    CancelOrderRequest,
    GetProductRequest,
    ItemQuantities,
    PlaceOrderRequest,
    UpdateOrderRequest,
)
from ordersys.console import output
from ordersys.console.parser import UsageError
from ordersys.grpc_client import as_json, errors, listing, order_input, outcome, printing, tables
from ordersys.grpc_client.connection import Client, Failed, each, new_request_id
from ordersys.grpc_client.dead_letters import dead_letters
from ordersys.grpc_client.demo.run import demo
from ordersys.grpc_client.events import events
from ordersys.grpc_client.parser import JSON, JSONL, LISTED, TABLE, WALK_IN
from ordersys.grpc_client.place_file import place_file
from ordersys.grpc_client.rules import check
from ordersys.grpc_client.status import status

Command = Callable[[Client, argparse.Namespace], Awaitable[int]]


async def products(client: Client, arguments: argparse.Namespace) -> int:
    """All products, unless --limit says fewer."""
    listed = [product async for product in listing.products(client)]
    shown = listed[: arguments.limit]
    printing.resources(arguments, shown, lambda: tables.show_products(shown))
    if len(shown) < len(listed):
        printing.more(arguments, f"{len(listed) - len(shown)} products")
    return outcome.DONE


async def product(client: Client, arguments: argparse.Namespace) -> int:
    """One product."""
    request = GetProductRequest(product_id=arguments.id)
    check(request, {"product_id": f"PRODUCT {arguments.id!r}"})
    answer = (await client.product(client.products.GetProduct, request)).product
    printing.resource(arguments, answer, lambda: _describe(answer))
    return outcome.DONE


async def restock(client: Client, arguments: argparse.Namespace) -> int:
    """Adds to the stock of a product, or takes from it."""
    request = AdjustStockRequest(
        request_id=arguments.request_id or new_request_id(), product_id=arguments.id, delta=arguments.quantity
    )
    check(request, {"product_id": f"PRODUCT {arguments.id!r}", "delta": "QUANTITY"})
    adjusted = (await client.product(client.products.AdjustStock, request)).product
    printing.resource(arguments, adjusted, lambda: tables.show_products([adjusted]))
    return outcome.DONE


async def place(client: Client, arguments: argparse.Namespace) -> int:
    """Places one order, or each of a file."""
    if arguments.file is not None:
        return await place_file(client, arguments)
    if arguments.batch is not None:
        raise UsageError("--batch names the orders of a file; name the file with --file")
    if not arguments.items:
        raise UsageError("nothing to place: name items as PRODUCT=QUANTITY, or a file with --file")
    customer = client.customer or WALK_IN if arguments.customer is None else arguments.customer
    request = PlaceOrderRequest(
        request_id=arguments.request_id or new_request_id(),
        customer_id=customer,
        items=order_input.items(arguments.items),
    )
    check(request, {"customer_id": f"--customer {customer!r}", **_items(arguments, "items")})
    order = (await client.product(client.products.PlaceOrder, request)).order
    printing.resource(arguments, order, lambda: tables.show_order(order))
    return outcome.DONE


async def update(client: Client, arguments: argparse.Namespace) -> int:
    """Changes the items of an order, or moves it to another state."""
    if bool(arguments.items) == bool(arguments.state):
        raise UsageError("name either the new items as PRODUCT=QUANTITY, or a state with --state")
    request = UpdateOrderRequest(
        request_id=arguments.request_id or new_request_id(),
        order_id=arguments.id,
        expected_version=arguments.expected_version,
    )
    if arguments.state:
        request.state = OrderState.Value(f"ORDER_STATE_{arguments.state.upper()}")
    else:
        request.items.CopyFrom(ItemQuantities(items=order_input.items(arguments.items)))
    check(request, {"order_id": f"ORDER {arguments.id!r}", **_items(arguments, "items.items")})
    order = (await client.product(client.products.UpdateOrder, request)).order
    printing.resource(arguments, order, lambda: tables.show_order(order))
    return outcome.DONE


async def cancel(client: Client, arguments: argparse.Namespace) -> int:
    """Cancels an order."""
    request = CancelOrderRequest(
        request_id=arguments.request_id or new_request_id(),
        order_id=arguments.id,
        expected_version=arguments.expected_version,
    )
    check(request, {"order_id": f"ORDER {arguments.id!r}"})
    order = (await client.product(client.products.CancelOrder, request)).order
    printing.resource(arguments, order, lambda: tables.show_order(order))
    return outcome.DONE


async def orders(client: Client, arguments: argparse.Namespace) -> int:
    """Orders, the newest first; those there are beyond --limit are told of, with where to go on."""
    request = ListOrdersRequest(customer_id=arguments.customer or "", page_token=arguments.page or "")
    if arguments.state:
        request.state = OrderState.Value(f"ORDER_STATE_{arguments.state.upper()}")
    check(request, {"customer_id": f"--customer {arguments.customer!r}", "page_token": "--page"})
    listed: list[Order] = []
    token = ""
    async for page in listing.order_pages(client, request, arguments.limit or LISTED):
        token = page.next_page_token
        if printing.is_streamed(arguments):
            printing.lines(arguments, page.orders)
        else:
            listed += page.orders
    if not printing.is_streamed(arguments):
        printing.resources(arguments, listed, lambda: tables.show_orders(listed))
    if token:
        printing.more(arguments, f"older orders; the next page begins with --page {shlex.quote(token)}")
    return outcome.DONE


async def order(client: Client, arguments: argparse.Namespace) -> int:
    """One order."""
    request = GetOrderRequest(order_id=arguments.id)
    check(request, {"order_id": f"ORDER {arguments.id!r}"})
    answer = (await client.order(client.orders.GetOrder, request)).order
    printing.resource(arguments, answer, lambda: tables.show_order(answer))
    return outcome.DONE


async def notifications(client: Client, arguments: argparse.Namespace) -> int:
    """The last notifications of each service. One that fails does not hinder the other."""
    numbers = [arguments.service] if arguments.service else [1, 2]
    order_id = arguments.order or ""
    check(ListNotificationsRequest(order_id=order_id), {"order_id": f"--order {arguments.order!r}"})

    async def read(number: int) -> _Tail:
        tail = _Tail(deque(maxlen=arguments.limit or LISTED))
        async for notification in listing.LogReader(client, number, order_id).read():
            tail.last.append(notification)
            tail.count += 1
        return tail

    tails = await each(numbers, read)
    _show_tails(arguments, tails)
    return max(errors.exit_status(tail) if isinstance(tail, Failed) else outcome.DONE for tail in tails.values())


@dataclass
class _Tail:
    """The last records of a log, and how many there are in all."""

    last: deque[Notification]
    count: int = 0


def _show_tails(arguments: argparse.Namespace, tails: Mapping[int, _Tail | Failed]) -> None:
    if arguments.output == JSON:
        output.document({f"notification_service_{number}": _document(tail) for number, tail in tails.items()})
    for number, tail in tails.items():
        name = f"Notification Service {number}"
        if isinstance(tail, Failed):
            _tell(arguments, tail)
            continue
        if arguments.output == TABLE:
            tables.show_notifications(name, tail.last)
        elif arguments.output != JSON:
            printing.lines(arguments, tail.last, number)
        if tail.count > len(tail.last):
            printing.more(arguments, f"{tail.count - len(tail.last)} earlier ones at {name}")


def _tell(arguments: argparse.Namespace, failed: Failed) -> None:
    """The failure of one service, where the other's answer is shown, too."""
    if arguments.output == JSONL:
        output.document(errors.to_dict(failed))
    elif arguments.output != JSON:
        output.error(errors.sentence(failed))


def _document(tail: _Tail | Failed) -> object:
    return errors.to_dict(tail) if isinstance(tail, Failed) else [as_json.to_dict(record) for record in tail.last]


def _items(arguments: argparse.Namespace, field: str) -> dict[str, str]:
    """The fields of a request's items, each with what was typed for it."""
    names = {field: "PRODUCT=QUANTITY"}
    for index, word in enumerate(arguments.items):
        for key in ("product_id", "quantity"):
            names[f"{field}[{index}].{key}"] = f"{word!r}: {key}"
    return names


def _describe(product: Product) -> None:
    tables.show_products([product])
    output.line(product.description)


COMMANDS: Mapping[str, Command] = {
    "products": products,
    "product": product,
    "restock": restock,
    "place": place,
    "update": update,
    "cancel": cancel,
    "orders": orders,
    "order": order,
    "notifications": notifications,
    "dead-letters": dead_letters,
    "demo": demo,
    "events": events,
    "status": status,
}

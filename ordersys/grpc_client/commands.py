"""The commands: each one call or one list, shown as a table or as JSON."""

import argparse
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from ordersys.api.order.v1.order_pb2 import Order, OrderState
from ordersys.api.order.v1.order_service_pb2 import GetOrderRequest
from ordersys.api.product.v1.product_service_pb2 import (
    AdjustStockRequest,
    CancelOrderRequest,
    GetProductRequest,
    ItemQuantities,
    PlaceOrderRequest,
    UpdateOrderRequest,
)
from ordersys.grpc_client import failures, listing, tables, wishes
from ordersys.grpc_client.connection import Client, Failed
from ordersys.grpc_client.dead_letters import dead_letters
from ordersys.grpc_client.identifiers import new_request_id
from ordersys.grpc_client.wishes import WrongUse

Command = Callable[[Client, argparse.Namespace], Awaitable[int]]


async def products(client: Client, arguments: argparse.Namespace) -> int:
    """All products."""
    found = [product async for product in listing.products(client)]
    return _shown(arguments, found, lambda: tables.show_products(found))


async def product(client: Client, arguments: argparse.Namespace) -> int:
    """One product."""
    found = (await client.product(client.products.GetProduct, GetProductRequest(product_id=arguments.id))).product
    return _shown(arguments, found, lambda: _describe(found))


async def restock(client: Client, arguments: argparse.Namespace) -> int:
    """Adds to the stock of a product, or takes from it."""
    request = AdjustStockRequest(
        request_id=arguments.request_id or new_request_id(), product_id=arguments.id, delta=arguments.quantity
    )
    adjusted = (await client.product(client.products.AdjustStock, request)).product
    return _shown(arguments, adjusted, lambda: tables.show_products([adjusted]))


async def place(client: Client, arguments: argparse.Namespace) -> int:
    """Places one order, or each of a file."""
    if arguments.file is not None:
        return await _place_all(client, arguments)
    if not arguments.items:
        raise WrongUse("nothing to place: name items as PRODUCT=QUANTITY, or a file with --file")
    request = PlaceOrderRequest(
        request_id=arguments.request_id or new_request_id(),
        customer_id=arguments.customer,
        items=wishes.items(arguments.items),
    )
    order = (await client.product(client.products.PlaceOrder, request)).order
    return _shown(arguments, order, lambda: tables.show_order(order))


async def update(client: Client, arguments: argparse.Namespace) -> int:
    """Changes the items of an order, or moves it to another state."""
    if bool(arguments.items) == bool(arguments.state):
        raise WrongUse("name either the new items as PRODUCT=QUANTITY, or a state with --state")
    request = UpdateOrderRequest(
        request_id=arguments.request_id or new_request_id(),
        order_id=arguments.id,
        expected_version=arguments.expected_version,
    )
    if arguments.state:
        request.state = OrderState.Value(f"ORDER_STATE_{arguments.state.upper()}")
    else:
        request.items.CopyFrom(ItemQuantities(items=wishes.items(arguments.items)))
    order = (await client.product(client.products.UpdateOrder, request)).order
    return _shown(arguments, order, lambda: tables.show_order(order))


async def cancel(client: Client, arguments: argparse.Namespace) -> int:
    """Cancels an order."""
    request = CancelOrderRequest(
        request_id=arguments.request_id or new_request_id(),
        order_id=arguments.id,
        expected_version=arguments.expected_version,
    )
    order = (await client.product(client.products.CancelOrder, request)).order
    return _shown(arguments, order, lambda: tables.show_order(order))


async def orders(client: Client, arguments: argparse.Namespace) -> int:
    """Orders, the newest first."""
    state = (
        OrderState.Value(f"ORDER_STATE_{arguments.state.upper()}")
        if arguments.state
        else OrderState.Value("ORDER_STATE_UNSPECIFIED")
    )
    found: list[Order] = []
    async for one in listing.orders(client, arguments.customer or "", state):
        if len(found) == arguments.limit:
            break
        found.append(one)
    return _shown(arguments, found, lambda: tables.show_orders(found))


async def order(client: Client, arguments: argparse.Namespace) -> int:
    """One order."""
    found = (await client.order(client.orders.GetOrder, GetOrderRequest(order_id=arguments.id))).order
    return _shown(arguments, found, lambda: tables.show_order(found))


async def notifications(client: Client, arguments: argparse.Namespace) -> int:
    """What the notification services have recorded."""
    numbers = [arguments.service] if arguments.service else [1, 2]
    found = {n: await listing.LogReader(client, n, arguments.order or "").read() for n in numbers}
    if arguments.json:
        tables.show_json({f"notification_service_{n}": [tables.to_dict(one) for one in found[n]] for n in numbers})
        return failures.DONE
    for number in numbers:
        tables.show_notifications(f"Notification Service {number}", found[number][-arguments.limit :])
    return failures.DONE


async def _place_all(client: Client, arguments: argparse.Namespace) -> int:
    """Every entry is tried; the exit status is that of the last failure."""
    status = failures.DONE
    outcomes: list[Any] = []
    for wish in wishes.from_file(Path(arguments.file)):
        request = PlaceOrderRequest(request_id=new_request_id(), customer_id=wish.customer_id, items=wish.items)
        try:
            outcomes.append((await client.product(client.products.PlaceOrder, request)).order)
        except Failed as failed:
            outcomes.append(failed)
            status = failures.exit_status(failed)
    if arguments.json:
        tables.show_json([failures.as_json(o) if isinstance(o, Failed) else tables.to_dict(o) for o in outcomes])
        return status
    tables.show_orders([outcome for outcome in outcomes if isinstance(outcome, Order)])
    for number, outcome in enumerate(outcomes, 1):
        if isinstance(outcome, Failed):
            tables.say(f"entry {number}: {failures.sentence(outcome)}")
    return status


def _shown(arguments: argparse.Namespace, found: Any, show: Callable[[], None]) -> int:
    if arguments.json:
        several = isinstance(found, list)
        tables.show_json([tables.to_dict(one) for one in found] if several else tables.to_dict(found))
    else:
        show()
    return failures.DONE


def _describe(product: Any) -> None:
    tables.show_products([product])
    tables.say(product.description)


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
}

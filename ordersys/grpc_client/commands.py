"""The commands: each one call or one list, shown as a table or as JSON."""

import argparse
import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message

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
from ordersys.console.interrupts import interrupts
from ordersys.console.parser import UsageError
from ordersys.grpc_client import as_json, errors, identifiers, layout, listing, order_input, tables
from ordersys.grpc_client.arguments import check
from ordersys.grpc_client.batch import Batch, Outcome
from ordersys.grpc_client.connection import Client, Failed, each
from ordersys.grpc_client.dead_letters import dead_letters
from ordersys.grpc_client.identifiers import new_request_id
from ordersys.grpc_client.listing import MOST_LISTED

Command = Callable[[Client, argparse.Namespace], Awaitable[int]]
WALK_IN = "walk-in"
_PAGE = 500


async def products(client: Client, arguments: argparse.Namespace) -> int:
    """All products."""
    found = [product async for product in listing.products(client)]
    return _shown(arguments, found, lambda: tables.show_products(found))


async def product(client: Client, arguments: argparse.Namespace) -> int:
    """One product."""
    request = GetProductRequest(product_id=arguments.id)
    check(request, {"product_id": f"PRODUCT {arguments.id!r}"})
    found = (await client.product(client.products.GetProduct, request)).product
    return _shown(arguments, found, lambda: _describe(found))


async def restock(client: Client, arguments: argparse.Namespace) -> int:
    """Adds to the stock of a product, or takes from it."""
    request = AdjustStockRequest(
        request_id=arguments.request_id or new_request_id(), product_id=arguments.id, delta=arguments.quantity
    )
    check(request, {"product_id": f"PRODUCT {arguments.id!r}", "delta": "QUANTITY"})
    adjusted = (await client.product(client.products.AdjustStock, request)).product
    return _shown(arguments, adjusted, lambda: tables.show_products([adjusted]))


async def place(client: Client, arguments: argparse.Namespace) -> int:
    """Places one order, or each of a file."""
    if arguments.file is not None:
        return await _place_file(client, arguments)
    if arguments.batch is not None:
        raise UsageError("--batch names the orders of a file; name the file with --file")
    if not arguments.items:
        raise UsageError("nothing to place: name items as PRODUCT=QUANTITY, or a file with --file")
    customer = WALK_IN if arguments.customer is None else arguments.customer
    request = PlaceOrderRequest(
        request_id=arguments.request_id or new_request_id(),
        customer_id=customer,
        items=order_input.items(arguments.items),
    )
    check(request, {"customer_id": f"--customer {customer!r}", **_items(arguments, "items")})
    order = (await client.product(client.products.PlaceOrder, request)).order
    return _shown(arguments, order, lambda: tables.show_order(order))


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
    return _shown(arguments, order, lambda: tables.show_order(order))


async def cancel(client: Client, arguments: argparse.Namespace) -> int:
    """Cancels an order."""
    request = CancelOrderRequest(
        request_id=arguments.request_id or new_request_id(),
        order_id=arguments.id,
        expected_version=arguments.expected_version,
    )
    check(request, {"order_id": f"ORDER {arguments.id!r}"})
    order = (await client.product(client.products.CancelOrder, request)).order
    return _shown(arguments, order, lambda: tables.show_order(order))


async def orders(client: Client, arguments: argparse.Namespace) -> int:
    """Orders, the newest first."""
    state = f"ORDER_STATE_{(arguments.state or 'unspecified').upper()}"
    request = ListOrdersRequest(
        customer_id=arguments.customer or "",
        state=OrderState.Value(state),
        page_size=min(arguments.limit or MOST_LISTED, _PAGE),
    )
    check(request, {"customer_id": f"--customer {arguments.customer!r}"})
    found: list[Order] = []
    async for one in listing.orders(client, request):
        found.append(one)
        if len(found) == (arguments.limit or MOST_LISTED):
            break
    return _shown(arguments, found, lambda: tables.show_orders(found))


async def order(client: Client, arguments: argparse.Namespace) -> int:
    """One order."""
    request = GetOrderRequest(order_id=arguments.id)
    check(request, {"order_id": f"ORDER {arguments.id!r}"})
    found = (await client.order(client.orders.GetOrder, request)).order
    return _shown(arguments, found, lambda: tables.show_order(found))


async def notifications(client: Client, arguments: argparse.Namespace) -> int:
    """What the notification services have recorded: the last ones. One that fails does not hinder the other."""
    numbers = [arguments.service] if arguments.service else [1, 2]
    order_id = arguments.order or ""
    check(ListNotificationsRequest(order_id=order_id), {"order_id": f"--order {arguments.order!r}"})

    async def read(number: int) -> Sequence[Notification]:
        last: deque[Notification] = deque(maxlen=arguments.limit or MOST_LISTED)
        async for notification in listing.LogReader(client, number, order_id).read():
            last.append(notification)
        return last

    found = await each(numbers, read)
    if arguments.json:
        as_json.show({f"notification_service_{number}": _listed(one) for number, one in found.items()})
    else:
        for number, one in found.items():
            if isinstance(one, Failed):
                output.error(errors.sentence(one))
            else:
                tables.show_notifications(f"Notification Service {number}", one)
    return max(errors.exit_status(one) if isinstance(one, Failed) else errors.DONE for one in found.values())


async def _place_file(client: Client, arguments: argparse.Namespace) -> int:
    """Every entry is tried. The exit status is the gravest of all: no answer before refused before done."""
    alone = {
        "PRODUCT=QUANTITY": arguments.items,
        "--customer": arguments.customer,
        "--request-id": arguments.request_id,
    }
    if useless := [name for name, given in alone.items() if given not in (None, [])]:
        raise UsageError(
            f"{' and '.join(useless)} can't stand beside --file, whose entries say what is ordered by whom"
        )
    wanted = order_input.from_file(arguments.file)
    ids = identifiers.of_file(wanted, arguments.batch)
    requests = [order_input.request(wish, request_id) for wish, request_id in zip(wanted, ids, strict=True)]
    report = _Report(arguments, requests)
    batch = Batch(client, requests, report.told, again="repeat the same command, which places nothing twice")
    try:
        await batch.place()
    except asyncio.CancelledError:  # by a signal; the process ends with its status once this is said
        report.end(batch, "interrupted: ")
        return interrupts.exit_status
    except BaseExceptionGroup:  # the output can't be written
        report.sum_up(batch, "stopped: ")
        raise
    report.end(batch)
    return report.status


class _Report:
    """Says what becomes of the entries of a file: for people while it happens, for programs at the end."""

    def __init__(self, arguments: argparse.Namespace, requests: Sequence[PlaceOrderRequest]) -> None:
        self.status = errors.DONE
        self._arguments = arguments
        self._requests = requests
        self._widths = (len(str(len(requests))), max([layout.cells(r.customer_id) for r in requests], default=0))

    def told(self, entry: int, outcome: Outcome) -> None:
        """What became of an entry."""
        if isinstance(outcome, Failed):
            self.status = max(self.status, errors.exit_status(outcome))
            if not self._arguments.json:
                output.flush()
                output.error(f"entry {entry}: {errors.sentence(outcome)}")
        elif not self._arguments.json:
            number, customer = self._widths
            name = layout.padded(output.shown(outcome.customer_id), customer)
            output.line(f"{entry:>{number}}  {outcome.id}  {name}  {tables.money(outcome.total)}")

    def end(self, batch: Batch, why: str = "") -> None:
        """What became of all, and how to go on where that is not the end."""
        if self._arguments.json:
            as_json.show([self._entry(batch, index) for index in range(len(batch.outcomes))])
        output.flush()
        self.sum_up(batch, why)

    def sum_up(self, batch: Batch, why: str) -> None:
        """How many there are of each, on standard error."""
        placed = sum(isinstance(one, Order) for one in batch.outcomes)
        refused = sum(isinstance(o, Failed) and errors.exit_status(o) == errors.REFUSED for o in batch.outcomes)
        unasked = len(batch.outcomes) - batch.asked
        open_ = batch.asked - placed - refused
        if open_ or unasked:
            self.status = max(self.status, errors.NOT_REACHABLE)
        said = [f"{placed} of {len(batch.outcomes)} orders are placed"]
        others = ((refused, "refused"), (open_, "open"), (unasked, "not asked for"))
        said += [f"{count} {what}" for count, what in others if count]
        again = "; repeat the same command to go on: what is placed is not placed again" if open_ or unasked else ""
        output.error(f"{why}{self._arguments.file}: {', '.join(said)}{again}")

    def _entry(self, batch: Batch, index: int) -> Any:
        outcome = batch.outcomes[index]
        if isinstance(outcome, Order):
            return as_json.to_dict(outcome)
        if isinstance(outcome, Failed):
            return errors.to_dict(outcome)
        if index < batch.asked:
            text = "The outcome is open: repeat the same command to learn it; it places nothing twice."
            return errors.error("CANCELLED", "OUTCOME_OPEN", text)
        return errors.error("CANCELLED", "NOT_ASKED", "Not asked for: repeat the same command to go on.")


def _items(arguments: argparse.Namespace, field: str) -> dict[str, str]:
    """How the items of a request were typed."""
    found = {field: "PRODUCT=QUANTITY"}
    for index, word in enumerate(arguments.items):
        for key in ("product_id", "quantity"):
            found[f"{field}[{index}].{key}"] = f"{word!r}: {key}"
    return found


def _listed(found: Sequence[Message] | Failed) -> Any:
    return errors.to_dict(found) if isinstance(found, Failed) else [as_json.to_dict(one) for one in found]


def _shown(arguments: argparse.Namespace, found: Message | Sequence[Message], show: Callable[[], None]) -> int:
    if arguments.json:
        as_json.show(as_json.to_dict(found) if isinstance(found, Message) else _listed(found))
    else:
        show()
    return errors.DONE


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
}

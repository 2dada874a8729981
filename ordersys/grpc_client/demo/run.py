"""The demo: walks through the story, shows the events arriving, and reconciles; 0 only when all comes out even."""

import argparse
import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import NamedTuple

from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import ItemQuantity
from ordersys.console import output
from ordersys.console.parser import UsageError
from ordersys.grpc_client import errors, outcome, rules, tables
from ordersys.grpc_client.connection import Client
from ordersys.grpc_client.demo.reconciliation import Findings, likely_causes, reconcile
from ordersys.grpc_client.demo.scenario import Story, item, repeated
from ordersys.grpc_client.order_input import STATIC_ORDERS, OrderInput, from_file
from ordersys.grpc_client.parser import JSON

_POLL_SECONDS = 0.2
_MOST_UNITS = rules.most(ItemQuantity.DESCRIPTOR.fields_by_name["quantity"])
_STOCKED = 10


class Narrator:
    """Tells what happens: on standard output for people, beside it when that is for a program."""

    def __init__(self, for_program: bool) -> None:
        self._line: Callable[[str], object] = output.error if for_program else output.line
        self._raw: Callable[[str], object] = output.errors if for_program else output.write
        self._moves = output.moves(sys.stderr if for_program else sys.stdout)
        self._flush = output.flush
        self._step = 0

    def step(self, text: str) -> None:
        """Begins the next step."""
        self._step += 1
        self._line("")
        self._line(f"{self._step}. {text}")
        self._flush()

    def say(self, text: str) -> None:
        """Tells a result."""
        self._line(f"   {text}")
        self._flush()

    def progress(self, text: str) -> None:
        """Tells progress; written over by what comes next, and left out where that can't be."""
        if self._moves:
            self._raw(f"\r   {text}\x1b[K\r")
            self._flush()


class _Cast(NamedTuple):
    """Two products there is plenty of, and one that can be asked too much of, where there is one."""

    first: str
    second: str
    scarce: str


async def demo(client: Client, arguments: argparse.Namespace) -> int:
    """The whole story; its exit status."""
    for_program = arguments.output == JSON
    narrator = Narrator(for_program)
    began = time.monotonic()
    story = Story(client)
    products = await _walk(story, narrator)
    rate = await _burst(story, narrator, products, arguments.orders)
    await _listen(story, narrator, client.timeout)
    await story.end()
    findings = reconcile(story.facts)
    causes = [] if findings.ok else list(likely_causes(story.facts, await _health(client)))
    _report(findings, causes, narrator)
    if for_program:
        seconds = round(time.monotonic() - began, 3)
        shown = {**asdict(findings), "ok": findings.ok, "orders_per_second": round(rate, 1), "seconds": seconds}
        output.document({**shown, "likely_causes": causes})
    return outcome.DONE if findings.ok else outcome.REFUSED


_SERVING = "SERVING"


async def _health(client: Client) -> dict[str, str]:
    by_name: dict[str, str] = {}
    for peer, health in (await client.health()).items():  # of several processes one that is not well counts
        if by_name.get(peer.name, _SERVING) == _SERVING:
            by_name[peer.name] = health
    return by_name


async def _walk(story: Story, narrator: Narrator) -> list[Product]:
    narrator.step("What is there to order?")
    products = await story.begin()
    cast = _cast(products)
    narrator.say(f"{len(products)} products; among them:")
    for product in products:
        if product.id in cast:
            narrator.say(f"{product.id}: {tables.money(product.unit_price)}, {product.available} available")
    await story.restock_for([OrderInput("demo", (item(cast.first, _STOCKED), item(cast.second, _STOCKED)))])
    first, second = await _place_two(story, narrator, cast)
    await _too_much(story, narrator, cast.scarce)
    await _change(story, narrator, first, cast.second)
    await _cancel(story, narrator, second, cast.second)
    return products


def _cast(products: Sequence[Product]) -> _Cast:
    """An order has one currency, and so many units of a product at most. Raises UsageError."""
    alike: defaultdict[str, list[Product]] = defaultdict(list)
    for product in products:
        alike[product.unit_price.currency_code].append(product)
    most = max([len(some) for some in alike.values()], default=0)
    same = next((some for some in alike.values() if len(some) == most), [])
    plenty = sorted(same, key=lambda product: -product.available)
    if len(plenty) < 2:  # noqa: PLR2004 - a pair
        raise UsageError("the demo needs two products with prices in one currency, and there are none")
    scarce = min(products, key=lambda product: product.available)
    return _Cast(plenty[0].id, plenty[1].id, scarce.id)


async def _place_two(story: Story, narrator: Narrator, cast: _Cast) -> tuple[Order, Order]:
    narrator.step(f"Place an order: 3 of {cast.first}, 1 of {cast.second}.")
    request = story.placing("demo-anna", [item(cast.first, 3), item(cast.second, 1)])
    first = await story.place(request)
    narrator.say(_line(first))
    narrator.step("Repeat the very same request, as a client does that got no answer.")
    again = await story.place(request)
    story.expect(again == first, f"the repeated request made another order, {again.id}")
    narrator.say(f"order {again.id} again: one request, one order")
    narrator.step(f"Place a second order, of another customer: 4 of {cast.second}.")
    second = await story.place(story.placing("demo-ben", [item(cast.second, 4)]))
    narrator.say(_line(second))
    return first, second


async def _too_much(story: Story, narrator: Narrator, scarce: str) -> None:
    before = await story.product(scarce)
    if before.available >= _MOST_UNITS:
        return
    narrator.step(f"Ask for more of {scarce} than there is.")
    refusal = await story.ask_too_much(before)
    after = await story.product(scarce)
    narrator.say(errors.sentence(refusal))
    narrator.say(f"available before {before.available}, after {after.available}")


async def _change(story: Story, narrator: Narrator, order: Order, other: str) -> None:
    narrator.step(f"Change the order to 5 of {other} instead, then pay it.")
    for changed in (await story.change_items(order, [item(other, 5)]), await story.pay(order)):
        narrator.say(_line(changed))


async def _cancel(story: Story, narrator: Narrator, order: Order, other: str) -> None:
    narrator.step("Cancel the second order; its stock comes back.")
    before = await story.product(other)
    narrator.say(_line(await story.cancel(order)))
    after = await story.product(other)
    narrator.say(f"{other}: {before.available} available before, {after.available} after")


async def _burst(story: Story, narrator: Narrator, products: Sequence[Product], count: int) -> float:
    narrator.step(f"Place {count} orders made from the static order data, many at a time.")
    wanted = repeated(_orderable(from_file(STATIC_ORDERS), products), count)
    if added := await story.restock_for(wanted):
        narrator.say(f"restocked {added} units first, so that there is enough")
    began = time.monotonic()
    await story.burst(wanted)
    rate = count / max(time.monotonic() - began, 1e-6)
    narrator.say(f"{count - story.facts.short} orders taken, {rate:,.0f} a second")
    if story.facts.short:
        narrator.say(f"{story.facts.short} were refused for want of stock")
    return rate


def _orderable(wanted: Sequence[OrderInput], products: Sequence[Product]) -> list[OrderInput]:
    """The orders for what there is; where there is nothing of them, one for the first product."""
    known = {product.id for product in products}
    orderable = [order for order in wanted if known.issuperset(item.product_id for item in order.items)]
    return orderable or [OrderInput("demo-carla", (item(products[0].id, 1),))]


async def _listen(story: Story, narrator: Narrator, seconds: float) -> None:
    narrator.step("Wait for the events to arrive in both notification services.")
    until = time.monotonic() + seconds
    while not await story.listen() and time.monotonic() < until:
        narrator.progress(_arrived(story))
        await asyncio.sleep(_POLL_SECONDS)
    narrator.say(_arrived(story))


def _arrived(story: Story) -> str:
    first, second = (len(heard) for heard in story.facts.heard)
    facts = story.facts
    return (
        f"{first} of {facts.created} at notification service 1,"
        f" {second} of {len(facts.answered) + facts.refused} at notification service 2"
    )


def _report(findings: Findings, causes: Sequence[str], narrator: Narrator) -> None:
    narrator.step("Does it come out even?")
    narrator.say(f"orders created    {findings.orders_created:>6}")
    narrator.say(f"changes of orders {findings.orders_updated:>6}")
    narrator.say(f"orders refused    {findings.orders_rejected:>6}")
    narrator.say(f"heard by service 1 {findings.recorded_by_notification_service_1:>5}  (creations, fanout exchange)")
    narrator.say(f"heard by service 2 {findings.recorded_by_notification_service_2:>5}  (everything, topic exchange)")
    conserved = "can't be told" if findings.stock_conserved is None else findings.stock_conserved
    narrator.say(f"lost {findings.lost}, duplicated {findings.duplicated}, stock conserved: {conserved}")
    for note in findings.notes:
        narrator.say(f"Note: {note}.")
    for trouble in findings.troubles:
        narrator.say(f"TROUBLE: {trouble}")
    for cause in causes:
        narrator.say(cause)
    narrator.say("Everything comes out even." if findings.ok else "It does NOT come out even.")


def _line(order: Order) -> str:
    items = ", ".join(f"{i.quantity} × {i.product_id}" for i in order.items)
    state = tables.state(order.state)
    return f"order {order.id}, version {order.version}, {state}: {items}; {tables.money(order.total)}"

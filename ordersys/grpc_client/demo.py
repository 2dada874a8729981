"""The demo: walks through the story, shows the events arriving, and reconciles; 0 only when all comes out even."""

import argparse
import asyncio
import time
from dataclasses import asdict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ordersys.api.order.v1.order_pb2 import Order
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.grpc_client import failures, tables
from ordersys.grpc_client.connection import Client
from ordersys.grpc_client.reconciliation import Findings, reconcile
from ordersys.grpc_client.story import Story, item, placing, repeated
from ordersys.grpc_client.wishes import STATIC_ORDERS, from_file

_POLL_SECONDS = 0.2
_SHOWN_TROUBLES = 20


class Narrator:
    """Tells what happens: on standard output for people, beside it when that is for a program."""

    def __init__(self, for_program: bool) -> None:
        self.console = Console(stderr=for_program, highlight=False)
        self._step = 0

    def step(self, text: str) -> None:
        """What is done next."""
        self._step += 1
        self.console.print(f"\n{self._step}. {text}", style="bold", markup=False)

    def say(self, text: str) -> None:
        """What came of it."""
        self.console.print(f"   {text}", markup=False, soft_wrap=True)


async def demo(client: Client, arguments: argparse.Namespace) -> int:
    """The whole story; its exit status."""
    narrator = Narrator(arguments.json)
    began = time.monotonic()
    story = Story(client)
    await _walk(story, narrator)
    rate = await _burst(story, narrator, arguments.orders)
    await _listen(story, narrator, client.timeout)
    await story.end()
    findings = reconcile(story.facts)
    _report(findings, narrator)
    if arguments.json:
        seconds = round(time.monotonic() - began, 3)
        shown = {**asdict(findings), "ok": findings.ok, "orders_per_second": round(rate, 1), "seconds": seconds}
        tables.show_json(shown)
    return failures.DONE if findings.ok else failures.REFUSED


async def _walk(story: Story, narrator: Narrator) -> None:
    narrator.step("What is there to order?")
    products = await story.begin()
    cheap, other, scarce = _cast(products)
    narrator.say(f"{len(products)} products; among them:")
    for product in (cheap, other, scarce):
        narrator.say(f"{product.id}: {tables.money(product.unit_price)}, {product.available} available")
    first, second = await _place_two(story, narrator, cheap, other)
    await _too_much(story, narrator, scarce)
    await _change(story, narrator, first, other)
    await _cancel(story, narrator, second, other)


def _cast(products: list[Product]) -> tuple[Product, Product, Product]:
    """Two products there is plenty of, and the one there is least of that can be asked too much of."""
    plenty = sorted(products, key=lambda product: -product.available)
    scarce = min(products, key=lambda product: product.available)
    return plenty[0], plenty[1], scarce


async def _place_two(story: Story, narrator: Narrator, cheap: Product, other: Product) -> tuple[Order, Order]:
    narrator.step(f"Place an order: 3 of {cheap.id}, 1 of {other.id}.")
    request = placing("demo-anna", [item(cheap.id, 3), item(other.id, 1)])
    first = await story.place(request)
    narrator.say(_line(first))
    narrator.step("Repeat the very same request, as a client does that got no answer.")
    again = await story.place(request)
    story.expect(again == first, f"the repeated request made another order, {again.id}")
    narrator.say(f"order {again.id} again: one request, one order")
    second = await story.place(placing("demo-ben", [item(other.id, 4)]))
    return first, second


async def _too_much(story: Story, narrator: Narrator, scarce: Product) -> None:
    narrator.step(f"Ask for more of {scarce.id} than there is.")
    before = await story.product(scarce.id)
    refusal = await story.ask_too_much(before)
    after = await story.product(scarce.id)
    story.expect(after.available == before.available, f"the refusal took stock of {scarce.id}")
    narrator.say(failures.sentence(refusal))
    narrator.say(f"available before {before.available}, after {after.available}")


async def _change(story: Story, narrator: Narrator, order: Order, other: Product) -> None:
    narrator.step(f"Change the order to 5 of {other.id} instead, then pay it.")
    for changed in (await story.change_items(order, [item(other.id, 5)]), await story.pay(order)):
        narrator.say(_line(changed))


async def _cancel(story: Story, narrator: Narrator, order: Order, other: Product) -> None:
    narrator.step("Cancel the second order; its stock comes back.")
    before = await story.product(other.id)
    narrator.say(_line(await story.cancel(order)))
    after = await story.product(other.id)
    narrator.say(f"{other.id}: {before.available} available before, {after.available} after")


async def _burst(story: Story, narrator: Narrator, count: int) -> float:
    narrator.step(f"Place {count} orders made from the static order data, many at a time.")
    wishes = repeated(from_file(STATIC_ORDERS), count)
    if added := await story.restock_for(wishes):
        narrator.say(f"restocked {added} units first, so that there is enough")
    began = time.monotonic()
    await story.burst(wishes)
    rate = count / (time.monotonic() - began)
    narrator.say(f"{count} orders taken, {rate:,.0f} a second")
    return rate


async def _listen(story: Story, narrator: Narrator, seconds: float) -> None:
    narrator.step("Wait for the events to arrive in both notification services.")
    until = time.monotonic() + seconds
    facts = story.facts
    columns = (TextColumn("   {task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=narrator.console) as progress:
        one = progress.add_task("notification service 1", total=facts.created)
        two = progress.add_task("notification service 2", total=len(facts.answered) + facts.refused)
        while not await story.listen() and time.monotonic() < until:
            _move(progress, (one, two), story)
            await asyncio.sleep(_POLL_SECONDS)
        _move(progress, (one, two), story)


def _move(progress: Progress, tasks: tuple[object, object], story: Story) -> None:
    for task, heard in zip(tasks, story.facts.heard, strict=True):
        progress.update(task, completed=len(heard))  # type: ignore[arg-type]


def _report(findings: Findings, narrator: Narrator) -> None:
    narrator.step("Does it come out even?")
    narrator.say(f"orders created    {findings.orders_created:>6}")
    narrator.say(f"changes of orders {findings.orders_updated:>6}")
    narrator.say(f"orders refused    {findings.orders_rejected:>6}")
    narrator.say(f"heard by service 1 {findings.recorded_by_notification_service_1:>5}  (creations, fanout exchange)")
    narrator.say(f"heard by service 2 {findings.recorded_by_notification_service_2:>5}  (everything, topic exchange)")
    narrator.say(f"lost {findings.lost}, duplicated {findings.duplicated}, stock conserved: {findings.stock_conserved}")
    for trouble in findings.troubles[:_SHOWN_TROUBLES]:
        narrator.say(f"TROUBLE: {trouble}")
    narrator.say("Everything comes out even." if findings.ok else "It does NOT come out even.")


def _line(order: Order) -> str:
    items = ", ".join(f"{i.quantity} × {i.product_id}" for i in order.items)
    state = tables.state(order.state)
    return f"order {order.id}, version {order.version}, {state}: {items}; {tables.money(order.total)}"

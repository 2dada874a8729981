"""The live page's reconciliation: even, at work, and each way of not being even."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from ordersys.api.notification.v1.notification_log_pb2 import Notification
from ordersys.api.order.v1.order_events_pb2 import OrderCreated, OrderRejected, OrderUpdated
from ordersys.api.order.v1.order_pb2 import Order, OrderItem, OrderState
from ordersys.contract.topology import subscriptions
from ordersys.live import ledger as ledgers
from ordersys.live.ledger import Ledger
from ordersys.live.reconciliation import (
    EVEN,
    GRACE_SECONDS,
    MOVING,
    UNEVEN,
    UNKNOWN,
    Check,
    Reconciler,
    Seen,
    Stock,
    overall,
)
from ordersys.live.records import record

ONE, TWO = (subscription.consumer for subscription in subscriptions())
SERVICES = ("product-service", "order-service", ONE, TWO)
PLACED, PAID, CANCELLED = OrderState.ORDER_STATE_PLACED, OrderState.ORDER_STATE_PAID, OrderState.ORDER_STATE_CANCELLED
BEGAN = 1_000_000


def order(name: str, version: int = 1, state: "OrderState.ValueType" = PLACED, at: int = 0, **units: int) -> Order:
    """An order that is newer than the page, changed so many seconds later."""
    items = [OrderItem(product_id=product, quantity=quantity) for product, quantity in units.items()]
    created, updated = Timestamp(seconds=BEGAN), Timestamp(seconds=BEGAN + at)
    return Order(id=name, version=version, state=state, items=items, create_time=created, update_time=updated)


class Page:
    """A page that looks at a system."""

    def __init__(self) -> None:
        self.ledger = Ledger(subscriptions())
        self.reconciler = Reconciler(self.ledger, SERVICES)
        self.seen = Seen(0.0, dict.fromkeys(SERVICES, 0.0), 0.0, [], True, {}, None, BEGAN)

    def hear(self, event: Message, *consumers: str, event_id: str = "", is_judged: bool = True) -> None:
        """Has subscribers record an event."""
        about = getattr(event, "order", Order())
        packed = Any()
        packed.Pack(event)
        for consumer in consumers:
            notification = Notification(
                event_id=event_id or f"{about.id}.{about.version}",
                order_id=about.id,
                version=about.version,
                event=packed,
            )
            self.ledger.tell(consumer, record(notification), self.seen.now, is_judged)

    def place(self, name: str, **units: int) -> None:
        """Has an order created, stored and heard of."""
        created = order(name, 1, PLACED, 0, **units)
        self.hear(OrderCreated(order=created), ONE, TWO)
        stock = dict(self.seen.stock or {})
        for product, quantity in units.items():
            before = stock.get(product, Stock(100, 0))
            stock[product] = Stock(before.available - quantity, before.held + quantity)
        self.seen = replace(self.seen, orders=[created, *(self.seen.orders or ())], stock=stock)

    def verdicts(self, after: float = 0.0) -> dict[str, str]:
        """The verdicts, by subject, so many seconds later, looked at once a second meanwhile."""
        return {check.subject: check.verdict for check in self.checks(after)}

    def checks(self, after: float = 0.0) -> tuple[Check, ...]:
        """The checks."""
        end = self.seen.now + after
        while self.seen.now < end:
            self.reconciler.checks(self.seen)
            self.seen = replace(self.seen, now=self.seen.now + 1.0)
        return self.reconciler.checks(self.seen)


@pytest.fixture
def page() -> Page:
    """One that has looked at a system at rest."""
    page = Page()
    page.seen = replace(page.seen, stock={"lamp": Stock(90, 10)})  # held by orders from before
    assert page.verdicts(3) == dict.fromkeys(("orders", "events", "records", "stock"), EVEN)
    return page


LONG = GRACE_SECONDS + 3


def test_a_system_whose_orders_are_recorded_is_even(page: Page) -> None:
    """Also with events that not everybody takes, and with an order that was changed and cancelled."""
    page.place("a", lamp=2)
    page.hear(OrderUpdated(order=order("a", 2, PAID, lamp=2)), TWO)
    page.hear(OrderUpdated(order=order("a", 3, CANCELLED, lamp=2)), TWO)
    page.hear(OrderRejected(), TWO, event_id="r")
    page.seen = replace(page.seen, orders=[order("a", 3, CANCELLED, lamp=2)], stock={"lamp": Stock(90, 10)})
    assert set(page.verdicts(LONG).values()) == {EVEN}
    assert overall(page.reconciler.checks(page.seen)) == EVEN


def lost_event(page: Page) -> None:
    """Stored, and nobody was told."""
    page.seen = replace(page.seen, orders=[order("a", lamp=1)])


def lost_order(page: Page) -> None:
    """Told, and not stored."""
    page.hear(OrderCreated(order=order("a")), ONE, TWO)


def stale_order(page: Page) -> None:
    """Stored at a version that nobody was told of."""
    page.place("a", lamp=1)
    page.seen = replace(page.seen, orders=[order("a", 2, PAID, lamp=1)])


def unheard_event(page: Page) -> None:
    """Recorded by one of two."""
    page.place("a", lamp=1)
    page.hear(OrderCreated(order=order("b")), TWO)
    page.seen = replace(page.seen, orders=[order("b"), *(page.seen.orders or ())])


def recorded_twice(page: Page) -> None:
    """By the same subscriber."""
    page.place("a", lamp=1)
    page.hear(OrderCreated(order=order("a", lamp=1)), ONE)


def lost_units(page: Page) -> None:
    """Held by nobody."""
    page.seen = replace(page.seen, stock={"lamp": Stock(89, 11)})


def sold_twice(page: Page) -> None:
    """More is ordered than is held."""
    page.place("a", lamp=1)
    page.seen = replace(page.seen, stock={"lamp": Stock(90, 10)})


def below_zero(page: Page) -> None:
    """Of which there can't be any."""
    page.seen = replace(page.seen, stock={"lamp": Stock(-1, 10)})


def audited(page: Page) -> None:
    """By the Product Service itself."""
    page.seen = replace(page.seen, audited=3.0)


PLANTED: dict[str, tuple[Callable[[Page], None], str]] = {
    "an order without its event": (lost_event, "orders"),
    "an event without its order": (lost_order, "orders"),
    "a version without its event": (stale_order, "orders"),
    "an event that one subscriber lacks": (unheard_event, "events"),
    "an event that is recorded twice": (recorded_twice, "records"),
    "units held for nobody": (lost_units, "stock"),
    "units ordered and not held": (sold_twice, "stock"),
    "units that an audit counts": (audited, "stock"),
    "stock below zero": (below_zero, "stock"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_trouble_is_found_where_it_is(page: Page, name: str) -> None:
    """And nowhere else, once it has lasted; stock waits while others are not even."""
    plant, subject = PLANTED[name]
    plant(page)
    verdicts = page.verdicts(LONG)
    assert verdicts.pop(subject) == UNEVEN
    assert UNEVEN not in verdicts.values()
    assert overall(page.reconciler.checks(page.seen)) == UNEVEN


@pytest.mark.parametrize(
    "name", set(PLANTED) - {"an event that is recorded twice", "stock below zero", "units that an audit counts"}
)
def test_it_is_no_trouble_before_it_has_lasted(page: Page, name: str) -> None:
    """A system at work is never even at one instant."""
    plant, subject = PLANTED[name]
    plant(page)
    verdicts = page.verdicts(GRACE_SECONDS - 3)
    assert verdicts[subject] == MOVING
    assert UNEVEN not in verdicts.values()


@pytest.mark.parametrize("who", [ONE, TWO])
def test_an_event_waits_for_a_subscriber_that_is_away(page: Page, who: str) -> None:
    """However long that lasts; once it is well it has to be recorded."""
    page.hear(OrderCreated(order=order("a")), *({ONE, TWO} - {who}))
    page.seen = replace(page.seen, orders=[order("a")], well={s: 0.0 for s in SERVICES if s != who})
    assert page.verdicts(LONG * 3)["events"] == MOVING
    page.seen = replace(page.seen, well={**page.seen.well, who: page.seen.now})
    assert page.verdicts(GRACE_SECONDS - 3)["events"] == MOVING
    assert page.verdicts(6)["events"] == UNEVEN


def test_an_event_that_was_passed_in_a_queue_that_is_never_empty_is_missing(page: Page) -> None:
    """By events that happened much later."""
    page.seen = replace(page.seen, well={s: 0.0 for s in SERVICES if s != ONE})
    page.hear(OrderCreated(order=order("a", at=10)), TWO)
    page.hear(OrderCreated(order=order("b", at=15)), ONE, TWO)
    assert page.verdicts(LONG)["events"] == MOVING
    page.hear(OrderCreated(order=order("c", at=30)), ONE, TWO)
    assert page.verdicts()["events"] == UNEVEN


def test_an_event_that_was_put_off_is_on_its_way_like_any_other(page: Page) -> None:
    """Events that happened much later are recorded already; clocks of two machines that differ look the same."""
    page.seen = replace(page.seen, well={s: 0.0 for s in SERVICES if s != ONE})  # its queue is never empty
    page.hear(OrderCreated(order=order("b", at=60)), TWO, ONE)
    page.hear(OrderCreated(order=order("a", at=10)), TWO)
    assert page.verdicts()["events"] == MOVING
    page.seen = replace(page.seen, now=page.seen.now + GRACE_SECONDS - 1)
    page.hear(OrderCreated(order=order("c", at=70)), TWO, ONE)
    assert page.verdicts(LONG)["events"] == MOVING
    page.hear(OrderCreated(order=order("a", at=10)), ONE)
    assert page.verdicts()["events"] == EVEN


def test_an_event_that_was_put_off_waits_behind_a_long_queue(page: Page) -> None:
    """Those before it are recorded as fast as they can be, and much later than by the other subscriber."""
    page.seen = replace(page.seen, well={s: 0.0 for s in SERVICES if s != ONE})
    queue = [OrderCreated(order=order(f"b{number}", at=30 + number)) for number in range(60)]
    for event in queue:
        page.hear(event, TWO)
    page.hear(OrderCreated(order=order("a", at=10)), TWO)
    for event in queue:
        page.hear(event, ONE)
        assert page.verdicts(1)["events"] == MOVING


def test_a_queue_that_is_older_than_what_is_read_of_the_other_log_is_no_trouble(page: Page) -> None:
    """A long log is read from near its end: what lies before has no record of the other, and passes no event."""
    page.seen = replace(page.seen, well={s: 0.0 for s in SERVICES if s != ONE})
    page.hear(OrderCreated(order=order("last", at=200)), TWO, is_judged=False)
    page.hear(OrderCreated(order=order("new", at=300)), TWO)
    for number in range(60):
        page.hear(OrderCreated(order=order(f"b{number}", at=30 + number)), ONE)
        assert page.verdicts(1)["events"] == MOVING


@pytest.mark.parametrize("seconds", [0, 1])
def test_an_order_of_a_fast_clock_is_no_longer_among_the_newest(page: Page, seconds: float) -> None:
    """Of two processes one creates orders in the future: they look newer than those that came after them.

    Also where all of it is read at once, as when the page begins.
    """
    ahead, *others = (order(f"o{number}") for number in range(4))
    ahead.create_time.FromSeconds(BEGAN + 60)
    for each in (ahead, *others):
        page.hear(OrderCreated(order=each), ONE, TWO)
        page.seen = replace(page.seen, orders=[each, *(page.seen.orders or ())][:2], is_all=False)
        assert page.verdicts(seconds)["orders"] == EVEN
    assert page.verdicts(seconds and LONG)["orders"] == EVEN
    lost = order("lost")
    lost.create_time.FromSeconds(BEGAN + 1)
    page.hear(OrderCreated(order=lost), ONE, TWO)
    assert page.verdicts(LONG)["orders"] == UNEVEN


def test_an_order_waits_for_the_broker(page: Page) -> None:
    """Its event is in the outbox."""
    lost_event(page)
    page.seen = replace(page.seen, broker=None)
    assert page.verdicts(LONG * 3)["orders"] == MOVING
    page.seen = replace(page.seen, broker=page.seen.now)
    assert page.verdicts(LONG)["orders"] == UNEVEN


def test_units_may_be_held_while_a_service_is_away(page: Page) -> None:
    """A placement under way holds stock before its order is created."""
    lost_units(page)
    page.seen = replace(page.seen, well={s: 0.0 for s in SERVICES if s != "order-service"})
    assert page.verdicts(LONG * 3)["stock"] == MOVING


def test_units_may_be_held_for_an_order_in_doubt(page: Page) -> None:
    """The Product Service can't reach the Order Service, though both are well; counted from the end of that."""
    page.seen = replace(page.seen, stock={"lamp": Stock(85, 15)}, settled=None)
    assert page.verdicts(LONG)["stock"] == MOVING
    page.seen = replace(page.seen, settled=page.seen.now)
    assert page.verdicts(GRACE_SECONDS - 1)["stock"] == MOVING
    assert page.verdicts(LONG)["stock"] == UNEVEN


def test_dead_letters_are_told_of_and_are_no_trouble(page: Page) -> None:
    """A message that nobody can read is none of an order."""
    page.place("a", lamp=1)
    page.seen = replace(page.seen, dead_letters=2)
    events = page.checks(LONG)[1]
    assert events.verdict == EVEN
    assert "2 dead letters" in events.sentence


def test_nothing_is_known_of_what_does_not_answer(page: Page) -> None:
    """It is not called even."""
    page.seen = replace(page.seen, orders=None, stock=None)
    verdicts = page.verdicts(LONG)
    assert (verdicts["orders"], verdicts["stock"]) == (UNKNOWN, UNKNOWN)


def test_nothing_that_needs_a_log_is_known_while_one_is_read_later_than_it_grows(page: Page) -> None:
    """No verdict of before stands meanwhile, and each says which log it is."""
    page.place("a", lamp=1)
    page.seen = replace(page.seen, behind=(TWO,))
    checks = page.checks(LONG)
    assert {check.verdict for check in checks} == {UNKNOWN}
    assert all(TWO in check.sentence for check in checks)
    page.seen = replace(page.seen, behind=())
    assert set(page.verdicts(3).values()) == {EVEN}


@pytest.mark.parametrize("name", ["an event that is recorded twice", "stock below zero", "units that an audit counts"])
def test_a_trouble_that_more_records_do_not_end_is_known_while_a_log_is_behind(page: Page, name: str) -> None:
    """It is a fact already, or needs no log."""
    plant, subject = PLANTED[name]
    plant(page)
    page.seen = replace(page.seen, behind=(TWO,))
    verdicts = page.verdicts(LONG)
    assert verdicts.pop(subject) == UNEVEN
    assert set(verdicts.values()) == {UNKNOWN}


def test_seeded_orders_have_no_events() -> None:
    """They are older than the page."""
    page = Page()
    seeded = order("s", lamp=3)
    seeded.create_time.FromSeconds(1)
    page.seen = replace(page.seen, orders=[seeded], stock={"lamp": Stock(5, 3)}, began_milliseconds=BEGAN * 1000)
    assert set(page.verdicts(LONG).values()) == {EVEN}


def test_changes_of_an_order_from_before_are_counted(page: Page) -> None:
    """Paid, it holds what it held; cancelled, it gives back what it lists."""
    page.hear(OrderUpdated(order=order("old", 2, PAID, lamp=4)), TWO)
    assert page.ledger.ordered["lamp"] == 0
    page.hear(OrderUpdated(order=order("older", 5, CANCELLED, lamp=6)), TWO)
    assert page.ledger.ordered["lamp"] == -6
    assert page.ledger.is_whole


def test_new_items_of_an_order_from_before_begin_the_comparison_anew(page: Page) -> None:
    """Nobody knows what it held."""
    page.hear(OrderUpdated(order=order("old", 2, PLACED, lamp=4)), TWO)
    page.seen = replace(page.seen, orders=[order("old", 2, PLACED, lamp=4)], stock={"lamp": Stock(88, 12)})
    assert page.verdicts()["stock"] == UNKNOWN
    assert page.verdicts(LONG)["stock"] == EVEN
    lost_units(page)
    assert page.verdicts(LONG)["stock"] == UNEVEN


def test_versions_recorded_out_of_order_come_to_the_same(page: Page) -> None:
    """As deliveries again may be."""
    page.hear(OrderUpdated(order=order("a", 2, PAID, lamp=4)), TWO)
    page.hear(OrderCreated(order=order("a", 1, PLACED, lamp=4)), TWO)
    assert (page.ledger.ordered["lamp"], page.ledger.version("a")) == (4, 2)


def test_what_was_forgotten_before_the_other_recorded_it_is_no_trouble(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a long time in which one subscriber was away."""
    monkeypatch.setattr(ledgers, "MOST_EVENTS", 10)
    orders = [order(f"o{number}", at=number + 1) for number in range(30)]
    for consumer in (ONE, TWO):
        for created in orders:
            page.hear(OrderCreated(order=created), consumer)
    page.seen = replace(page.seen, orders=orders[::-1])
    assert page.verdicts(LONG)["events"] == EVEN
    page.hear(OrderCreated(order=order("new", at=40)), TWO)
    page.seen = replace(page.seen, orders=[order("new", at=40), *orders[::-1]])
    assert page.verdicts(LONG)["events"] == UNEVEN


def test_the_ledger_is_bounded(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums stay."""
    monkeypatch.setattr(ledgers, "MOST_EVENTS", 10)
    monkeypatch.setattr(ledgers, "MOST_ORDERS", 10)
    for number in range(100):
        page.place(f"o{number}", lamp=1)
    assert page.ledger.ordered["lamp"] == 100
    assert len(page.ledger.newest()) == 10
    assert (page.ledger.version("o0"), page.ledger.version("o99")) == (0, 1)
    assert page.ledger.heard_of(order("o0")) == {}
    assert page.ledger.heard_of(order("o99")) == {ONE: True, TWO: True}

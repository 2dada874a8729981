"""The report of a run of the contract suite: laws that are kept prove nothing where nobody was reached."""

from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from ordersys.api.order.v1.order_events_pb2 import OrderCreated
from ordersys.contract.events import Event
from tests.contract.harness.certificate import Sizes, Subject
from tests.contract.harness.client import ORDER, PRODUCT
from tests.contract.harness.conformance_report import Report
from tests.contract.harness.event_tap import Received


def received(exchange: str) -> Received:
    """The event of an order that was created, which the Order Service publishes."""
    event = Event("event", "OrderCreated", "order", 1, OrderCreated(), b"")
    return Received(exchange, "", None, b"", event, "")


@pytest.mark.parametrize(
    ("kept", "calls", "heard", "troubles"),
    [
        ([ORDER], {ORDER: 1}, [], []),
        ([ORDER], {}, [], [f"no call reached the {ORDER}: its laws prove nothing"]),
        ([PRODUCT], {}, ["orders.created"], [f"no call reached the {PRODUCT}: its laws prove nothing"]),
        ([PRODUCT, ORDER, "broker"], {PRODUCT: 1}, ["orders.created", "orders.events"], []),
        ([ORDER, "broker"], {PRODUCT: 1}, ["orders.created", "orders.events"], []),
        ([PRODUCT, ORDER], {PRODUCT: 1}, [], []),
        (
            [PRODUCT, ORDER, "broker"],
            {},
            [],
            [
                f"no call reached the {PRODUCT}: its laws prove nothing",
                f"no call reached the {ORDER}: its laws prove nothing",
                f"nothing of the {ORDER} was heard from orders.created: its laws prove nothing",
                f"nothing of the {ORDER} was heard from orders.events: its laws prove nothing",
                f"nothing of the {PRODUCT} was heard from orders.events: its laws prove nothing",
            ],
        ),
    ],
    ids=[
        "called",
        "not called",
        "the event of another",
        "called and heard of",
        "heard of by way of another",
        "called by another",
        "neither called nor heard of",
    ],
)
def test_a_role_nothing_was_seen_of_has_proven_nothing(
    kept: Sequence[str], calls: dict[str, int], heard: Sequence[str], troubles: Sequence[str]
) -> None:
    """A law may call one service to judge another, of which it sees the events: it is enough by itself."""
    report = Report(Subject("", "", ()), Sizes(1, 1, True, 1.0), frozenset(), [])
    report._kept.add(frozenset(kept))
    tap = SimpleNamespace(everything=lambda: [received(exchange) for exchange in heard])
    system: Any = SimpleNamespace(client=SimpleNamespace(calls=Counter(calls), orders=()), event_tap=tap, addresses={})
    report.systems.append(system)
    assert report.troubles() == troubles

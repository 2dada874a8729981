"""The checks of overload find each violation planted in calls that went well."""

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import pytest

from ordersys.api.product.v1.product_service_pb2 import PlaceOrderResponse
from tests import http2
from tests.integration.faults.checkers.observations import Finding, Kind
from tests.integration.faults.faults.overload import Load, collapsed, late, remember, unsaid
from tests.integration.faults.faults.service_watch import MOST_BYTES, MOST_SECONDS, Seen, harm
from tests.integration.faults.workload.history import History, Outcome
from tests.integration.faults.workload.load import (
    CANCELLED,
    DEADLINE_EXCEEDED,
    OK,
    RESOURCE_EXHAUSTED,
    Call,
    Offer,
    requests,
)

OFFER = Offer("s1r0", ["lamp", "desk"], 2, 1.0, 1.0, 5.0)
BODY = base64.b64encode(PlaceOrderResponse().SerializeToString()).decode()
WELL = Seen({"order_service": MOST_BYTES}, [0.1, MOST_SECONDS])
Checker = Callable[[Load], Iterator[Finding]]


def calls(count: int, code: int, took: float, retry: bool = False, a_second: int = 100) -> list[Call]:
    """So many a second, each answered after that long."""
    return [Call(number / a_second, number / a_second + took, code, retry, BODY, True) for number in range(count)]


MEASURED = calls(100, OK, 0.5)
REFUSED = calls(100, RESOURCE_EXHAUSTED, 0.1, retry=True)
SERVED = calls(100, OK, 1.0)


def load(*offered: Sequence[Call]) -> Load:
    return Load(MEASURED, [call for some in offered for call in some])


def test_what_is_served_or_told_to_come_again_in_time_is_fine() -> None:
    """And so is what was sent away unseen, beside those who were told."""
    fine = load(SERVED, REFUSED, calls(50, CANCELLED, 0.1))
    assert [*unsaid(fine), *late(fine), *collapsed(fine), *harm(WELL)] == []


@pytest.mark.parametrize(
    ("checker", "bad"),
    [
        (unsaid, load(SERVED, REFUSED, calls(1, DEADLINE_EXCEEDED, 5.0))),
        (unsaid, load(SERVED, calls(1, RESOURCE_EXHAUSTED, 0.1, retry=False))),
        (late, load(calls(5000, OK, 5.0, a_second=1000), REFUSED)),
        (late, load(calls(5000, OK, 5.0, a_second=1000), REFUSED, calls(5000, CANCELLED, 0.3, a_second=1000))),
        (late, load(calls(5000, OK, 0.1, a_second=1000), calls(100, RESOURCE_EXHAUSTED, 3.0, retry=True))),
        (collapsed, load(calls(10, OK, 1.0), REFUSED)),
        (collapsed, load(REFUSED)),
    ],
    ids=[
        "no answer",
        "when to come again unsaid",
        "late",
        "late after they were read",
        "refused late",
        "little done",
        "nothing done",
    ],
)
def test_what_must_not_be_is_found(checker: Checker, bad: Load) -> None:
    """By its checker, as not recovered."""
    assert {finding.kind for finding in checker(bad)} == {Kind.UNRECOVERED}


def test_a_slow_machine_is_not_taken_for_a_long_queue() -> None:
    """Late is who waits behind too many, not who waits long: here a fifth as fast, and as many ahead of each."""
    assert not [*late(load(calls(1000, OK, 4.0, a_second=200), calls(100, RESOURCE_EXHAUSTED, 4.0, retry=True)))]


def test_time_unread_is_not_taken_for_a_long_queue() -> None:
    """It is what those take that are sent away as soon as they are read."""
    served = calls(5000, OK, 5.0, a_second=1000)
    assert [*late(load(served))]
    assert not [*late(load(served, calls(5000, CANCELLED, 3.0, a_second=1000)))]


@pytest.mark.parametrize(
    "seen",
    [
        replace(WELL, memory={"order_service": MOST_BYTES + 1}),
        replace(WELL, failed=["UNAVAILABLE: nobody there"]),
        replace(WELL, took=[MOST_SECONDS + 0.1]),
        replace(WELL, took=[]),
    ],
    ids=["memory", "failed", "waited", "never served"],
)
def test_harm_is_found(seen: Seen) -> None:
    """Memory beyond what is stated; a good client not served, or not in time."""
    assert [finding.kind for finding in harm(seen)] == [Kind.UNRECOVERED]


def test_what_was_refused_is_nothing_anybody_asked_for() -> None:
    """Requests served and requests open go into the history, each under the request that was made."""
    history = History()
    made = [*calls(1, RESOURCE_EXHAUSTED, 0.1), *calls(1, OK, 0.1), *calls(1, DEADLINE_EXCEEDED, 5.0)]
    remember(history, made, requests(OFFER.name, OFFER.products))
    _, second, third = islice(requests(OFFER.name, OFFER.products), 3)
    assert [operation.request for operation in history.operations] == [second, third]
    assert [operation.outcome for operation in history.operations] == [Outcome.OK, Outcome.UNKNOWN]
    assert [operation.abandoned for operation in history.operations] == [False, True]


def test_frames_are_taken_out_whole_and_in_order() -> None:
    """However they arrive; a long header has its length in several octets."""
    sent = http2.headers(1, "/a/b", [("x", "y" * 300)]) + http2.message(1, b"z" * 20_000) + b"\0"
    heard = bytearray()
    frames: list[http2.Frame] = []
    for octet in sent:
        heard.append(octet)
        frames += http2.frames(heard)
    assert [(frame.kind, frame.ends) for frame in frames] == [(1, False), (0, False), (0, True)]
    assert heard == b"\0"
    assert b"y" * 300 in frames[0].payload
    assert http2.status_in(http2.block([("grpc-status", "8")])) == RESOURCE_EXHAUSTED

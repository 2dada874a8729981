"""A counterexample is what a reader can use: the differing fields first, and nothing of the machinery."""

import re

import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from ordersys.api.order.v1.order_service_pb2 import GetOrderRequest, GetOrderResponse, UpdateOrderRequest
from tests.contract.harness.call_lines import Call, CallLog, about_the_last, line
from tests.contract.harness.client import ORDER, RPCS, Answer, ContractClient
from tests.contract.harness.counterexamples import MOST_LINES, STORY, counterexample
from tests.contract.harness.system_under_test import SystemUnderTest

GET = next(method for method in RPCS[ORDER] if method.name == "GetOrder")
DIFFERS = ["2 places differ (answered != expected):", "order.version: 2 != 1", "order.state: A != B"]
NOISE = ["At index 0 diff: x", "", "Full diff:", "  [", "+  1,", " +  where 1 = Answer(id=1).id"]


def failure(text: str, *notes: str) -> AssertionError:
    """The error that a law fails with."""
    error = AssertionError(text)
    for note in notes:
        error.add_note(note)
    return error


def call(order_id: str, response: GetOrderResponse | None = None) -> Call:
    """A call of GetOrder."""
    return Call(
        ORDER, GET, GetOrderRequest(order_id=order_id).SerializeToString(), response, "NOT_FOUND ORDER_NOT_FOUND"
    )


def test_the_first_of_several_without_the_name_of_pythons_exception() -> None:
    """Any other exception is named."""
    group = ExceptionGroup("two", [AssertionError("assert 1 == 2"), ValueError("x")])
    assert counterexample(group) == "assert 1 == 2"
    assert counterexample(ValueError("x")) == "ValueError: x"


def test_the_differing_fields_come_without_what_pytest_adds() -> None:
    """After the law's own words."""
    text = "\n".join(["in upper case", "assert id: 'a'\\n == id: 'b'\\n", *(f"  {x}" for x in [*DIFFERS, *NOISE])])
    assert counterexample(failure(text)).splitlines() == ["in upper case", *DIFFERS]


def test_how_a_value_came_to_be_is_left_out() -> None:
    """The line of the law says it; a text of the law's own says more than the values of an expression."""
    assert counterexample(failure("assert 3 < 2\n +  where 3 = f()")) == "assert 3 < 2"
    assert counterexample(failure("it is late\nassert 3 < 2\n +  where 3 = f()")) == "it is late"


def test_an_example_is_shown_without_the_machinery() -> None:
    """Arguments that are the suite's own, and the advice of Hypothesis."""
    example = "Falsifying example: test_x(\n    system=SystemUnderTest(\n        a=1,\n    ),\n    steps=[3],\n)"
    advice = "Explanation:\n    These lines were always and only run:\n        /x.py:1"
    shown = counterexample(failure("assert 1 == 2", f"{example}\n{advice}"))
    assert shown.splitlines() == ["assert 1 == 2", "Falsifying example: test_x(", "    steps=[3],", ")"]


def test_a_story_stands_in_the_place_of_the_steps_that_were_drawn() -> None:
    """They are Python."""
    story = f"{STORY} at step 2 of 30\n1. GetOrder"
    shown = counterexample(failure("assert 1 == 2", story, "Falsifying example: f(\n    steps=[create()],\n)"))
    assert shown.splitlines() == ["assert 1 == 2", *story.splitlines()]


@pytest.mark.parametrize("text", ["x\n" * 500, "y" * 9000], ids=["lines", "letters"])
def test_it_is_never_longer_than_somebody_reads(text: str) -> None:
    """Its beginning and its end are there."""
    shown = counterexample(failure(f"first {text}", f"Draw 1: {text}\nlast"))
    assert len(shown.splitlines()) <= MOST_LINES
    assert max(map(len, shown.splitlines())) < 310
    assert (shown[:5], shown[-4:]) == ("first", "last")


def test_a_call_is_a_line_of_json() -> None:
    """With its answer, or the refusal."""
    response = GetOrderResponse()
    response.order.version = 3
    assert line(call("a", response)) == 'GetOrder {"order_id":"a"} -> OK {"order":{"version":"3"}}'
    order_id = "ade2eb3f-11bf-4641-8fd1-08a8f68747a9"
    assert line(call(order_id)).startswith('GetOrder {"order_id":"ade2eb3f…47a9"} ->')
    assert line(call("a")) == 'GetOrder {"order_id":"a"} -> NOT_FOUND ORDER_NOT_FOUND'
    assert line(Call(ORDER, GET, b"\xff", None, "INTERNAL")) == "GetOrder (no message) -> INTERNAL"


def test_a_refusal_is_told_by_code_reason_and_text() -> None:
    """Not by the bytes of its details."""
    status = Status(code=5, message="No order x")
    status.details.add().Pack(ErrorInfo(reason="ORDER_NOT_FOUND", domain="ordersys"))
    answer = Answer(StatusCode.NOT_FOUND, None, status)
    assert str(answer) == f"NOT_FOUND {': '.join(filter(None, [answer.reason, 'No order x']))}"
    assert str(Answer(StatusCode.OK, GetOrderResponse(), Status())) == "OK"


def test_of_many_calls_those_that_led_to_the_last_are_shown() -> None:
    """Each with its number; what reads, and what is about something else, is counted."""
    change = next(method for method in RPCS[ORDER] if method.name == "UpdateOrder")
    mine, other = (
        Call(ORDER, change, UpdateOrderRequest(order_id=name).SerializeToString(), None, "") for name in ("mine", "x")
    )
    calls = [other] * 50 + [mine, call("mine"), other, call("MINE")]
    first, *rest = about_the_last(calls)
    assert first.startswith("… 52 calls before and between")
    assert [text.split(" ")[:2] for text in rest] == [["51.", "UpdateOrder"], ["54.", "GetOrder"]]
    assert list(about_the_last([])) == []


def test_the_log_keeps_the_last_calls_and_counts_all() -> None:
    """Calls made since a moment are found by the count at that moment."""
    log = CallLog()
    for number in range(700):
        log.add(ORDER, GET, GetOrderRequest(order_id=str(number)).SerializeToString(), None, "")
    assert log.made == 700
    assert len(log.since(0)) < 700
    assert [line(each)[:25] for each in log.since(698)] == ['GetOrder {"order_id":"698', 'GetOrder {"order_id":"699']


def test_a_condition_that_never_came_says_what_was_asked_last() -> None:
    """A wait says how long it was, and in which answer it looked."""
    system = SystemUnderTest.__new__(SystemUnderTest)
    system.patience, system.client = 0.01, ContractClient({}, 1.0)

    def look() -> bool:
        system.client.log.add(ORDER, GET, b"", None, "NOT_FOUND ORDER_NOT_FOUND")
        return False

    with pytest.raises(AssertionError) as caught:
        system.eventually(look)
    first, last = counterexample(caught.value).splitlines()
    assert first == "not so within 0 s: False"
    assert re.fullmatch(r"asked \d+ times, at last the order-service: GetOrder {} -> NOT_FOUND ORDER_NOT_FOUND", last)

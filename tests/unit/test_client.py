"""The command line client: what is typed, what is shown, what is said when something fails."""

import json
import re
import signal
from decimal import Decimal
from pathlib import Path

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status
from google.type.money_pb2 import Money
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from hypothesis import given
from hypothesis import strategies as st

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.notification.v1.dead_letter_service_pb2 import ListDeadLettersRequest, ReplayDeadLettersRequest
from ordersys.api.order.v1.order_events_pb2 import Shortage
from ordersys.api.order.v1.order_pb2 import Order, OrderItem, OrderState
from ordersys.api.product.v1 import product_service_pb2 as asking
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.console import output
from ordersys.console.parser import UsageError
from ordersys.contract import errors as contract_errors
from ordersys.contract.addresses import Address
from ordersys.contract.errors import Reason, StatusError, status_error
from ordersys.contract.validation import FieldViolation
from ordersys.grpc_client import as_json, errors, order_input, outcome, tables
from ordersys.grpc_client.connection import Failed, Waited, status_of
from ordersys.grpc_client.peers import Peer

ID = "01890000-0000-7000-8000-000000000001"
PAID, DELIVERED = OrderState.ORDER_STATE_PAID, OrderState.ORDER_STATE_DELIVERED
PEER = Peer("Product Service", "product_service", Address("127.0.0.1", 50051))
READING = asking.GetProductRequest(product_id="lamp")
CANCELLING = asking.CancelOrderRequest(request_id=ID, order_id=ID)
PAYING = asking.UpdateOrderRequest(request_id=ID, order_id=ID, state=PAID)
CHANGING = asking.UpdateOrderRequest(request_id=ID, order_id=ID, items=asking.ItemQuantities())
REASONS = [reason for reason in ErrorReason.values() if reason != ErrorReason.ERROR_REASON_UNSPECIFIED]
NO_ANSWER = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED)
REPLAYING = ReplayDeadLettersRequest(request_id=ID)


def failed(refused: StatusError | Status, request: Message = READING) -> Failed:
    """A failed call."""
    return Failed(PEER, request, refused.status if isinstance(refused, StatusError) else refused)


@given(st.from_regex("[a-z][a-z-]{0,9}", fullmatch=True), st.integers(0, 2**31 - 1))
def test_an_item_is_a_product_and_a_quantity(product: str, quantity: int) -> None:
    """PRODUCT=QUANTITY; which quantities are fine the service knows."""
    assert [(i.product_id, i.quantity) for i in order_input.items([f"{product}={quantity}"])] == [(product, quantity)]


WRONG = ["", "lamp", "=1", "a=", "a=x", "a=-1", "a=1=2", "a=2147483648", "a=" + "9" * 5000, "\udcff=1"]


@pytest.mark.parametrize("word", WRONG)
def test_what_is_no_item_is_named(word: str) -> None:
    """With an example of what is; bytes that are no UTF-8 and numbers without end are none either."""
    with pytest.raises(UsageError) as wrong:
        order_input.items(["a=1", word])
    assert str(wrong.value) == f"{word!r} must be PRODUCT=QUANTITY, such as desk-lamp=2"


SHORT = [Shortage(product_id="lamp", asked=3, available=2), Shortage(product_id="chair", asked=1, available=0)]
BROKEN = [FieldViolation("customer_id", "string.slug", "no slug"), FieldViolation("items", "x", "too many")]
SENTENCES: list[tuple[StatusError | Status, Message, str]] = [
    (
        contract_errors.out_of_stock(SHORT),
        READING,
        "lamp (asked 3, available 2), chair (asked 1, available 0); ask for",
    ),
    (contract_errors.invalid(BROKEN), READING, "breaks the contract: customer_id: no slug; items: too many."),
    (status_error(ErrorReason.OUTCOME_OPEN), PAYING, f"to learn it, repeat the command with --request-id {ID}."),
    (contract_errors.version_mismatch(ID, 7), PAYING, "The order is at version 7 by now; look at it again"),
    (contract_errors.state_not_allowed(ID, DELIVERED, PAID), PAYING, "An order that is delivered can't become paid."),
    (
        contract_errors.state_not_allowed(ID, PAID, PAID),
        CHANGING,
        "items of an order may change only while it is placed; this",
    ),
    (
        contract_errors.product_not_found("lamp"),
        READING,
        "There is no product lamp; `products` lists those there are.",
    ),
    (contract_errors.order_not_found(ID), READING, f"There is no order {ID}; `orders` lists those there are."),
    (status_error(ErrorReason.INTERNAL_ERROR, error_id="e7"), READING, "has more under this error_id. (error_id e7)"),
    (Status(code=Code.RESOURCE_EXHAUSTED, message="too many"), READING, "too many"),
    (
        status_error(ErrorReason.BROKER_UNAVAILABLE),
        ListDeadLettersRequest(),
        "can't reach its message broker for the moment;",
    ),
    (
        status_error(ErrorReason.BROKER_UNAVAILABLE),
        REPLAYING,
        "Repeat the command: what was done already is passed over.",
    ),
    (
        Status(code=Code.RESOURCE_EXHAUSTED, message="received metadata size exceeds hard limit (9007 vs. 8192)"),
        READING,
        "takes no metadata as large as your token is. The file of a token is named with ORDERSYS_TOKEN_FILE.",
    ),
    (
        status_error(ErrorReason.CREDENTIALS_INVALID),
        READING,
        "named with ORDERSYS_TOKEN_FILE; `python -m ordersys.identity show FILE` says whose one is, and until when.",
    ),
    (
        status_error(ErrorReason.NOT_PERMITTED),
        PAYING,
        "named with ORDERSYS_TOKEN_FILE; without it that of the operator is taken from the folder of `ordersys.local`.",
    ),
    (
        status_error(ErrorReason.NOT_PERMITTED, field="customer_id"),
        PAYING,
        "Order for yourself: --customer with the name in your token.",
    ),
]


@pytest.mark.parametrize(("refused", "asked", "said"), SENTENCES)
def test_a_refusal_is_one_sentence_with_the_way_out(refused: StatusError | Status, asked: Message, said: str) -> None:
    """It names what it is about."""
    assert said in errors.sentence(failed(refused, asked))


@pytest.mark.parametrize("reason", [ErrorReason.NOT_PERMITTED, ErrorReason.CREDENTIALS_INVALID])
def test_a_refusal_of_a_caller_names_the_token_that_was_shown(reason: ErrorReason.ValueType) -> None:
    """Its owner and its file; where none was shown nothing is said of it."""
    status = status_error(reason).status
    shown = failed(status, PAYING)
    shown.known_by = "the token in '/t', anna's"
    assert "You have shown the token in '/t', anna's." in errors.sentence(shown)
    assert "You have shown" not in errors.sentence(failed(status, PAYING))


@pytest.mark.parametrize("asked", [PAYING, CANCELLING])
def test_an_order_that_is_there_already_is_not_told_about_items(asked: Message) -> None:
    """Paying what is paid, cancelling what is cancelled: no items were to change."""
    assert "items" not in errors.sentence(failed(contract_errors.state_not_allowed(ID, PAID, PAID), asked))


@pytest.mark.parametrize("reason", REASONS, ids=ErrorReason.Name)
def test_every_reason_has_a_sentence_a_json_form_and_an_exit_status(reason: Reason) -> None:
    """Programs decide on code, reason, metadata and details; 3 where the answer was none, else 1."""
    failure = failed(status_error(reason, from_state="A", to_state="B", current_version=1))
    document = json.loads(json.dumps(errors.to_dict(failure)))["error"]
    assert (document["code"], document["reason"]) == (Code.Name(failure.status.code), ErrorReason.Name(reason))
    assert document["message"] == errors.sentence(failure)
    assert document["metadata"]["current_version"] == "1"
    assert len(document["details"]) == len(failure.status.details)
    assert errors.exit_status(failure) == (3 if failure.status.code == Code.UNAVAILABLE else 1)


WHERE = "The Product Service at 127.0.0.1:50051"
SILENCE = {
    Code.UNAVAILABLE: "does not answer; start it with `python -m ordersys.product_service`, or everything with",
    Code.DEADLINE_EXCEEDED: "has not answered within 10 s; --timeout gives it longer",
    Code.CANCELLED: "ended the call: it is shutting down",
}


@pytest.mark.parametrize("code", NO_ANSWER, ids=Code.Name)
def test_no_answer_names_the_service_and_the_likely_cause(code: int) -> None:
    """One that runs and is slow is not to be started; all end with 3."""
    silent = Failed(PEER, READING, Status(code=code, message="failed to connect"), Waited(10.0))
    assert errors.sentence(silent).startswith(f"{WHERE} {SILENCE[code]}")
    assert errors.exit_status(silent) == outcome.NOT_REACHABLE


def test_what_was_said_before_the_time_was_over_is_not_forgotten() -> None:
    """An earlier try may have been answered with the reason why the last one got no answer."""
    before = status_error(ErrorReason.BROKER_UNAVAILABLE).status
    late = Failed(PEER, ListDeadLettersRequest(), Status(code=Code.DEADLINE_EXCEEDED), Waited(10.0, before))
    assert errors.sentence(late).endswith(f" Before, it said: {before.message}")


def test_the_exit_statuses_are_those_that_are_documented() -> None:
    """In --help and in the README; 128 + the number of a signal as in a shell."""
    names = {
        outcome.DONE: "done",
        outcome.REFUSED: "refused by the system",
        outcome.WRONG_USE: "wrong usage",
        outcome.NOT_REACHABLE: "a service does not answer, or an outcome is open",
        output.FAILED: "the output could not be written",
        output.CLOSED: "whoever read the output has gone",
    }
    assert (
        names.items()
        <= {int(status): said for status, said in outcome.EXIT_STATUSES.items() if "," not in status}.items()
    )
    assert output.CLOSED == 128 + signal.SIGPIPE
    readme = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")
    for status, said in outcome.EXIT_STATUSES.items():
        assert f"| {status} | {said} |" in readme


@pytest.mark.parametrize("code", NO_ANSWER, ids=Code.Name)
def test_no_answer_to_a_change_tells_how_to_repeat_it(code: int) -> None:
    """Its outcome is open, and only the same request_id resolves it (guarantee 7)."""
    assert f"--request-id {ID}" in errors.sentence(failed(Status(code=code), CANCELLING))


def test_a_status_is_the_one_sent_in_the_details_or_made_of_the_code() -> None:
    """grpc-status-details-bin where it agrees with the status, else code and text, or the code's name."""
    sent = contract_errors.product_not_found("lamp").status
    trailing = Metadata(("other-bin", b"\xff"), ("grpc-status-details-bin", sent.SerializeToString()))
    assert status_of(AioRpcError(StatusCode.NOT_FOUND, Metadata(), trailing, sent.message)) == sent
    plain = Status(code=Code.NOT_FOUND, message="text")
    for contradiction in (sent.SerializeToString(), b"\xff"):
        odd = Metadata(("grpc-status-details-bin", contradiction))
        assert status_of(AioRpcError(StatusCode.NOT_FOUND, Metadata(), odd, "text")) == plain
    for text in ("no route", None):
        bare = status_of(AioRpcError(StatusCode.UNAVAILABLE, Metadata(), Metadata(), text))
        assert bare == Status(code=Code.UNAVAILABLE, message=text or "UNAVAILABLE")


@given(st.integers(0, 10**12), st.integers(0, 999_999_999))
def test_money_is_exact_and_has_at_least_two_places(units: int, nanos: int) -> None:
    """More only where they count; thousands are set apart."""
    number, currency = tables.money(Money(currency_code="EUR", units=units, nanos=nanos)).split()
    assert (Decimal(number.replace(",", "")), currency) == (units + Decimal(nanos) / 10**9, "EUR")
    assert re.fullmatch(r"[\d,]+\.\d(\d|\d+[1-9])", number)


def test_states_and_times_are_written_for_people() -> None:
    """In a form of their own."""
    time = Timestamp(seconds=1_790_000_000, nanos=999)
    assert (tables.state(DELIVERED), tables.time(time)) == ("delivered", "2026-09-21 14:13:20")


def test_json_has_the_names_of_the_contract_and_writes_zeros(capsys: pytest.CaptureFixture[str]) -> None:
    """On one line, in ASCII; a field that is not there is left out."""
    output.document(as_json.to_dict(Order(customer_id="é", items=[OrderItem(product_id="lamp")], state=PAID)))
    (line,) = capsys.readouterr().out.splitlines()
    items = [{"product_id": "lamp", "quantity": 0}]
    expected = {"id": "", "customer_id": "é", "items": items, "state": "ORDER_STATE_PAID", "version": "0"}
    assert line.isascii() and json.loads(line) == expected


@pytest.mark.parametrize("name", ["A [bold] lamp", "A [/red] lamp", "A :warning: lamp"])
def test_what_others_wrote_is_no_markup(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """It is shown as it was written."""
    tables.show_products([Product(id="lamp", name=name)])
    assert name in capsys.readouterr().out


def test_what_others_wrote_does_not_reach_the_terminal_as_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """No escape sequences out of a product's name."""
    tables.show_products([Product(id="lamp", name="A \x1b[31m lamp")])
    assert "\x1b" not in capsys.readouterr().out

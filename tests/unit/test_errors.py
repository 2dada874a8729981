"""Errors: why a call is refused, and where a message breaks a rule."""

from collections.abc import Mapping
from typing import TypeVar

import pytest
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status
from google.type.money_pb2 import Money
from hypothesis import given
from hypothesis import strategies as st

from ordersys.api.error.v1 import error_reason_pb2
from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.api.order.v1.order_events_pb2 import Shortage
from ordersys.api.order.v1.order_pb2 import OrderItem, OrderState
from ordersys.api.order.v1.order_service_pb2 import BatchCreateOrdersRequest, CreateOrderRequest, ListOrdersRequest
from ordersys.api.product.v1.product_pb2 import Product
from ordersys.api.product.v1.product_service_pb2 import (
    CreateProductRequest,
    ItemQuantities,
    ItemQuantity,
    PlaceOrderRequest,
    UpdateOrderRequest,
)
from ordersys.contract import errors
from ordersys.contract.errors import Reason, StatusError, reason_of, status_error
from ordersys.contract.validation import FieldViolation, violations

STATED = error_reason_pb2.DESCRIPTOR.enum_types_by_name["ErrorReason"].values_by_number
REASONS = [reason for reason in ErrorReason.values() if reason != ErrorReason.ERROR_REASON_UNSPECIFIED]
RETRYABLE = {"OUTCOME_OPEN", "STORAGE_UNAVAILABLE", "TOO_MANY_CALLS", "BROKER_UNAVAILABLE", "REQUEST_INCOMPLETE"}
ID = "01890000-0000-7000-8000-000000000001"
PRICE = Money(currency_code="EUR", units=9)
D = TypeVar("D", bound=Message)


def details(refused: StatusError, kind: type[D]) -> list[D]:
    """The details of one type."""
    unpacked = []
    for packed in refused.status.details:
        detail = kind()
        if packed.Unpack(detail):
            unpacked.append(detail)
    return unpacked


def info(refused: StatusError) -> ErrorInfo:
    """The one ErrorInfo."""
    (info,) = details(refused, ErrorInfo)
    return info


@pytest.mark.parametrize("reason", REASONS, ids=ErrorReason.Name)
def test_every_reason_has_a_status_with_its_code_text_and_name(reason: Reason) -> None:
    """As the contract states them (AIP-193)."""
    stated = STATED[reason].GetOptions().Extensions[error_reason_pb2.refusal]
    refused = status_error(reason, colour="red", count=3)
    assert (refused.status.code, refused.status.message) == (stated.code, stated.message)
    assert refused.status.code != Code.OK
    assert str(refused) == stated.message
    assert (info(refused).domain, info(refused).reason) == ("ordersys", ErrorReason.Name(reason))
    assert dict(info(refused).metadata) == {"colour": "red", "count": "3"}
    assert reason_of(refused.status) == ErrorReason.Name(reason)


@pytest.mark.parametrize("reason", REASONS, ids=ErrorReason.Name)
def test_exactly_what_may_help_to_repeat_says_when(reason: Reason) -> None:
    """RetryInfo with a pause, and only there."""
    retries = details(status_error(reason), RetryInfo)
    assert len(retries) == (ErrorReason.Name(reason) in RETRYABLE)
    assert all(retry.retry_delay.ToTimedelta().total_seconds() > 0 for retry in retries)


NAMED: Mapping[str, tuple[StatusError, int, dict[str, str]]] = {
    "PRODUCT_NOT_FOUND": (errors.product_not_found("lamp"), Code.NOT_FOUND, {"product_id": "lamp"}),
    "PRODUCT_ALREADY_EXISTS": (errors.product_already_exists("lamp"), Code.ALREADY_EXISTS, {"product_id": "lamp"}),
    "ORDER_NOT_FOUND": (errors.order_not_found(ID), Code.NOT_FOUND, {"order_id": ID}),
    "ORDER_ALREADY_EXISTS": (errors.order_already_exists(ID), Code.ALREADY_EXISTS, {"order_id": ID}),
    "INVALID_REQUEST": (errors.invalid([]), Code.INVALID_ARGUMENT, {}),
    "OUT_OF_STOCK": (errors.out_of_stock([]), Code.FAILED_PRECONDITION, {}),
    "STATE_NOT_ALLOWED": (
        errors.state_not_allowed(ID, OrderState.ORDER_STATE_SHIPPED, OrderState.ORDER_STATE_PAID),
        Code.FAILED_PRECONDITION,
        {"order_id": ID, "from_state": "ORDER_STATE_SHIPPED", "to_state": "ORDER_STATE_PAID"},
    ),
    "VERSION_MISMATCH": (errors.version_mismatch(ID, 7), Code.ABORTED, {"order_id": ID, "current_version": "7"}),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_refusal_says_what_it_is_about(name: str) -> None:
    """Reason, code and metadata of each situation of the contract."""
    refused, code, metadata = NAMED[name]
    assert (info(refused).reason, refused.status.code, dict(info(refused).metadata)) == (name, code, metadata)


@pytest.mark.parametrize("name", [name for name in NAMED if name.startswith(("PRODUCT", "ORDER"))])
def test_what_is_not_there_or_taken_is_named_as_a_resource(name: str) -> None:
    """ResourceInfo with its type in the contract."""
    (resource,) = details(NAMED[name][0], ResourceInfo)
    kind, resource_name = ("product.v1.Product", "lamp") if name.startswith("PRODUCT") else ("order.v1.Order", ID)
    assert (resource.resource_type, resource.resource_name) == (f"ordersys.api.{kind}", resource_name)


@given(st.lists(st.tuples(st.from_regex("[a-z]{1,9}", fullmatch=True), st.integers(1, 1000), st.integers(0, 999))))
def test_each_shortage_is_named_with_what_was_asked_and_what_there_is(short: list[tuple[str, int, int]]) -> None:
    """A violation a product, in their order."""
    refused = errors.out_of_stock(Shortage(product_id=p, asked=a, available=n) for p, a, n in short)
    (failure,) = details(refused, PreconditionFailure)
    assert [(v.type, v.subject, v.description) for v in failure.violations] == [
        ("OUT_OF_STOCK", p, f"asked {a}, available {n}") for p, a, n in short
    ]


def test_each_broken_rule_is_named_with_its_field() -> None:
    """Path, rule and what it says."""
    refused = errors.invalid([FieldViolation("items[0].quantity", "int32.gte", "must be 1 or more")])
    (bad,) = details(refused, BadRequest)
    assert [(v.field, v.reason, v.description) for v in bad.field_violations] == [
        ("items[0].quantity", "int32.gte", "must be 1 or more")
    ]


def test_a_status_of_somebody_else_gives_no_reason() -> None:
    """Neither one without details nor one of another domain."""
    foreign = Status(code=Code.NOT_FOUND)
    assert reason_of(foreign) == ""
    foreign.details.add().Pack(ErrorInfo(reason="ORDER_NOT_FOUND", domain="example.com"))
    assert reason_of(foreign) == ""


def placing(*items: ItemQuantity, **fields: str) -> PlaceOrderRequest:
    """A request for an order."""
    return PlaceOrderRequest(items=items, **{"request_id": ID, "customer_id": "anna", **fields})


FINE = ItemQuantity(product_id="lamp", quantity=1)
NONE = ItemQuantity(product_id="chair")
WRONG = CreateOrderRequest(
    request_id=ID, order_id=ID, customer_id="anna", items=[OrderItem(product_id="lamp", quantity=1)]
)


@pytest.mark.parametrize(
    ("message", "paths"),
    [
        (placing(FINE), []),
        (placing(FINE, customer_id="Anna"), ["customer_id"]),
        (placing(FINE, request_id="1", customer_id=""), ["request_id", "customer_id"]),
        (placing(), ["items"]),
        (placing(FINE, FINE), ["items"]),
        (placing(FINE, NONE), ["items[1].quantity"]),
        (
            placing(NONE, ItemQuantity(product_id="-")),
            ["items[0].quantity", "items[1].product_id", "items[1].quantity"],
        ),
        (
            UpdateOrderRequest(request_id=ID, order_id=ID, items=ItemQuantities(items=[NONE])),
            ["items.items[0].quantity"],
        ),
        (UpdateOrderRequest(request_id=ID, order_id=ID), ["change"]),
        (CreateProductRequest(request_id=ID), ["product"]),
        (CreateProductRequest(request_id=ID, product=Product(id="a", name="A")), ["product.unit_price"]),
        (BatchCreateOrdersRequest(requests=[WRONG]), ["requests[0].items[0].unit_price"]),
        (ListOrdersRequest(state=9), ["state"]),  # type: ignore[arg-type]
    ],
)
def test_a_broken_rule_is_found_at_its_path(message: Message, paths: list[str]) -> None:
    """However deep the field is, and whichever of many; the rule and what it says stand beside."""
    broken = violations(message)
    assert [violation.field for violation in broken] == paths
    assert all(violation.rule and violation.description for violation in broken)


def test_the_refusal_of_an_invalid_request_is_made_of_what_was_found() -> None:
    """From message to details in one step."""
    (bad,) = details(errors.invalid(violations(placing(FINE, FINE))), BadRequest)
    (violation,) = bad.field_violations
    assert (violation.field, violation.reason) == ("items", "repeated.unique_products")
    assert violation.description == "each product may stand only once; add up the quantities"

"""A refusal as a client reads it: its reason and details, without the text. Pure."""

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from google.rpc.error_details_pb2 import ErrorInfo, PreconditionFailure, ResourceInfo, RetryInfo

from ordersys.api.order.v1.order_events_pb2 import Shortage
from ordersys.api.order.v1.order_pb2 import OrderState
from tests.contract.harness.client import Answer
from tools.documents.error_reasons import reasons

State: TypeAlias = "OrderState.ValueType"
_STATED = reasons()
RETRYABLE = frozenset(name for name, stated in _STATED.items() if stated.retryable)
"""The reasons after which the same request is sent again."""


class Refusal(NamedTuple):
    """A refusal: its reason, the metadata, the resource it names, and each product there is too little of, in order."""

    reason: str
    metadata: frozenset[tuple[str, str]] = frozenset()
    resource: str = ""
    short: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """For people: `VERSION_MISMATCH (current_version 3, order_id …)`."""
        details = [f"{name} {value}" for name, value in (*sorted(self.metadata), *self.short)]
        return f"{self.reason} ({', '.join(details)})" if details else self.reason


def refusal_in(answer: Answer) -> Refusal:
    """The refusal an answer is. Fails where code, domain or RetryInfo are not those of the reason."""
    reason = answer.reason
    assert reason in _STATED, f"no reason of the contract: {answer}"
    stated = _STATED[reason]
    assert answer.code.name == stated.code, f"{reason} comes with {answer.code.name}"
    error = answer.detail(ErrorInfo())
    retry = RetryInfo()
    delays = [retry.retry_delay.ToNanoseconds() for detail in answer.status.details if detail.Unpack(retry)]
    assert len(delays) == stated.retryable, f"{reason} has RetryInfo {len(delays)} times"
    assert all(delay > 0 for delay in delays)
    return Refusal(reason, frozenset(error.metadata.items()), _resource(answer), _short(answer))


def out_of_stock(shortages: Iterable[Shortage]) -> Refusal:
    """There is too little of these products."""
    return Refusal(
        "OUT_OF_STOCK", short=tuple((s.product_id, f"asked {s.asked}, available {s.available}") for s in shortages)
    )


def unknown_product(product_id: str) -> Refusal:
    """There is no such product."""
    return Refusal("PRODUCT_NOT_FOUND", frozenset({("product_id", product_id)}), product_id)


def taken_product(product_id: str) -> Refusal:
    """There is a product of that id."""
    return Refusal("PRODUCT_ALREADY_EXISTS", frozenset({("product_id", product_id)}), product_id)


def unknown_order(order_id: str) -> Refusal:
    """There is no such order."""
    return Refusal("ORDER_NOT_FOUND", frozenset({("order_id", order_id)}), order_id)


def taken_order(order_id: str) -> Refusal:
    """There is an order of that id."""
    return Refusal("ORDER_ALREADY_EXISTS", frozenset({("order_id", order_id)}), order_id)


def stale(order_id: str, current: int) -> Refusal:
    """The order is at another version."""
    return Refusal("VERSION_MISMATCH", frozenset({("order_id", order_id), ("current_version", str(current))}))


def forbidden(order_id: str, before: State, after: State) -> Refusal:
    """The order's state does not allow it."""
    states = {("from_state", OrderState.Name(before)), ("to_state", OrderState.Name(after))}
    return Refusal("STATE_NOT_ALLOWED", frozenset({("order_id", order_id), *states}))


def reused(request_id: str) -> Refusal:
    """The request_id belongs to another request."""
    return Refusal("REQUEST_ID_REUSED", frozenset({("request_id", request_id)}))


def _resource(answer: Answer) -> str:
    resource = ResourceInfo()
    return "".join(str(resource.resource_name) for detail in answer.status.details if detail.Unpack(resource))


def _short(answer: Answer) -> tuple[tuple[str, str], ...]:
    failure = PreconditionFailure()
    violations = [v for detail in answer.status.details if detail.Unpack(failure) for v in failure.violations]
    assert all(violation.type == "OUT_OF_STOCK" for violation in violations)
    return tuple((violation.subject, violation.description) for violation in violations)

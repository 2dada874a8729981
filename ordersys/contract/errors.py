"""Refusals of calls: a reason of the contract -> google.rpc.Status with its details (AIP-193).

The code and the text of a reason stand in proto/ordersys/api/error/v1; values that vary go into the details.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    PreconditionFailure,
    ResourceInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status

from ordersys.api.error.v1.error_reason_pb2 import DESCRIPTOR as ERROR_FILE
from ordersys.api.error.v1.error_reason_pb2 import ErrorReason, domain, refusal
from ordersys.api.order.v1.order_events_pb2 import Shortage
from ordersys.api.order.v1.order_pb2 import OrderState
from ordersys.contract.validation import FieldViolation

R = TypeVar("R")
T = TypeVar("T")
Reason: TypeAlias = "ErrorReason.ValueType"
_REASONS = ERROR_FILE.enum_types_by_name["ErrorReason"]
DOMAIN: str = _REASONS.GetOptions().Extensions[domain]
# In RetryInfo. Short, as clients back off by themselves: what is retryable (a locked database, too many calls, a broker
# that elects a leader) is usually over within a second.
RETRY_SECONDS = 1
# Bytes of violations. Details travel in Base64 (4/3) as metadata, of which a gRPC client takes 8 KiB by default.
_MAX_VIOLATION_BYTES = 5000


class StatusError(Exception):
    """A call is refused. `status` is a google.rpc.Status that is safe to send to the client."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.message)
        self.status = status


def status_error(reason: Reason, *details: Message, **metadata: str | int) -> StatusError:
    """The refusal of the contract for `reason`, with ErrorInfo, RetryInfo where it may be repeated, and `details`."""
    option = _REASONS.values_by_number[reason].GetOptions().Extensions[refusal]
    status = Status(code=option.code, message=option.message)
    retry = [RetryInfo(retry_delay=Duration(seconds=RETRY_SECONDS))] if option.retryable else []
    for detail in (_error_info(reason, metadata), *retry, *details):
        status.details.add().Pack(detail)
    return StatusError(status)


def result_or_error(decide: Callable[[T], R], item: T) -> R | StatusError:
    """The result of `decide(item)`, a refusal as a value: where many are decided together it is one's own result."""
    try:
        return decide(item)
    except StatusError as refused:
        return refused


def reason_of(status: Status) -> str:
    """The name of the reason in `status`; empty when there is none of this system."""
    for detail in status.details:
        error = ErrorInfo()
        if detail.Unpack(error) and error.domain == DOMAIN:
            return str(error.reason)
    return ""


def is_final(status: Status) -> bool:
    """True if the contract marks the reason in `status` as final: the request has had no effect and gets none.

    False for a status without a reason of this system: proxies and libraries answer with the same codes, and know
    nothing of the effect (docs/reliability.md, "an outage between the services").
    """
    reason = _REASONS.values_by_name.get(reason_of(status))
    return reason is not None and bool(reason.GetOptions().Extensions[refusal].final)


def invalid(violations: Iterable[FieldViolation]) -> StatusError:
    """INVALID_REQUEST with the path of each field; the first violations when not all fit into the metadata."""
    bad, left = BadRequest(), _MAX_VIOLATION_BYTES
    for v in violations:
        broken = BadRequest.FieldViolation(field=v.field, description=v.description, reason=v.rule)
        left -= broken.ByteSize()
        if left < 0:
            break
        bad.field_violations.append(broken)
    return status_error(ErrorReason.INVALID_REQUEST, bad)


def product_not_found(product_id: str) -> StatusError:
    """PRODUCT_NOT_FOUND."""
    return status_error(ErrorReason.PRODUCT_NOT_FOUND, _product(product_id), product_id=product_id)


def product_already_exists(product_id: str) -> StatusError:
    """PRODUCT_ALREADY_EXISTS."""
    return status_error(ErrorReason.PRODUCT_ALREADY_EXISTS, _product(product_id), product_id=product_id)


def order_not_found(order_id: str) -> StatusError:
    """ORDER_NOT_FOUND."""
    return status_error(ErrorReason.ORDER_NOT_FOUND, _order(order_id), order_id=order_id)


def order_already_exists(order_id: str) -> StatusError:
    """ORDER_ALREADY_EXISTS."""
    return status_error(ErrorReason.ORDER_ALREADY_EXISTS, _order(order_id), order_id=order_id)


def out_of_stock(shortages: Iterable[Shortage]) -> StatusError:
    """OUT_OF_STOCK, naming each product with what was asked and what is available."""
    broken = [
        PreconditionFailure.Violation(
            type="OUT_OF_STOCK", subject=s.product_id, description=f"asked {s.asked}, available {s.available}"
        )
        for s in shortages
    ]
    return status_error(ErrorReason.OUT_OF_STOCK, PreconditionFailure(violations=broken))


def state_not_allowed(
    order_id: str, from_state: "OrderState.ValueType", to_state: "OrderState.ValueType"
) -> StatusError:
    """STATE_NOT_ALLOWED with both states."""
    return status_error(
        ErrorReason.STATE_NOT_ALLOWED,
        order_id=order_id,
        from_state=OrderState.Name(from_state),
        to_state=OrderState.Name(to_state),
    )


def version_mismatch(order_id: str, current: int) -> StatusError:
    """VERSION_MISMATCH with the current version."""
    return status_error(ErrorReason.VERSION_MISMATCH, order_id=order_id, current_version=current)


def _error_info(reason: Reason, metadata: Mapping[str, str | int]) -> ErrorInfo:
    texts = {key: str(value) for key, value in metadata.items()}
    return ErrorInfo(reason=ErrorReason.Name(reason), domain=DOMAIN, metadata=texts)


def _product(product_id: str) -> ResourceInfo:
    return ResourceInfo(resource_type="ordersys.api.product.v1.Product", resource_name=product_id)


def _order(order_id: str) -> ResourceInfo:
    return ResourceInfo(resource_type="ordersys.api.order.v1.Order", resource_name=order_id)

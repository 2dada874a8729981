"""A failed call as one sentence with the way out, and as JSON for programs."""

from typing import Any

from google.protobuf.json_format import MessageToDict
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure
from google.rpc.status_pb2 import Status

from ordersys.api.product.v1.product_service_pb2 import UpdateOrderRequest
from ordersys.grpc_client.connection import Failed

DONE, REFUSED, WRONG_USE, NOT_REACHABLE = range(4)
_NO_ANSWER = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED)


def exit_status(failed: Failed) -> int:
    """1 when the system refused, 3 when it did not answer."""
    return NOT_REACHABLE if failed.status.code in _NO_ANSWER else REFUSED


def sentence(failed: Failed) -> str:
    """What went wrong, with what, and the way out."""
    info = error_info(failed.status)
    if not info.reason and failed.status.code in _NO_ANSWER:
        return _no_answer(failed)
    found = _WORDED.get(info.reason)
    return found(failed, info) if found else _plain(failed, info)


def as_json(failed: Failed) -> dict[str, Any]:
    """code, reason, message, metadata and details."""
    info = error_info(failed.status)
    return {
        "error": {
            "code": Code.Name(failed.status.code),
            "reason": info.reason,
            "message": sentence(failed),
            "metadata": dict(info.metadata),
            "details": [MessageToDict(detail, preserving_proto_field_name=True) for detail in failed.status.details],
        }
    }


def error_info(status: Status) -> ErrorInfo:
    """The reason and its metadata; empty when the status has none."""
    return _detail(status, ErrorInfo())


def _detail(status: Status, found: Any) -> Any:
    for detail in status.details:
        if detail.Unpack(found):
            break
    return found


def _no_answer(failed: Failed) -> str:
    return (
        f"The {failed.peer.name} at {failed.peer.address} does not answer; start it with"
        f" `python -m ordersys.{failed.peer.module}`, or everything with `python -m ordersys.local`.{_way_out(failed)}"
    )


def _way_out(failed: Failed) -> str:
    """What is to be done about an answer that did not come."""
    if not (request_id := getattr(failed.request, "request_id", "")):
        return ""
    if "dead_letter_ids" in failed.request.DESCRIPTOR.fields_by_name:
        return " Repeat the command: what was done already is passed over."
    return f" Whether the request took effect is open: repeat it with --request-id {request_id}."


def _out_of_stock(failed: Failed, info: ErrorInfo) -> str:
    short = [f"{v.subject} ({v.description})" for v in _detail(failed.status, PreconditionFailure()).violations]
    return f"Not enough stock of {', '.join(short)}; ask for less, or restock first. Nothing was taken."


def _invalid(failed: Failed, info: ErrorInfo) -> str:
    broken = [f"{v.field}: {v.description}" for v in _detail(failed.status, BadRequest()).field_violations]
    return f"The request breaks the contract: {'; '.join(broken)}."


def _outcome_open(failed: Failed, info: ErrorInfo) -> str:
    request_id = getattr(failed.request, "request_id", "")
    return (
        "The outcome is open, since another service did not answer in time; repeat the command with"
        f" --request-id {request_id} to learn it."
    )


def _not_allowed(failed: Failed, info: ErrorInfo) -> str:
    states = [info.metadata[key].removeprefix("ORDER_STATE_").lower() for key in ("from_state", "to_state")]
    if isinstance(failed.request, UpdateOrderRequest) and failed.request.HasField("items"):
        return f"The items of an order may change only while it is placed; this one is {states[0]}."
    return f"An order that is {states[0]} can't become {states[1]}."


def _mismatch(failed: Failed, info: ErrorInfo) -> str:
    return f"The order is at version {info.metadata['current_version']} by now; look at it again and decide anew."


def _plain(failed: Failed, info: ErrorInfo) -> str:
    about = ", ".join(f"{key} {value}" for key, value in sorted(info.metadata.items()))
    return f"{failed.status.message}{f' ({about})' if about else ''}"


_WORDED = {
    "OUT_OF_STOCK": _out_of_stock,
    "INVALID_REQUEST": _invalid,
    "OUTCOME_OPEN": _outcome_open,
    "STATE_NOT_ALLOWED": _not_allowed,
    "VERSION_MISMATCH": _mismatch,
}

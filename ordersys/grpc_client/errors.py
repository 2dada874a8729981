"""A failed call as one sentence with the way out, and as JSON for programs."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure
from google.rpc.status_pb2 import Status

from ordersys.api.product.v1.product_service_pb2 import UpdateOrderRequest
from ordersys.grpc_client import as_json
from ordersys.grpc_client.connection import Failed
from ordersys.grpc_client.outcome import NOT_REACHABLE, REFUSED, error

D = TypeVar("D", bound=Message)
# In gRPC's texts of UNAVAILABLE (ssl_transport_security.cc); nothing else tells these faults from each other.
_TLS = {
    "CERTIFICATE_VERIFY_FAILED": "has a certificate that ORDERSYS_CA_FILE does not vouch for, or an expired one.",
    "Hostname Verification": "has a certificate of another service; name the right address.",
    "WRONG_VERSION_NUMBER": "does not encrypt; leave out ORDERSYS_CA_FILE, if that is meant.",
    "Socket closed": "closed the connection: it may have just ended, or want encryption; name the folder of"
    " `ordersys.local` with --data-dir, or ORDERSYS_CA_FILE and ORDERSYS_TOKEN_FILE.",
}
_TOO_LARGE = "metadata size exceeds"  # in gRPC's text of RESOURCE_EXHAUSTED
_NAMED = "The file of a token is named with ORDERSYS_TOKEN_FILE"
_OPERATORS = "that of the operator is taken from the folder of `ordersys.local`"
_WHOSE = "`python -m ordersys.identity show FILE` says whose one is, and until when"
_NO_ANSWER = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED)


def exit_status(failed: Failed) -> int:
    """1 when the system refused, 3 when it did not answer."""
    return NOT_REACHABLE if failed.status.code in _NO_ANSWER else REFUSED


def sentence(failed: Failed) -> str:
    """The failure in one sentence: what failed, why, and the way out."""
    info = error_info(failed.status)
    if not info.reason and failed.status.code in _NO_ANSWER:
        return _no_answer(failed)
    if not info.reason and failed.status.code == Code.UNIMPLEMENTED:
        return f"At {failed.peer.address} is another service than the {failed.peer.name}; name the right address."
    if not info.reason and _TOO_LARGE in failed.status.message:
        return f"The {failed.peer.name} takes no metadata as large as your token is. {_NAMED}."
    worded = _WORDED.get(info.reason, _plain)
    return worded(failed, info)


def to_dict(failed: Failed) -> dict[str, object]:
    """code, reason, message, metadata and details."""
    info = error_info(failed.status)
    details = [as_json.to_dict(detail) for detail in failed.status.details]
    return error(_code(failed.status), info.reason, sentence(failed), dict(info.metadata), details)


def error_info(status: Status) -> ErrorInfo:
    """The reason and its metadata; empty when the status has none."""
    return _detail(status, ErrorInfo())


def _code(status: Status) -> str:
    return Code.Name(status.code) if status.code in Code.values() else str(status.code)


def _detail(status: Status, empty: D) -> D:
    """The first detail of the type of `empty`, which is filled; left empty where there is none."""
    for detail in status.details:
        if detail.Unpack(empty):
            break
    return empty


def interrupted(requests: Sequence[Message]) -> str:
    """The text for somebody who interrupted these requests."""
    return f"Interrupted.{_way_out(requests[0]) if len(requests) == 1 else ''}"


def _no_answer(failed: Failed) -> str:
    where = f"The {failed.peer.name} at {failed.peer.address}"
    if failed.status.code == Code.DEADLINE_EXCEEDED:
        seconds = f"{failed.waited.seconds:g}"
        said = f"{where} has not answered within {seconds} s; --timeout gives it longer, its log may say more."
    elif failed.status.code == Code.CANCELLED:
        said = f"{where} ended the call: it is shutting down, or was told to."
    elif reason := _distrust(failed.status.message):
        said = f"{where} {reason}"
    else:
        said = (
            f"{where} does not answer; start it with `python -m ordersys.{failed.peer.module}`,"
            " or everything with `python -m ordersys.local`."
        )
    earlier = failed.waited.before
    before = f" Before, it said: {earlier.message}" if earlier is not None else ""
    return f"{said}{before}{_way_out(failed.request, failed.again)}"


def _distrust(details: str) -> str:
    """The reason why no encrypted connection came about, as gRPC says it; empty where that was not it."""
    return next((said for word, said in _TLS.items() if word in details), "")


def _way_out(request: Message, again: str = "") -> str:
    """The way out where an answer did not come."""
    if not (request_id := _request_id(request)):
        return ""
    if again:
        return f" Whether the request took effect is open: {again}."
    if "dead_letter_ids" in request.DESCRIPTOR.fields_by_name:
        return " Repeat the command: what was done already is passed over."
    return f" Whether the request took effect is open: repeat it with --request-id {request_id}."


def _request_id(request: Message) -> str:
    return str(getattr(request, "request_id", ""))


def _out_of_stock(failed: Failed, info: ErrorInfo) -> str:
    short = [f"{v.subject} ({v.description})" for v in _detail(failed.status, PreconditionFailure()).violations]
    return f"Not enough stock of {', '.join(short)}; ask for less, or restock first. Nothing was taken."


def _invalid(failed: Failed, info: ErrorInfo) -> str:
    broken = [f"{v.field}: {v.description}" for v in _detail(failed.status, BadRequest()).field_violations]
    return f"The request breaks the contract: {'; '.join(broken)}."


def _outcome_open(failed: Failed, info: ErrorInfo) -> str:
    again = failed.again or f"repeat the command with --request-id {_request_id(failed.request)}"
    return f"The outcome is open, since another service did not answer in time; to learn it, {again}."


def _no_broker(failed: Failed, info: ErrorInfo) -> str:
    again = _way_out(failed.request, failed.again) or " Repeat the command later."
    return f"The {failed.peer.name} can't reach its message broker for the moment; its log says why.{again}"


def _not_allowed(failed: Failed, info: ErrorInfo) -> str:
    states = [info.metadata[key].removeprefix("ORDER_STATE_").lower() for key in ("from_state", "to_state")]
    if isinstance(failed.request, UpdateOrderRequest) and failed.request.HasField("items"):
        return f"The items of an order may change only while it is placed; this one is {states[0]}."
    return f"An order that is {states[0]} can't become {states[1]}."


def _mismatch(failed: Failed, info: ErrorInfo) -> str:
    return f"The order is at version {info.metadata['current_version']} by now; look at it again and decide anew."


def _no_product(failed: Failed, info: ErrorInfo) -> str:
    return f"There is no product {info.metadata['product_id']}; `products` lists those there are.{failed.hint}"


def _no_order(failed: Failed, info: ErrorInfo) -> str:
    return f"There is no order {info.metadata['order_id']}; `orders` lists those there are."


def _not_known(failed: Failed, info: ErrorInfo) -> str:
    return f"{failed.status.message}{_known_by(failed)} {_NAMED}; {_WHOSE}."


def _known_by(failed: Failed) -> str:
    return f" You have shown {failed.known_by}." if failed.known_by else ""


def _not_his(failed: Failed, info: ErrorInfo) -> str:
    if info.metadata.get("field") == "customer_id":
        return f"{failed.status.message}{_known_by(failed)} Order for yourself: --customer with the name in your token."
    return f"{failed.status.message}{_known_by(failed)} {_NAMED}; without it {_OPERATORS}. {_WHOSE}."


def _plain(failed: Failed, info: ErrorInfo) -> str:
    about = ", ".join(f"{key} {value}" for key, value in sorted(info.metadata.items()))
    return f"{failed.status.message}{f' ({about})' if about else ''}"


_WORDED: Mapping[str, Callable[[Failed, ErrorInfo], str]] = {
    "CREDENTIALS_MISSING": _not_known,
    "CREDENTIALS_INVALID": _not_known,
    "NOT_PERMITTED": _not_his,
    "OUT_OF_STOCK": _out_of_stock,
    "PRODUCT_NOT_FOUND": _no_product,
    "ORDER_NOT_FOUND": _no_order,
    "INVALID_REQUEST": _invalid,
    "OUTCOME_OPEN": _outcome_open,
    "BROKER_UNAVAILABLE": _no_broker,
    "STATE_NOT_ALLOWED": _not_allowed,
    "VERSION_MISMATCH": _mismatch,
}

"""Errors as statuses of the contract, and statuses as other services send them (google.rpc.Status, AIP-193).

No client learns of a path, a class or a cause.
"""

from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.errors import status_error
from ordersys.runtime.storage.errors import CommitUnknown, StorageUnavailable


def foreseen(error: Exception) -> Exception:
    """The refusal of the contract for an error below the RPCs that it has a reason for; any other error as it is."""
    if isinstance(error, CommitUnknown):
        return status_error(ErrorReason.OUTCOME_OPEN)
    return status_error(ErrorReason.STORAGE_UNAVAILABLE) if isinstance(error, StorageUnavailable) else error


def status_of(error: grpc.aio.AioRpcError) -> Status:
    """The status of a failed call, with its details where they agree with its code and message.

    Details that can't be read, or contradict them, were rewritten on the way: nobody vouches for what they say.
    """
    try:
        # It asks for what a finished call and its error both have; the stubs know only the call.
        status = rpc_status.from_call(cast(grpc.Call, error))
    except (DecodeError, ValueError):
        status = None
    return Status(code=error.code().value[0], message=error.details() or "") if status is None else status

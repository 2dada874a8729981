"""Errors of the runtime as statuses of the contract: no client learns of a path, a class or a cause."""

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.errors import refuse
from ordersys.runtime.storage.errors import StorageUnavailable


def foreseen(error: Exception) -> Exception:
    """The refusal of the contract for an error below the RPCs that it has a reason for; any other error as it is."""
    return refuse(ErrorReason.STORAGE_UNAVAILABLE) if isinstance(error, StorageUnavailable) else error

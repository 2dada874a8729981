"""The error reasons as the contract states them: proto/ordersys/api/error/v1."""

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.descriptor import EnumDescriptor
from google.rpc.code_pb2 import Code

from ordersys.api.error.v1.error_reason_pb2 import domain, refusal
from ordersys.contract import descriptors
from ordersys.contract.descriptors import Files


@dataclass(frozen=True, slots=True)
class Stated:
    """The options of a reason: domain, canonical code by name, text, whether to repeat, whether it had no effect."""

    domain: str
    code: str
    message: str
    retryable: bool
    final: bool


def reasons(of: Files | None = None) -> dict[str, Stated]:
    """Every reason of the contract by name: of this one, or of the files named."""
    enums = [enum for file in of or descriptors.files() for enum in file.enum_types_by_name.values()]
    return {name: reason for enum in enums for name, reason in _stated(enum).items()}


def _stated(enum: EnumDescriptor) -> Mapping[str, Stated]:
    options = {value.name: value.GetOptions() for value in enum.values}
    refusals = {name: option.Extensions[refusal] for name, option in options.items() if option.HasExtension(refusal)}
    of_all = enum.GetOptions().Extensions[domain]
    return {n: Stated(of_all, Code.Name(r.code), r.message, r.retryable, r.final) for n, r in refusals.items()}

"""The rules of the contract, held against what was typed before anything is sent."""

from collections.abc import Mapping
from typing import NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from buf.validate import validate_pb2
from ordersys.api.product.v1 import product_service_pb2
from ordersys.console.parser import UsageError
from ordersys.contract.validation import violations

_INT32, _INT64 = 2**31 - 1, 2**63 - 1


class Range(NamedTuple):
    """The whole numbers a rule allows: from the least to the largest, without those that are excluded."""

    least: int
    most: int
    excluded: list[int]


def allowed(message: str, field: str) -> Range:
    """The numbers for a field of a message of the Product Service."""
    return _range(product_service_pb2.DESCRIPTOR.message_types_by_name[message].fields_by_name[field])


def most(field: FieldDescriptor) -> int:
    """The largest number the rules of the contract allow for `field`."""
    return _range(field).most


def check(request: Message, names: Mapping[str, str]) -> None:
    """Raises UsageError when `request` breaks a rule of the contract; `names` says how its fields are typed."""
    for broken in violations(request):
        raise UsageError(f"{names.get(broken.field, broken.field)}: {broken.description}")


def _range(field: FieldDescriptor) -> Range:
    rules = field.GetOptions().Extensions[validate_pb2.field]
    kind, size = (rules.int64, _INT64) if rules.HasField("int64") else (rules.int32, _INT32)
    least, largest = (kind.gte if kind.HasField("gte") else -size), (kind.lte if kind.HasField("lte") else size)
    return Range(least, largest, list(kind.not_in))

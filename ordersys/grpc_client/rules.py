"""The rules of the contract, held against what was typed before anything is sent."""

import argparse
from collections.abc import Mapping

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from buf.validate import validate_pb2
from ordersys.api.product.v1 import product_service_pb2
from ordersys.console.parser import UsageError
from ordersys.contract.validation import violations
from ordersys.grpc_client.arguments import quoted, whole

_INT32, _INT64 = 2**31 - 1, 2**63 - 1


def number(message: str, field: str, text: str) -> int:
    """A whole number fit for a field of a message of the Product Service. Raises ArgumentTypeError."""
    least, most, excluded = _range(product_service_pb2.DESCRIPTOR.message_types_by_name[message].fields_by_name[field])
    value = whole(text)
    if value is None or not least <= value <= most or value in excluded:
        but = f", and not {', '.join(map(str, excluded))}" if excluded else ""
        raise argparse.ArgumentTypeError(f"{quoted(text)} must be a whole number from {least:,} to {most:,}{but}")
    return value


def most(field: FieldDescriptor) -> int:
    """The largest number the rules of the contract allow for `field`."""
    return _range(field)[1]


def check(request: Message, names: Mapping[str, str]) -> None:
    """Raises UsageError when `request` breaks a rule of the contract; `names` says how its fields are typed."""
    for broken in violations(request):
        raise UsageError(f"{names.get(broken.field, broken.field)}: {broken.description}")


def _range(field: FieldDescriptor) -> tuple[int, int, list[int]]:
    """The least and the largest number, and those between them that are excluded."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    kind, size = (rules.int64, _INT64) if rules.HasField("int64") else (rules.int32, _INT32)
    return kind.gte if kind.HasField("gte") else -size, kind.lte if kind.HasField("lte") else size, list(kind.not_in)

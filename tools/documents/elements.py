"""The elements of the contract as its pages name them: names, anchors, types, rules, rights."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor, OneofDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from buf.validate.validate_pb2 import Ignore
from ordersys.api.auth.v1 import access_pb2
from ordersys.api.rules.v1 import rules_pb2
from ordersys.contract import access, descriptors, topology
from ordersys.contract.rules import rules_of

_OURS = "ordersys.api."
ROLES = [value.number for value in access_pb2.DESCRIPTOR.enum_types_by_name["Role"].values][1:]
"""The roles of callers, by number."""


def messages() -> list[Descriptor]:
    """Every message of the contract that can stand in a request, a response or an event."""
    reached = descriptors.reachable(topology.wire_messages())
    return [message for message in descriptors.messages() if message.full_name in reached]


def enums() -> list[EnumDescriptor]:
    """Every enum that is the type of a field of these messages."""
    used: list[Any] = [field.enum_type for message in messages() for field in message.fields if field.enum_type]
    return list(dict.fromkeys(used))


def is_own(element: Any) -> bool:
    """True for an element of the contract, False for one it imports."""
    return str(element.full_name).startswith(_OURS)


def short(element: Any) -> str:
    """order.v1.Order: the full name without what all have in common."""
    return str(element.full_name).removeprefix(_OURS)


def rpc_name(method: MethodDescriptor) -> str:
    """OrderService.CreateOrder."""
    return f"{method.containing_service.name}.{method.name}"


def anchor(heading: str) -> str:
    """The name by which a heading is linked to, as GitHub makes it of a name or of a few words."""
    return heading.replace(".", "").replace(" ", "-").lower()


def label(field: FieldDescriptor) -> str:
    """`repeated`, `optional` or nothing: how often a field may stand."""
    if field.is_repeated:
        return "repeated"
    alone = field.containing_oneof is not None and len(field.containing_oneof.fields) == 1
    return "optional" if alone else ""


def scalar(number: int) -> str:
    """TYPE_INT32 -> int32, as it stands in proto/."""
    return FieldDescriptorProto.Type.Name(FieldDescriptorProto.Type.ValueType(number)).removeprefix("TYPE_").lower()


def rules(element: Descriptor | FieldDescriptor) -> Mapping[str, Any]:
    """The rules of a message or a field by name, with their values as they stand in proto/."""
    return {name: Ignore.Name(value) if name == "ignore" else value for name, value in rules_of(element).items()}


def choices(message: Descriptor) -> Iterator[tuple[OneofDescriptor, bool]]:
    """The oneofs of several fields, and for each whether a member has to be set."""
    for oneof in message.oneofs:
        if len(oneof.fields) > 1:
            yield oneof, bool(rules_of(oneof).get("required"))


def predefined() -> Iterator[tuple[FieldDescriptor, str, str]]:
    """The rules that the contract adds, each with its id and its expression, empty where CEL can't express it."""
    for rule in descriptors.extensions((rules_pb2.DESCRIPTOR,)):
        for name, cel in list(rules_of(rule).items()) or [(rule.name, "")]:
            yield rule, name, cel


def role(number: int) -> str:
    """ROLE_CUSTOMER -> customer."""
    return str(access_pb2.Role.Name(access_pb2.Role.ValueType(number))).removeprefix("ROLE_").lower()


def services(rights: access.Access) -> list[str]:
    """The names of the services that may call what has these rights."""
    return [access.service_name(name) for name in sorted(rights.services)]


def setters(field: FieldDescriptor) -> list[str]:
    """The roles that alone may set a field; none where everybody may who may call."""
    return [role(number) for number in field.GetOptions().Extensions[access_pb2.setters].callers]


def fields(kinds: Iterable[Descriptor]) -> Iterator[FieldDescriptor]:
    """The fields of these messages."""
    return (field for kind in kinds for field in kind.fields)

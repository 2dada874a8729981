"""The contract with one change: a released one, or the next one."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet

from tests.compat.image import image

PRODUCT, ORDER, NOTIFICATION = "ordersys.api.product.v1", "ordersys.api.order.v1", "ordersys.api.notification.v1"


class Change(NamedTuple):
    """One thing changed: `new` in the descriptor of `name` for `old`, or at its end; and what is said of it."""

    name: str
    new: str
    finding: str = ""
    old: str = ""

    def made(self) -> FileDescriptorSet:
        """The contract with this change."""
        return contract_with(self.name, self.new, self.old)


def contract_with(name: str, new: str, old: str = "") -> FileDescriptorSet:
    """The contract with `new` in the descriptor of `name`, in text format: for the first `old`, or at its end."""
    changed = FileDescriptorSet()
    changed.CopyFrom(image())
    descriptor = dict(_descriptors(changed))[name]
    text = text_format.MessageToString(descriptor, as_one_line=True)
    assert old in text, f"{name} has no {old}: {text}"
    descriptor.Clear()
    text_format.Merge(text.replace(old, new, 1) if old else f"{text} {new}", descriptor)
    return changed


def _descriptors(of: FileDescriptorSet) -> Iterator[tuple[str, Any]]:
    for file in of.file:
        file.ClearField("source_code_info")
        yield file.name, file
        for name, descriptor in _parts(file):
            yield f"{file.package}.{name}", descriptor


def _parts(file: FileDescriptorProto) -> Iterator[tuple[str, Any]]:
    for message in file.message_type:
        yield message.name, message
        yield from ((f"{message.name}.{name}", part) for name, part in _members(message))
    for enum in file.enum_type:
        yield enum.name, enum
        yield from ((f"{enum.name}.{value.name}", value) for value in enum.value)
    for service in file.service:
        yield service.name, service
        yield from ((f"{service.name}.{method.name}", method) for method in service.method)
    yield from ((extension.name, extension) for extension in file.extension)


def _members(message: DescriptorProto) -> Iterator[tuple[str, Any]]:
    yield from ((field.name, field) for field in message.field)
    yield from ((oneof.name, oneof) for oneof in message.oneof_decl)

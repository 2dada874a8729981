"""The comments of the contract by name; a descriptor image has them by position."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet

from ordersys.contract.descriptors import is_own

Path = tuple[int, ...]
# Field numbers of descriptor.proto, of which a position is made (SourceCodeInfo.Location.path).
_MESSAGES, _ENUMS, _SERVICES, _EXTENSIONS = 4, 5, 6, 7
_FIELDS, _NESTED, _NESTED_ENUMS, _VALUES, _METHODS = 2, 3, 4, 2, 2
_SYNTAX = 12


class Described(NamedTuple):
    """An element of the contract, by full name, with its leading comment."""

    kind: str
    name: str
    comment: str


def described(image: FileDescriptorSet) -> Iterator[Described]:
    """The named elements of the contract's own files."""
    for file in (file for file in image.file if is_own(file.name)):
        locations = file.source_code_info.location
        comments = {tuple(location.path): location.leading_comments.strip() for location in locations}
        yield Described("file", file.name, comments.get((_SYNTAX,), ""))
        for kind, name, path in _parts(file):
            yield Described(kind, name, comments.get(path, ""))


def comments(image: FileDescriptorSet) -> dict[str, str]:
    """The comment of each named element, by full name.

    A paragraph is one line, and so is each item of a list; an empty line separates two paragraphs.
    """
    return {element.name: _flowed(element.comment) for element in described(image)}


def _flowed(comment: str) -> str:
    paragraphs = comment.replace("\n ", "\n").split("\n\n")
    return "\n\n".join("\n".join(map(_in_one_line, re.split(r"\n(?=- )", paragraph))) for paragraph in paragraphs)


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def _parts(file: FileDescriptorProto) -> Iterator[tuple[str, str, Path]]:
    for index, message in enumerate(file.message_type):
        yield from _message(f"{file.package}.{message.name}", message, (_MESSAGES, index))
    for index, enum in enumerate(file.enum_type):
        yield from _enum(f"{file.package}.{enum.name}", enum, (_ENUMS, index))
    for index, extension in enumerate(file.extension):
        yield "option", f"{file.package}.{extension.name}", (_EXTENSIONS, index)
    for index, service in enumerate(file.service):
        name, path = f"{file.package}.{service.name}", (_SERVICES, index)
        yield "service", name, path
        for number, method in enumerate(service.method):
            yield "rpc", f"{name}.{method.name}", (*path, _METHODS, number)


def _message(name: str, message: DescriptorProto, path: Path) -> Iterator[tuple[str, str, Path]]:
    yield "message", name, path
    for index, field in enumerate(message.field):
        yield "field", f"{name}.{field.name}", (*path, _FIELDS, index)
    for index, nested in enumerate(message.nested_type):
        yield from _message(f"{name}.{nested.name}", nested, (*path, _NESTED, index))
    for index, enum in enumerate(message.enum_type):
        yield from _enum(f"{name}.{enum.name}", enum, (*path, _NESTED_ENUMS, index))


def _enum(name: str, enum: EnumDescriptorProto, path: Path) -> Iterator[tuple[str, str, Path]]:
    yield "enum", name, path
    for index, value in enumerate(enum.value):
        yield "enum value", f"{name}.{value.name}", (*path, _VALUES, index)

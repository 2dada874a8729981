"""The facts a descriptor set states, as plain values that can be compared with those another parser states.

Files of protobuf itself are left out: parsers bring their own, of another version.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

Facts = dict[str, Any]
_PROTOBUF = "google/protobuf/"
_SCALARS: dict[int, str] = {
    number: name.removeprefix("TYPE_").lower() for name, number in FieldDescriptorProto.Type.items()
}


class Read:
    """A descriptor set, linked by itself: its options are those that it declares."""

    def __init__(self, image: bytes) -> None:
        self._set = FileDescriptorSet.FromString(image)
        self._pool = DescriptorPool()
        for file in self._set.file:
            self._pool.AddSerializedFile(file.SerializeToString())

    def facts(self) -> Facts:
        """All messages, enums, services and extensions, by full name."""
        files = self._files()
        messages = [message for file in files for message in _messages(file.message_types_by_name.values())]
        enums = [enum for file in files for enum in file.enum_types_by_name.values()]
        enums += [enum for message in messages for enum in message.enum_types]
        extensions = [extension for file in files for extension in file.extensions_by_name.values()]
        services = [service for file in files for service in file.services_by_name.values()]
        return {
            "messages": {
                message.full_name: {
                    "fields": {field.name: self._field(field) for field in message.fields},
                    "options": self._options(message.GetOptions()),
                }
                for message in messages
            },
            "enums": {enum.full_name: {value.name: value.number for value in enum.values} for enum in enums},
            "services": {
                service.full_name: {
                    "methods": {method.name: self._method(method) for method in service.methods},
                    "options": self._options(service.GetOptions()),
                }
                for service in services
            },
            "extensions": {
                extension.full_name: {
                    "number": extension.number,
                    "extends": _extended(extension),
                    "options": self._options(extension.GetOptions()),
                }
                for extension in extensions
            },
        }

    def message_class(self, name: str) -> type[Message]:
        """The class of a message of this set."""
        return GetMessageClass(self._pool.FindMessageTypeByName(name))

    def _files(self) -> Sequence[FileDescriptor]:
        names = [file.name for file in self._set.file if not file.name.startswith(_PROTOBUF)]
        return [self._pool.FindFileByName(name) for name in names]

    def _field(self, field: FieldDescriptor) -> Facts:
        is_map = _is_map(field)
        return {
            "number": field.number,
            "type": _type(field),
            "repeated": field.is_repeated and not is_map,
            "oneof": _oneof(field),
            "options": self._options(field.GetOptions()),
        }

    def _method(self, method: MethodDescriptor) -> Facts:
        return {
            "takes": method.input_type.full_name,
            "answers": method.output_type.full_name,
            "streams": [method.client_streaming, method.server_streaming],
            "options": self._options(method.GetOptions()),
        }

    def _options(self, options: Message) -> list[str]:
        """The values of options that are extensions, each by its path: `(buf.validate.field).string.uuid=true`."""
        own = self.message_class(options.DESCRIPTOR.full_name).FromString(options.SerializeToString())
        says = MessageToDict(own, preserving_proto_field_name=True, descriptor_pool=self._pool)
        return sorted(line for key, value in says.items() if key.startswith("[") for line in _leaves(value, key))


def _leaves(value: Any, path: str) -> Iterator[str]:
    path = path.replace("[", "(").replace("]", ")")
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, f"{path}.{key}")
    elif isinstance(value, list):
        for each in value:
            yield from _leaves(each, path)
    else:
        yield f"{path}={str(value).lower() if isinstance(value, bool) else value}"


def _messages(messages: Any) -> Iterator[Descriptor]:
    for message in messages:
        if not message.GetOptions().map_entry:
            yield message
            yield from _messages(message.nested_types)


def _extended(extension: FieldDescriptor) -> str:
    return extension.containing_type.full_name if extension.containing_type else ""


def _is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _oneof(field: FieldDescriptor) -> str:
    """The name of the oneof a field is in, but for the one that protoc makes of `optional`."""
    oneof = field.containing_oneof
    return oneof.name if oneof and oneof.name != f"_{field.name}" else ""


def _type(field: FieldDescriptor) -> str:
    if field.message_type and _is_map(field):
        entry = field.message_type.fields_by_name
        return f"map<{_type(entry['key'])},{_type(entry['value'])}>"
    named = field.message_type or field.enum_type
    return named.full_name if named else _SCALARS[field.type]


def without_protobuf(facts: Facts) -> Facts:
    """The facts a parser states, without those of protobuf's own files."""
    return {
        part: {name: each for name, each in things.items() if not name.startswith("google.protobuf.")}
        for part, things in facts.items()
    }


def by_short_names(facts: Facts) -> Facts:
    """The facts that @grpc/proto-loader exposes: no options and no oneofs, types by the last part of their name."""
    return {
        "messages": {
            name: {"fields": {field: _short_field(each) for field, each in message["fields"].items()}}
            for name, message in facts["messages"].items()
        },
        "enums": facts["enums"],
        "services": {
            name: {
                "methods": {method: _short_method(name, method, each) for method, each in service["methods"].items()}
            }
            for name, service in facts["services"].items()
        },
    }


def _short_field(field: Facts) -> Facts:
    return {"number": field["number"], "type": _short(field["type"]), "repeated": field["repeated"]}


def _short_method(service: str, name: str, method: Facts) -> Facts:
    types = {part: _short(method[part]) for part in ("takes", "answers")}
    return {**types, "path": f"/{service}/{name}", "streams": method["streams"]}


def _short(name: str) -> str:
    return re.sub(r"[\w.]+\.(?=\w)", "", name)


def differences(expected: Any, found: Any, path: str = "") -> list[str]:
    """Places where facts differ, a line for each."""
    if not (isinstance(expected, dict) and isinstance(found, dict)):
        return [] if expected == found else [f"{path}: {expected} is read as {found}"]
    missing = [f"{path}/{name} is missing" for name in expected.keys() - found.keys()]
    more = [f"{path}/{name} is not in the contract" for name in found.keys() - expected.keys()]
    inside = [differences(expected[name], found[name], f"{path}/{name}") for name in expected.keys() & found.keys()]
    return sorted([*missing, *more, *(line for lines in inside for line in lines)])

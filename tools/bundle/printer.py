"""Prints a .proto file from its descriptor: for imports that installed packages have as descriptors only.

Written so that every parser reads it: type names are absolute, and an option is one statement for each value, with no
extension inside braces. Comments are lost. A descriptor that can't be written so is refused.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, takewhile
from typing import Any

from google.protobuf import descriptor_pb2, unknown_fields
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_LABELS = {
    FieldDescriptorProto.LABEL_OPTIONAL: "optional ",
    FieldDescriptorProto.LABEL_REQUIRED: "required ",
    FieldDescriptorProto.LABEL_REPEATED: "repeated ",
}
_NAMED = (FieldDescriptorProto.TYPE_MESSAGE, FieldDescriptorProto.TYPE_ENUM)
_LAST_NUMBER = 536_870_911  # of a field: 2^29 - 1, written as `max`
_LAST_VALUE = 2**31 - 1  # of an enum, likewise
_INDENT = "  "


def printed(file: FileDescriptorProto, imports: Iterable[FileDescriptorProto]) -> str:
    """The text of a file that protoc makes this descriptor of, source information aside.

    `imports` are the files it imports, each after those that it imports itself. Raises ValueError for editions, groups,
    weak imports, unknown options, and extensions inside a list of messages.
    """
    syntax = file.syntax or "proto2"
    if syntax not in ("proto2", "proto3") or file.weak_dependency:
        raise ValueError(f"{file.name}: an edition, or a weak import")
    lines = [f'syntax = "{syntax}";']
    if file.package:
        lines += ["", f"package {file.package};"]
    public = {file.dependency[index] for index in file.public_dependency}
    names = [f'import {"public " if name in public else ""}"{name}";' for name in file.dependency]
    printer = _Printer(_pool([*imports, file]), proto3=syntax == "proto3")
    lines += _section(names) + _section(printer.statements(file.options))
    lines += printer.extensions(file.extension)
    for enum in file.enum_type:
        lines += ["", *printer.enum(enum)]
    for message in file.message_type:
        lines += ["", *printer.message(message)]
    for service in file.service:
        lines += ["", *printer.service(service)]
    return "\n".join(lines) + "\n"


class _Printer:
    """Prints what a file declares, whose options are those that `pool` knows."""

    def __init__(self, pool: DescriptorPool, *, proto3: bool) -> None:
        self._pool = pool
        self._proto3 = proto3

    def message(self, message: DescriptorProto) -> list[str]:
        """A message with all that is declared inside."""
        lines = self.statements(message.options)
        for enum in message.enum_type:
            lines += self.enum(enum)
        lines += self._fields(message)
        for span in message.extension_range:
            head = f"extensions {_span(span.start, span.end - 1, _LAST_NUMBER)}"
            lines += _statement(head, self._options(span.options))
        lines += self.extensions(message.extension)
        reserved = [_span(span.start, span.end - 1, _LAST_NUMBER) for span in message.reserved_range]
        return _block(f"message {message.name}", lines + _reserved(reserved, message.reserved_name))

    def extensions(self, fields: Iterable[FieldDescriptorProto]) -> list[str]:
        """Blocks of extensions, one for each run of fields that extend the same message."""
        lines: list[str] = []
        for extendee, members in groupby(fields, key=lambda field: field.extendee):
            inside = [line for field in members for line in self._field(field, self._label(field))]
            lines += ["", *_block(f"extend {extendee}", inside)]
        return lines

    def enum(self, enum: EnumDescriptorProto) -> list[str]:
        """An enum."""
        lines = self.statements(enum.options)
        for value in enum.value:
            lines += _statement(f"{value.name} = {value.number}", self._options(value.options))
        reserved = [_span(span.start, span.end, _LAST_VALUE) for span in enum.reserved_range]
        return _block(f"enum {enum.name}", lines + _reserved(reserved, enum.reserved_name))

    def service(self, service: ServiceDescriptorProto) -> list[str]:
        """A service."""
        lines = self.statements(service.options)
        for method in service.method:
            lines += self._method(method)
        return _block(f"service {service.name}", lines)

    def statements(self, options: Message) -> list[str]:
        """The options of what has a block of its own."""
        return [f"option {text};" for text in self._options(options)]

    def _fields(self, message: DescriptorProto) -> list[str]:
        """The fields, and among them the messages declared inside: before the map before whose entry they stand."""
        nested = iter(message.nested_type)
        lines = self._until_entry(nested)
        for index, members in groupby(message.field, key=_oneof):
            if index is None:
                for field in members:
                    entry = _entry(message, field)
                    lines += self._map(field, entry) if entry else self._field(field, self._label(field))
                    lines += self._until_entry(nested) if entry else []
            else:
                oneof = message.oneof_decl[index]
                inside = [line for field in members for line in self._field(field, "")]
                lines += _block(f"oneof {oneof.name}", self.statements(oneof.options) + inside)
        return lines

    def _until_entry(self, nested: Iterator[DescriptorProto]) -> list[str]:
        """The next messages that are no entries of a map; takes the entry behind them as well."""
        messages = takewhile(lambda message: not message.options.map_entry, nested)
        return [line for message in messages for line in self.message(message)]

    def _label(self, field: FieldDescriptorProto) -> str:
        if self._proto3 and field.label == FieldDescriptorProto.LABEL_OPTIONAL:
            return "optional " if field.proto3_optional else ""
        return _LABELS[field.label]

    def _field(self, field: FieldDescriptorProto, label: str) -> list[str]:
        return _statement(f"{label}{_type(field)} {field.name} = {field.number}", self._field_options(field))

    def _map(self, field: FieldDescriptorProto, entry: DescriptorProto) -> list[str]:
        key, value = (_type(part) for part in entry.field)
        return _statement(f"map<{key}, {value}> {field.name} = {field.number}", self._field_options(field))

    def _field_options(self, field: FieldDescriptorProto) -> Iterator[str]:
        if field.json_name and not field.extendee and field.json_name != json_name(field.name):
            yield f"json_name = {_quoted(field.json_name)}"
        if field.HasField("default_value"):
            yield f"default = {_default(field)}"
        yield from self._options(field.options)

    def _method(self, method: MethodDescriptorProto) -> list[str]:
        asked = f"{'stream ' if method.client_streaming else ''}{method.input_type}"
        answered = f"{'stream ' if method.server_streaming else ''}{method.output_type}"
        head = f"rpc {method.name}({asked}) returns ({answered})"
        options = self.statements(method.options)
        return _block(head, options) if options else [f"{head};"]

    def _options(self, options: Message) -> Iterator[str]:
        """The options as the file's own imports explain them, not this program's."""
        descriptor = self._pool.FindMessageTypeByName(options.DESCRIPTOR.full_name)
        return _assignments(GetMessageClass(descriptor).FromString(options.SerializeToString()), "")


def _pool(files: Iterable[FileDescriptorProto]) -> DescriptorPool:
    """The files, and descriptor.proto, in which options are declared, whether or not one of them imports it."""
    options = FileDescriptorProto()
    descriptor_pb2.DESCRIPTOR.CopyToProto(options)
    pool = DescriptorPool()
    for file in {options.name: options, **{file.name: file for file in files}}.values():
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def _entry(message: DescriptorProto, field: FieldDescriptorProto) -> DescriptorProto | None:
    """The message that stands for an entry of a map, where the field is one."""
    name = field.type_name.rpartition(".")[2]
    return next((nested for nested in message.nested_type if nested.options.map_entry and nested.name == name), None)


def _oneof(field: FieldDescriptorProto) -> int | None:
    """The index of a oneof that is written as one."""
    return field.oneof_index if field.HasField("oneof_index") and not field.proto3_optional else None


def _type(field: FieldDescriptorProto) -> str:
    if field.type == FieldDescriptorProto.TYPE_GROUP:
        raise ValueError(f"{field.name}: a group")
    if field.type in _NAMED:
        return field.type_name
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _default(field: FieldDescriptorProto) -> str:
    if field.type == FieldDescriptorProto.TYPE_BYTES:
        return f'"{field.default_value}"'  # has its escapes already
    return _quoted(field.default_value) if field.type == FieldDescriptorProto.TYPE_STRING else field.default_value


def json_name(name: str) -> str:
    """The name of a field in JSON where the file states none: lowerCamelCase, as protoc makes it."""
    first, *others = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)


def _span(first: int, last: int, greatest: int) -> str:
    return str(first) if first == last else f"{first} to {'max' if last == greatest else last}"


def _reserved(spans: Sequence[str], names: Sequence[str]) -> list[str]:
    quoted = [_quoted(name) for name in names]
    return [f"reserved {', '.join(group)};" for group in (spans, quoted) if group]


def _assignments(options: Message, path: str) -> Iterator[str]:
    """An assignment for each value that is set; the path is that of the message they are in."""
    if len(unknown_fields.UnknownFieldSet(options)):
        raise ValueError(f"{options.DESCRIPTOR.full_name}: an option that is unknown here")
    for field, value in options.ListFields():
        name = f"({field.full_name})" if field.is_extension else field.name
        for each in value if field.is_repeated else [value]:
            if field.message_type and not field.is_repeated and each.ListFields():
                yield from _assignments(each, f"{path}{name}.")
            else:
                yield f"{path}{name} = {_value(field, each)}"


def _value(field: FieldDescriptor, value: Any) -> str:
    if field.message_type:
        return _aggregate(value)
    if field.enum_type:
        return str(field.enum_type.values_by_number[value].name)
    if isinstance(value, bool):
        return str(value).lower()
    if field.type == FieldDescriptor.TYPE_BYTES:  # parsers differ in the escapes they know
        raise ValueError(f"{field.full_name}: an option in bytes")
    return _quoted(value) if isinstance(value, str) else repr(value)


def _aggregate(message: Message) -> str:
    lines = []
    for field, value in message.ListFields():
        if field.is_extension:
            raise ValueError(f"{field.full_name}: an extension inside braces, which not every parser reads")
        head = f"{field.name}{'' if field.message_type else ':'}"
        lines += [f"{head} {_value(field, each)}" for each in (value if field.is_repeated else [value])]
    return "\n".join(["{", *_indented(lines), "}"])


def _quoted(text: str) -> str:
    # protobufjs 7 drops a quote behind a backslash: the other kind of quotes is put around, where that is possible.
    mark = "'" if '"' in text and "'" not in text else '"'
    escaped = text.replace("\\", "\\\\").replace(mark, f"\\{mark}").replace("\n", "\\n")
    if not escaped.isprintable():
        raise ValueError(f"{text!r}: a character that can't be printed")
    return f"{mark}{escaped}{mark}"


def _statement(head: str, options: Iterable[str]) -> list[str]:
    texts = list(options)
    if not texts:
        return [f"{head};"]
    if len(texts) == 1:
        return f"{head} [{texts[0]}];".split("\n")
    return [f"{head} [", *_indented(",\n".join(texts).split("\n")), "];"]


def _block(head: str, inside: Iterable[str]) -> list[str]:
    lines = [line for text in inside for line in text.split("\n")]
    return [f"{head} {{", *_indented(lines), "}"] if lines else [f"{head} {{}}"]


def _section(lines: list[str]) -> list[str]:
    return ["", *lines] if lines else []


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"{_INDENT}{line}" if line else "" for text in lines for line in text.split("\n")]

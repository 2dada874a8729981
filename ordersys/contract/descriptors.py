"""The descriptors of the contract: every file below proto/ by discovery, so that a new file needs no line here."""

from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from pkgutil import walk_packages
from typing import TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import ordersys.api

Files: TypeAlias = tuple[FileDescriptor, ...]
_OWN_FOLDER = "ordersys/"


@cache
def files() -> Files:
    """Every file of the contract, by name."""
    modules = walk_packages(ordersys.api.__path__, "ordersys.api.")
    names = sorted(module.name for module in modules if module.name.endswith("_pb2"))
    return tuple(import_module(name).DESCRIPTOR for name in names)


def link(image: FileDescriptorSet) -> Files:
    """The files of another version of the contract, from an image that holds them and their imports.

    They live beside those of `files`. Their options are parsed as this version declares them.
    """
    files()  # imports the stubs: an option whose extension was never imported is parsed as an unknown field
    pool = DescriptorPool()  # not the default one, which refuses another file of the same name
    for file in image.file:
        pool.Add(file)
    return tuple(pool.FindFileByName(name) for name in sorted(file.name for file in image.file if is_own(file.name)))


def is_own(file: str) -> bool:
    """True for a file of the contract, False for one that it imports."""
    return file.startswith(_OWN_FOLDER)


def messages(of: Files | None = None) -> Iterator[Descriptor]:
    """Every message of the contract: of this one, or of the files named."""
    for file in of or files():
        for message in file.message_types_by_name.values():
            yield from _nested(message)


def services(of: Files | None = None) -> Iterator[ServiceDescriptor]:
    """Every service of the contract, subscriptions among them: of this one, or of the files named."""
    return (service for file in of or files() for service in file.services_by_name.values())


def extensions(of: Files | None = None) -> Iterator[FieldDescriptor]:
    """Every option and rule the contract adds to descriptors: this one, or the files named."""
    return (extension for file in of or files() for extension in file.extensions_by_name.values())


def reachable(kinds: Iterable[Descriptor]) -> dict[str, Descriptor]:
    """`kinds` and every message type that can stand inside one of them, by full name."""
    by_name: dict[str, Descriptor] = {}
    left = list(kinds)
    while left:
        kind = left.pop()
        if kind.full_name not in by_name:  # types may contain each other
            by_name[kind.full_name] = kind
            left += [field.message_type for field in kind.fields if field.message_type]
    return by_name


def message_class(descriptor: Descriptor) -> type[Message]:
    """The Python class of a message."""
    return GetMessageClass(descriptor)


def path(method: MethodDescriptor) -> str:
    """The name of an RPC on the wire: /package.Service/Method."""
    return f"/{method.containing_service.full_name}/{method.name}"


def _nested(message: Descriptor) -> Iterator[Descriptor]:
    yield message
    for nested in message.nested_types:
        yield from _nested(nested)

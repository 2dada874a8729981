"""The contract's descriptors: every file under proto/, found without naming one."""

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pkgutil import walk_packages

from google.protobuf.descriptor import Descriptor, FileDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import ordersys.api


@cache
def files() -> tuple[FileDescriptor, ...]:
    """Every file of the contract, by name."""
    modules = walk_packages(ordersys.api.__path__, "ordersys.api.")
    names = sorted(module.name for module in modules if module.name.endswith("_pb2"))
    return tuple(import_module(name).DESCRIPTOR for name in names)


def messages() -> Iterator[Descriptor]:
    """Every top-level message of the contract."""
    return (message for file in files() for message in file.message_types_by_name.values())


def services() -> Iterator[ServiceDescriptor]:
    """Every service of the contract, subscriptions among them."""
    return (service for file in files() for service in file.services_by_name.values())


def message_class(descriptor: Descriptor) -> type[Message]:
    """The Python class of a message."""
    return GetMessageClass(descriptor)


def path(method: MethodDescriptor) -> str:
    """The name of an RPC on the wire: /package.Service/Method."""
    return f"/{method.containing_service.full_name}/{method.name}"

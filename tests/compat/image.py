"""The descriptor image: what `nox -s codegen` made of proto/, comments included."""

from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from ordersys.contract import descriptors
from tools.documents.comments import Described, described


@cache
def image() -> FileDescriptorSet:
    """The contract and what it imports. Not to be changed."""
    descriptors.files()  # names the options
    return FileDescriptorSet.FromString((files("ordersys.api") / "contract.binpb").read_bytes())


def contract() -> tuple[FileDescriptorProto, ...]:
    """The files of this contract, without those it imports."""
    return tuple(file for file in image().file if descriptors.ours(file.name))


def things() -> Iterator[Described]:
    """Everything that has a name."""
    return described(image())

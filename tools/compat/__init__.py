"""Breaking changes of a released contract that buf can't see: in rules, topology, error reasons and rights."""

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from ordersys.contract.descriptors import is_own, link
from tools.compat import access, deployment, error_reasons, messages, topology


def findings(released: FileDescriptorSet, current: FileDescriptorSet) -> list[str]:
    """A sentence for each break that says what breaks for whom; none when the images are compatible."""
    before, now = link(complete(released, current)), link(current)
    compared = (messages, topology, error_reasons, access)
    return [sentence for part in compared for sentence in part.findings(before, now)]


def notes(released: FileDescriptorSet, current: FileDescriptorSet) -> list[str]:
    """A sentence for each compatible change that has to be deployed in order, and says in which."""
    return list(deployment.notes(link(complete(released, current)), link(current)))


def release(image: FileDescriptorSet) -> FileDescriptorSet:
    """The part of an image that is stored with a release: the contract's own files, without comments and positions."""
    kept = FileDescriptorSet(file=[file for file in image.file if is_own(file.name)])
    for file in kept.file:
        file.ClearField("source_code_info")
    return kept


def complete(released: FileDescriptorSet, image: FileDescriptorSet) -> FileDescriptorSet:
    """A released contract together with what it imports, which it takes from `image`."""
    imported = [file for file in image.file if not is_own(file.name)]
    return FileDescriptorSet(file=[*imported, *(file for file in released.file if is_own(file.name))])

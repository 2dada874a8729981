"""The files that the contract imports, and those it needs besides, gathered from installed packages."""

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_health.v1 import health_pb2
from grpc_tools import protoc

from tools.bundle.printer import printed
from tools.codegen import googleapis, validate_descriptor, well_known


class Origin(NamedTuple):
    """The installed package that files come from whose names begin with `prefix`, and the project they belong to."""

    prefix: str
    package: str
    project: str
    licence: str
    printed: bool = False
    """True where the package has descriptors only, of which the text is printed: without comments."""

    @property
    def version(self) -> str:
        """The version that is installed."""
        return version(self.package)


# In this order: the first whose prefix fits is the right one.
ORIGINS = (
    Origin("buf/validate/", "protovalidate", "https://github.com/bufbuild/protovalidate", "Apache-2.0", printed=True),
    Origin("grpc/health/", "grpcio-health-checking", "https://github.com/grpc/grpc-proto", "Apache-2.0", printed=True),
    Origin("google/protobuf/", "grpcio-tools", "https://github.com/protocolbuffers/protobuf", "BSD-3-Clause"),
    Origin("google/", "googleapis-common-protos", "https://github.com/googleapis/googleapis", "Apache-2.0"),
)
HEALTH = "grpc/health/v1/health.proto"
# What no file of the contract imports, but every service needs: details of a refusal, and health.
BESIDES = ("google/rpc/code.proto", "google/rpc/error_details.proto", "google/rpc/status.proto", HEALTH)
_PRINTED = Path("printed")
_FOUND = Path("found.binpb")
_MARK = """\
// Of {0.project} ({0.licence}): printed, without its comments, from
// the descriptor that the Python package {0.package} {0.version} has.
"""


def origin(name: str) -> Origin:
    """The origin of an imported file. Raises SystemExit for one that nobody knows."""
    for known in ORIGINS:
        if name.startswith(known.prefix):
            return known
    raise SystemExit(f"bundle: {name} is imported, and tools/bundle/imports.py does not say where it comes from")


def collect(proto: Path, target: Path, own: Iterable[str]) -> list[str]:
    """Copies `own`, which lie below `proto`, with all they import and need besides; returns the names of all files.

    Uses the working directory, where it may leave other files.
    """
    for file in printable():
        text = _MARK.format(origin(file.name)) + printed(file, _descriptors([well_known()], file.dependency))
        _put(_PRINTED / file.name, text.encode())
    folders = (proto, _PRINTED, googleapis(), well_known())
    names = [file.name for file in _descriptors(folders, [*own, *BESIDES])]
    for name in names:
        (source,) = [folder / name for folder in folders if (folder / name).exists()]
        _put(target / name, source.read_bytes())
    return names


def printable() -> list[FileDescriptorProto]:
    """The descriptors of those files that no installed package has as text."""
    health = FileDescriptorProto()
    health_pb2.DESCRIPTOR.CopyToProto(health)
    health.name = HEALTH  # Python's package has it under a name of its own
    validate = validate_descriptor()
    return [validate, health]


def run_protoc(*arguments: str) -> None:
    """Runs protoc with imports included. Raises SystemExit; protoc has printed why."""
    status = protoc.main(["protoc", "--include_imports", *arguments])
    if status != 0:
        raise SystemExit(f"bundle: protoc refused the contract (exit status {status}); see above")


def _descriptors(folders: Iterable[Path], names: Sequence[str]) -> Sequence[FileDescriptorProto]:
    """The files of these names in the first of `folders` that has them, each after those it imports."""
    if not names:
        return []
    run_protoc(*(f"-I{folder}" for folder in folders), f"--descriptor_set_out={_FOUND}", *names)
    return FileDescriptorSet.FromString(_FOUND.read_bytes()).file


def _put(path: Path, text: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)

"""The page that lies in the folder of the contract: what is in it, of which version, and where it comes from."""

from collections.abc import Sequence
from hashlib import sha256

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tools.bundle.imports import ORIGINS, Origin, origin

_PAGE = """\
# The contract of ordersys {version}

Made from `proto/` of ordersys by `nox -s codegen`; not to be edited.

| contract | |
|---|---|
| version | v1: the packages `ordersys.api.*.v1`, released with ordersys {version} |
| digest | `{digest}` |

The digest is that of the messages, services, rules and options without comments (SHA-256 of a FileDescriptorSet): two
folders with one digest are the same contract.

| file | contents |
|---|---|
| `proto/` | all .proto files, imports included: one include path is enough |
| `descriptors.binpb` | the same as a FileDescriptorSet, with comments, for what takes one: protoc, buf, loaders |
| `buf.yaml` | makes this folder a workspace: `buf build` and `buf generate` need no network here |
| `asyncapi.yaml` | exchanges, queues and messages as AsyncAPI 3 |
| `topology.json` | exchanges, queues and bindings as RabbitMQ's definitions |
| `v1.golden.json` | messages of released versions, as bytes and as ProtoJSON, to test a decoder with |
| `v1.narrowings.json` | rules that were added later, and that golden messages may break |
| `LICENSE` | the licence of the contract (Apache-2.0) |

## Imports

| files | Python package they are from | project | licence |
|---|---|---|---|
{rows}

{printed} are printed from descriptors, without comments; all others are as their package has them.
"""


def page(version: str, descriptors: bytes, own: Sequence[str]) -> str:
    """The page for a folder with these descriptors, of which the files named `own` are those of the contract."""
    names = [file.name for file in FileDescriptorSet.FromString(descriptors).file]
    imported = sorted(set(names) - set(own))
    rows = [
        _row(source, files) for source in ORIGINS if (files := [name for name in imported if origin(name) == source])
    ]
    printed = "".join(f"`{name}`, " for name in imported if origin(name).printed)
    printed = " and ".join(printed.removesuffix(", ").split(", ")) + " "
    return _PAGE.format(version=version, digest=digest(descriptors, own), rows="\n".join(rows), printed=printed)


def digest(descriptors: bytes, own: Sequence[str]) -> str:
    """The SHA-256 of the contract's own files, without source information, in hexadecimal."""
    files = {file.name: file for file in FileDescriptorSet.FromString(descriptors).file}
    kept = FileDescriptorSet(file=[files[name] for name in sorted(own)])
    for file in kept.file:
        file.ClearField("source_code_info")
    return sha256(kept.SerializeToString(deterministic=True)).hexdigest()


def _row(source: Origin, files: Sequence[str]) -> str:
    names = ", ".join(f"`{name}`" for name in files)
    return f"| {names} | {source.package} {source.version} | {source.project} | {source.licence} |"

"""The page that lies in the folder of the contract: what is in it, of which version, and where it comes from."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from tools.bundle.imports import ORIGINS, Origin, origin

_PAGE = """\
# The contract of ordersys {version}

Made from `proto/` of ordersys by `nox -s codegen`; not to be edited.

| contract | |
|---|---|
| version | {versions}, as ordersys {version} has it |
| digest | `{digest}` |

The digest is that of the messages, services, rules and options without comments (SHA-256 of a FileDescriptorSet): two
folders with one digest are the same contract. An option counts by what it says, however it is spelled.

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

## Use

```sh
protoc -Iproto --java_out=gen $(cd proto && find . -name '*.proto' | cut -c3-)    # or another language
buf generate --template buf.gen.yaml                                             # any plugin of buf
```

`@grpc/proto-loader` and protobufjs load the files of `proto/`, its include path; protobuf-es reads `descriptors.binpb`.
How to write a service, and how it is judged: `docs/implement.md` of ordersys.

## Imports

| files | Python package they are from | project | licence |
|---|---|---|---|
{rows}

{printed} are printed from descriptors,
without comments; all others are as their package has them.
"""


def page(version: str, descriptors: bytes, own: Sequence[str]) -> str:
    """The page for a folder with these descriptors, of which the files named `own` are those of the contract."""
    files = FileDescriptorSet.FromString(descriptors).file
    imported = sorted({file.name for file in files} - set(own))
    versions = sorted({file.package.rpartition(".")[2] for file in files if file.name in own})
    rows = [_row(source, [name for name in imported if origin(name) == source]) for source in ORIGINS]
    printed = " and ".join(f"`{name}`" for name in imported if origin(name).printed)
    return _PAGE.format(
        version=version,
        versions=", ".join(versions),
        digest=digest(descriptors, own),
        rows="\n".join(rows),
        printed=printed,
    )


def digest(descriptors: bytes, own: Sequence[str]) -> str:
    """The SHA-256 of the contract's own files, without source information, in hexadecimal.

    Options count by their meaning: how they are spelled in the file, and who reads them, makes no difference.
    """
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(descriptors).file:
        pool.AddSerializedFile(file.SerializeToString())
    # Parsed by the descriptors of the set itself, which know its options: fields come in the order of their numbers.
    known: Any = GetMessageClass(pool.FindMessageTypeByName("google.protobuf.FileDescriptorSet"))
    all_files = known.FromString(descriptors)
    kept = known(file=sorted((file for file in all_files.file if file.name in own), key=lambda file: file.name))
    for file in kept.file:
        file.ClearField("source_code_info")
    return sha256(kept.SerializeToString(deterministic=True)).hexdigest()


def _row(source: Origin, files: Sequence[str]) -> str:
    names = ", ".join(f"`{name}`" for name in files)
    return f"| {names} | {source.package} {source.version} | {source.project} | {source.licence} |"

"""The page that lies in the folder of the contract: what is in it, of which version, and where it comes from."""

from collections.abc import Sequence

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tools.bundle.imports import ORIGINS, Origin, origin

_PAGE = """\
# The contract of ordersys {version}

Made from `proto/` of ordersys by `nox -s codegen`; not to be edited.

| contract | |
|---|---|
| version | {versions}, as ordersys {version} has it |
| digest | `{digest}` |

The digest is that of the contract's files with their comments, which state demands as rules do. A report of the suite
names the digest of the contract that it judged by. To compute it, in this folder:

```sh
cd proto && find ordersys -name '*.proto' | LC_ALL=C sort | xargs cat | sha256sum
```

| file | contents |
|---|---|
| `proto/` | all .proto files, imports included: one include path is enough |
| `descriptors.binpb` | the same as a FileDescriptorSet, with comments, for what takes one: protoc, buf, loaders |
| `implement.md` | how to write a service: the rules that are judged and that no comment in `proto/` states |
| `index.html` | all of it to read in a browser, with examples, a drawing and a search; needs no network |
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
The suite that judges a service is in the repository of ordersys: `docs/conformance.md`.

## Imports

| files | Python package they are from | project | licence |
|---|---|---|---|
{rows}

{printed} are printed from descriptors,
without comments; all others are as their package has them.
"""


def page(version: str, descriptors: bytes, own: Sequence[str], digest: str) -> str:
    """The page for a folder with these descriptors; the files named `own` are those of the contract, of this digest."""
    files = FileDescriptorSet.FromString(descriptors).file
    imported = sorted({file.name for file in files} - set(own))
    versions = sorted({file.package.rpartition(".")[2] for file in files if file.name in own})
    rows = [_row(source, [name for name in imported if origin(name) == source]) for source in ORIGINS]
    printed = " and ".join(f"`{name}`" for name in imported if origin(name).printed)
    return _PAGE.format(
        version=version,
        versions=", ".join(versions),
        digest=digest,
        rows="\n".join(rows),
        printed=printed,
    )


def _row(source: Origin, files: Sequence[str]) -> str:
    names = ", ".join(f"`{name}`" for name in files)
    return f"| {names} | {source.package} {source.version} | {source.project} | {source.licence} |"

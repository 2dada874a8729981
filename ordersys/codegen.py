"""Makes the Python form of the contract: proto/ -> stubs, typed stubs and the descriptor image.

Called by nox and by the build hook alike, from installed packages only. Everything it writes is derived
and may be deleted at any time; nothing else may be written there.
"""

import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
PROTO = Path("proto")
GENERATED = (Path("ordersys/api"), Path("buf"))
IMAGE = Path("ordersys/api/contract.binpb")
VALIDATE = "buf/validate/validate.proto"
PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")


def generate(root: Path = ROOT) -> None:
    """Writes stubs, typed stubs and the descriptor image of `root`/proto below `root`.

    What was generated before is replaced only once all of it succeeded. Raises SystemExit, with protoc's own
    messages printed, when a .proto file is wrong.
    """
    with TemporaryDirectory(dir=root, prefix=".codegen-") as scratch:
        made = Path(scratch)
        for folder in GENERATED:
            (made / folder).mkdir(parents=True)
        _protoc(root, made)
        for folder in GENERATED:
            _make_packages(made / folder)
            shutil.rmtree(root / folder, ignore_errors=True)
            (made / folder).rename(root / folder)


def sources(root: Path) -> list[str]:
    """The contract's files, as protoc and `import` name them."""
    return sorted(path.relative_to(root / PROTO).as_posix() for path in (root / PROTO).rglob("*.proto"))


def _protoc(root: Path, out: Path) -> None:
    import google.rpc
    import grpc_tools
    from grpc_tools import protoc

    googleapis = Path(google.rpc.__path__[0]).parent.parent
    well_known = Path(grpc_tools.__path__[0]) / "_proto"
    rules = out / "rules.binpb"
    rules.write_bytes(_validate_descriptor())
    status = protoc.main(
        [
            "protoc",
            *(f"-I{folder}" for folder in (root / PROTO, googleapis, well_known)),
            f"--descriptor_set_in={rules}",
            *(f"--{kind}_out={out}" for kind in ("python", "grpc_python")),
            *(f"--{kind}_out=quiet:{out}" for kind in ("mypy", "mypy_grpc")),
            *(f"--plugin={name}={tool(name, 'mypy-protobuf')}" for name in PLUGINS),
            f"--descriptor_set_out={out / IMAGE}",
            "--include_imports",
            "--include_source_info",
            VALIDATE,
            *sources(root),
        ]
    )
    if status != 0:
        raise SystemExit(f"codegen: protoc refused the contract (exit status {status}); see above")


def _validate_descriptor() -> bytes:
    """The descriptor set of buf/validate/validate.proto, which protovalidate's wheel brings along."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
    from protovalidate._gen.buf.validate import validate_pb

    file = FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary())
    return FileDescriptorSet(file=[file]).SerializeToString()


def tool(name: str, package: str) -> Path:
    """A program of this very environment, wherever PATH points. Raises SystemExit naming the package when missing."""
    beside = Path(sys.executable).parent / name
    found = beside if beside.exists() else shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is missing; pip install {package}")
    return Path(found)


def _make_packages(folder: Path) -> None:
    for package in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        (package / "__init__.py").write_text('"""Generated from proto/; never edited."""\n')


def main() -> None:
    """`python -m ordersys.codegen`."""
    generate()
    print(f"codegen: {len(sources(ROOT))} files of the contract, protobuf {version('protobuf')}")


if __name__ == "__main__":
    main()

"""Generates the Python form of the contract: proto/ -> stubs, typed stubs, the descriptor image and a page to read.

`python -m tools.codegen` also writes the contract for other languages (tools/bundle).

Called by nox and by the build hook, with installed packages only: no protoc or buf on PATH is needed. The folders it
writes are derived and may be deleted at any time; it removes any other file in them.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

ROOT = Path(__file__).resolve().parent.parent
PROTO = Path("proto")
GENERATED = (Path("ordersys/api"), Path("buf"))
IMAGE = Path("ordersys/api/contract.binpb")
PAGE = Path("ordersys/api/contract.html")
VALIDATE = "buf/validate/validate.proto"
PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
_SCRATCH = ".codegen-"


def generate(root: Path = ROOT, out: Path | None = None) -> None:
    """Writes stubs, typed stubs, the descriptor image and the page of `root`/proto below `out` (default: below `root`).

    What was generated before is replaced only once all of it succeeded, and file by file: whoever imports meanwhile
    finds each file whole, the old one or the new one. Blocks while another process generates below the same folder.
    Raises SystemExit with one line when there is no contract or `out` can't be written, and with protoc's own
    messages printed when a .proto file is wrong.
    """
    out = out or root
    if not sources(root):
        raise SystemExit(f"codegen: there is no contract in {root / PROTO}; stubs are made in a source tree")
    try:
        with scratch(out) as made:
            _protoc(root.resolve(), made)
            for folder in GENERATED:
                _make_packages(made / folder)
            _page(root.resolve(), made.resolve())
            for folder in GENERATED:
                replace(made / folder, out / folder)
    except OSError as error:
        raise SystemExit(f"codegen: can't make stubs below {out}: {error}") from error


def _page(root: Path, made: Path) -> None:
    """Makes the page of the stubs in `made`; without bytecode, which would be taken for a part of them."""
    command = [sys.executable, "-B", "-m", "tools.page", str(root), str(made)]
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise SystemExit("codegen: the page of the contract can't be made; see above")


def sources(root: Path) -> list[str]:
    """The contract's files, as protoc and `import` name them."""
    return sorted(path.relative_to(root / PROTO).as_posix() for path in (root / PROTO).rglob("*.proto"))


def digest(root: Path = ROOT) -> str:
    """The SHA-256 of the contract's files, one after the other, as `sha256:` and hexadecimal digits.

    With comments, since a comment may state a demand. In a shell, also in contract/:
    `cd proto && find ordersys -name '*.proto' | LC_ALL=C sort | xargs cat | sha256sum`.
    """
    text = b"".join((root / PROTO / name).read_bytes() for name in sources(root))
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A folder to generate in, inside `folder`, which is locked against other processes that generate there meanwhile.

    Removes what a killed one has left.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for left in folder.glob(f"{_SCRATCH}*"):
            shutil.rmtree(left)
        with TemporaryDirectory(dir=folder, prefix=_SCRATCH) as made:
            yield Path(made)
    finally:
        os.close(handle)


def _protoc(root: Path, made: Path) -> None:
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from grpc_tools import protoc

    for folder in GENERATED:
        (made / folder).mkdir(parents=True)
    (made / "rules.binpb").write_bytes(FileDescriptorSet(file=[validate_descriptor()]).SerializeToString())
    # protoc takes a colon for the end of a path. Relative names have none, wherever the source tree lies.
    (made / PROTO).symlink_to(root / PROTO)
    with chdir(made):
        status = protoc.main(
            [
                "protoc",
                *(f"-I{folder}" for folder in (PROTO, googleapis(), well_known())),
                "--descriptor_set_in=rules.binpb",
                *(f"--{kind}_out=." for kind in ("python", "grpc_python")),
                *(f"--{kind}_out=quiet:." for kind in ("mypy", "mypy_grpc")),
                *(f"--plugin={name}={tool(name, 'mypy-protobuf')}" for name in PLUGINS),
                f"--descriptor_set_out={IMAGE}",
                "--include_imports",
                "--include_source_info",
                VALIDATE,
                *sources(root),
            ]
        )
    if status != 0:
        raise SystemExit(f"codegen: protoc refused the contract (exit status {status}); see above")


def googleapis() -> Path:
    """The folder below which googleapis-common-protos has google/rpc and google/type."""
    import google.rpc

    return Path(google.rpc.__path__[0]).parent.parent


def well_known() -> Path:
    """The folder below which grpcio-tools has google/protobuf."""
    import grpc_tools

    return Path(grpc_tools.__path__[0]) / "_proto"


def validate_descriptor() -> "FileDescriptorProto":
    """The descriptor of buf/validate/validate.proto, which protovalidate's wheel has, and no text of it."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from protovalidate._gen.buf.validate import validate_pb

    return FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary())


def tool(name: str, package: str) -> Path:
    """The path of a program, that of this environment before others on PATH. Raises SystemExit naming the package."""
    beside = Path(sys.executable).parent / name
    path = beside if beside.exists() else shutil.which(name)
    if path is None:
        raise SystemExit(f"{name} is missing; pip install {package}")
    return Path(path)


def _make_packages(folder: Path) -> None:
    for package in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        (package / "__init__.py").write_text('"""Generated from proto/; never edited."""\n')


def replace(made: Path, target: Path) -> None:
    """Moves every file of `made` to its place below `target`, then removes files the contract no longer has."""
    files = {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
    for name in sorted(files):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).replace(target / name)  # atomic: whoever imports meanwhile reads the old file or the new one
    wanted = files | {parent for name in files for parent in name.parents}
    for path in list(target.rglob("*")):
        # Bytecode may be written by an import at this moment; without its source it is never imported.
        if path.relative_to(target) in wanted or "__pycache__" in path.parts or not path.exists():
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def main() -> None:
    """`python -m tools.codegen`."""
    from tools import bundle

    generate()
    bundle.write()
    print(f"codegen: {len(sources(ROOT))} files of the contract, protobuf {version('protobuf')}")


if __name__ == "__main__":
    main()

"""The contract for implementers in any language, as one folder: contract/, with all that proto/ imports.

Made by `python -m tools.codegen`, and alone by `python -m tools.bundle`, with installed packages only.
"""

import shutil
import tomllib
from contextlib import chdir
from pathlib import Path

from tools.bundle.guide import detached
from tools.bundle.imports import collect, run_protoc
from tools.bundle.readme import page
from tools.codegen import PAGE, PROTO, ROOT, digest, replace, scratch, sources

FOLDER = Path("contract")
DESCRIPTORS = "descriptors.binpb"
GUIDE = Path("docs/implement.md")
# Files beside the .proto files, by name, and the files of this repository that they are copies of.
COPIED = {
    "LICENSE": Path("LICENSE"),
    "asyncapi.yaml": Path("docs/asyncapi.yaml"),
    "index.html": PAGE,
    "topology.json": Path("docs/topology.json"),
    "v1.golden.json": Path("proto/released/v1.golden.json"),
    "v1.narrowings.json": Path("proto/released/v1.narrowings.json"),
}
BUF = """\
# `buf build` and `buf generate` work in this folder without a network: it has all imports.
version: v2
modules: [{path: proto}]
"""


def write(root: Path = ROOT, out: Path | None = None) -> Path:
    """Writes the folder of the contract in `root`/proto below `out` (default: below `root`), and returns its path.

    It is replaced only once all of it is made, and file by file. Blocks while another process generates below the same
    folder. Raises SystemExit with one line when there is no contract or `out` can't be written, and with protoc's
    own messages printed when a .proto file is wrong.
    """
    out = out or root
    if not sources(root):
        raise SystemExit(f"bundle: there is no contract in {root / PROTO}; it is made of a source tree")
    try:
        with scratch(out) as made:
            _make(root.resolve(), made)
            replace(made / FOLDER, out / FOLDER)
    except OSError as error:
        raise SystemExit(f"bundle: can't write {out / FOLDER}: {error}") from error
    return out / FOLDER


def version(root: Path = ROOT) -> str:
    """The version of this project, and so of what is released with it."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def _make(root: Path, made: Path) -> None:
    folder = made / FOLDER
    folder.mkdir()
    own = sources(root)
    # Relative names, since protoc takes a colon for the end of a path.
    (made / PROTO).symlink_to(root / PROTO)
    with chdir(made):
        files = collect(PROTO, FOLDER / PROTO, own)
        out = f"--descriptor_set_out={FOLDER / DESCRIPTORS}"
        run_protoc(f"-I{FOLDER / PROTO}", "--include_source_info", out, *files)
    for name, source in COPIED.items():
        shutil.copyfile(root / source, folder / name)
    (folder / GUIDE.name).write_text(detached(root / GUIDE, root, folder, COPIED), encoding="utf-8")
    (folder / "buf.yaml").write_text(BUF, encoding="utf-8")
    text = page(version(root), (folder / DESCRIPTORS).read_bytes(), own, digest(root))
    (folder / "README.md").write_text(text, encoding="utf-8")

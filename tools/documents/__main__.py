"""Writes the documents that are derived from the contract, and from tables of the code: `python -m tools.documents`.

Called by nox once the stubs are made. Documents are committed, unlike stubs, so that they can be read without tools.
"""

import json
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from ordersys.contract.permissions import contract_permissions
from ordersys.contract.topology import topology
from ordersys.topology.definitions import document
from tools.codegen import IMAGE, ROOT
from tools.documents import asyncapi, metrics, reference
from tools.documents.comments import comments
from tools.documents.rabbitmq_definitions import definitions

DOCS = Path("docs")


def texts(root: Path = ROOT) -> dict[Path, str]:
    """The documents by path below `root`."""
    comment_of = comments(FileDescriptorSet.FromString((root / IMAGE).read_bytes()))
    return {
        DOCS / "asyncapi.yaml": _yaml(asyncapi.document(comment_of)),
        DOCS / "contract.md": reference.page(comment_of),
        DOCS / "metrics.md": metrics.page(),
        DOCS / "permissions.json": document(contract_permissions(), topology()),
        DOCS / "topology.json": json.dumps(definitions(topology()), indent=2) + "\n",
    }


def write(root: Path = ROOT) -> None:
    """Writes all documents below `root`."""
    for path, text in texts(root).items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


class _Dumper(yaml.SafeDumper):
    """Writes equal parts each time in full: an alias is harder to read, and not every tool follows it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml(document: dict[str, Any]) -> str:
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return f"# Derived from proto/ by `nox -s codegen`.\n{text}"


def main() -> None:
    """`python -m tools.documents`."""
    write()
    print(f"documents: {', '.join(str(path) for path in texts())}")


if __name__ == "__main__":
    main()

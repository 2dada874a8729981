"""`python -m tools.page ROOT STUBS`: writes the page of ROOT/proto beside the stubs below STUBS, where they lie new.

Called by tools.codegen, in a process of its own: one that has imported older stubs can't import others.
"""

import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

import ordersys
from tools.codegen import IMAGE, PAGE, digest


def main() -> None:
    """Writes the file."""
    root, stubs = Path(sys.argv[1]), Path(sys.argv[2])
    sys.path.insert(0, str(stubs))  # buf.validate
    ordersys.__path__.insert(0, str(stubs / "ordersys"))  # before older ones, which may lie beside the package
    from tools.documents.comments import comments
    from tools.page.document import page

    comment_of = comments(FileDescriptorSet.FromString((stubs / IMAGE).read_bytes()))
    (stubs / PAGE).write_text(page(comment_of, digest(root)), encoding="utf-8")


if __name__ == "__main__":
    main()

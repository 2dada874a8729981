"""The page for implementers as it lies in the folder of the contract: links to what that folder lacks are text."""

import os.path
import re
from collections.abc import Mapping
from pathlib import Path

_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"(```.*?```)", re.DOTALL)


def detached(page: Path, root: Path, folder: Path, copied: Mapping[str, Path]) -> str:
    """The text of `page`, which lies below `root`, with its links led to the files of `folder`, where it is to lie.

    `copied` names files of the folder that have another name below `root`. Of a link to a file that the folder lacks
    only the text is left; links into the web and to headings of the page stay. Raises OSError.
    """
    names = {source.as_posix(): name for name, source in copied.items()}

    def led(link: re.Match[str]) -> str:
        text, (path, hash_sign, anchor) = link[1], link[2].partition("#")
        if not path or "://" in path:
            return link[0]
        source = Path(os.path.normpath(page.relative_to(root).parent / path)).as_posix()
        target = names.get(source, source)
        return f"[{text}]({target}{hash_sign}{anchor})" if (folder / target).exists() else text

    parts = _FENCE.split(page.read_text(encoding="utf-8"))
    return "".join(part if part.startswith("```") else _LINK.sub(led, part) for part in parts)

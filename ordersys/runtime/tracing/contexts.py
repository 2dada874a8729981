"""Trace contexts as the text they are on the wire: `00-` trace `-` span `-` flags (W3C Trace Context, version 00).

All were read by `traceparent` of `runtime/base/ids.py`, which leaves no flag but the sampled one. Whoever hands one to
a call, a row or a message says with it whose child the work behind it is.
"""

import os
from hashlib import blake2b

_SPAN = slice(36, 52)
_TRACE_BEGINNING = slice(3, 19)


def is_sampled(context: str) -> bool:
    """True where the trace is recorded by all who take part in it; that was decided where it began."""
    return context.endswith("1")


def new_root() -> str:
    """The context of a span that begins a trace, which is recorded. Whoever finds it stored can tell: see `is_root`."""
    return root_of(os.urandom(16).hex())


def root_of(trace: str) -> str:
    """The context of the span that begins the trace with this id, which is recorded."""
    return f"00-{trace}-{trace[:16]}-01"


def is_root(context: str) -> bool:
    """True for the context of a span that has begun a trace here."""
    return context[_SPAN] == context[_TRACE_BEGINNING]


def child(context: str) -> str:
    """The context of another span in the same trace."""
    return f"{context[:36]}{os.urandom(8).hex()}{context[52:]}"


def relative(context: str, name: str) -> str:
    """The context of a span that follows from `context` and `name`; of that one with the same name it is `context`.

    A span is recorded when it ends, and a process may be killed before. Where others were told of it, in a row or in a
    message, it is recorded by whoever finishes its work, and who finds its context knows its parent as well. The two
    differ by bits that are as good as random; that they are equal, which would give a span of zeros, never happens.
    """
    mask = int.from_bytes(blake2b(name.encode(), digest_size=8).digest())
    return f"{context[:36]}{int(context[_SPAN], 16) ^ mask:016x}{context[52:]}"

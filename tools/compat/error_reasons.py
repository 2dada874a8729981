"""Error reasons that mean something else than before to the clients that decide on them."""

from collections.abc import Iterator
from dataclasses import asdict

from ordersys.contract.descriptors import Files
from tools.compat.changes import changes
from tools.documents.error_reasons import reasons

_CHANGED = {
    "domain": "Clients that look for reasons of {before} overlook {name}, whose domain is {now}.",
    "code": "Clients that expect the code {before} of {name} get {now}.",
    "retryable": "Clients that know {name} as retryable={before} repeat in vain or give up too early: it is {now}.",
    "final": "Sagas that know {name} as final release what they have reserved, though by now the outcome is in doubt.",
}


def findings(released: Files, current: Files) -> Iterator[str]:
    """A sentence for each reason that is gone, or comes with another domain, code or advice to repeat."""
    now_stated = reasons(current)
    for name, reason in reasons(released).items():
        if name not in now_stated:
            yield f"Clients that decide on reason {name} never get it again: it is gone."
            continue
        for fact, before, now in changes(asdict(reason), asdict(now_stated[name])):
            # Harmless: a client that takes the reason for a doubt repeats the request, and is refused again.
            widened = fact == "final" and now
            if fact in _CHANGED and not widened:
                yield _CHANGED[fact].format(name=name, before=before, now=now)

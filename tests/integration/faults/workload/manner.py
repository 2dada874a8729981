"""The manner of whoever speaks HTTP/2 by hand to a service with an identity: encrypted, with an operator's token."""

import ssl
from pathlib import Path
from typing import NamedTuple

from ordersys.identity.layout import Layout

CALLER = "olga"
"""The operator whose token lies in the folder of the identities."""


class Manner(NamedTuple):
    """The encryption of a connection, and the header fields of each call on it."""

    tls: ssl.SSLContext
    fields: tuple[tuple[str, str], ...]


def manner(folder: str) -> Manner | None:
    """The manner by the files in a folder of identities; None where there is none, as all goes in clear."""
    if not folder:
        return None
    layout = Layout(Path(folder))
    tls = ssl.create_default_context(cafile=str(layout.ca))
    tls.set_alpn_protocols(["h2"])
    token = layout.token(CALLER).read_text(encoding="ascii").strip()
    return Manner(tls, (("authorization", f"Bearer {token}"),))

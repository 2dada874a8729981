"""The https URL of something that a service fetches. Read once, before anything starts."""

import re
from urllib.parse import urlsplit

NONE = "none"
_WANTED = "an https URL without a user and a fragment (https://issuer.example/keys)"
_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?\[\]!$&'()*+,;=%-]+")  # RFC 3986 without @ and #
_HOST = re.compile(r"[A-Za-z0-9.-]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


def parse(text: str) -> str | None:
    """The URL in `text`, None for `none`. Raises ValueError with what it must be."""
    if text == NONE:
        return None
    if not _CHARACTERS.fullmatch(text):
        raise ValueError(_WANTED)
    try:
        parts = urlsplit(text)
        usable = parts.scheme == "https" and _HOST.fullmatch(parts.hostname or "") and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(_WANTED)
    return text


def shown(url: str) -> str:
    """Fit for a log: without a query, which may have a key of somebody in it."""
    return url.partition("?")[0]

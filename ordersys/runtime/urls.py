"""The URLs of a broker: one, or those of the nodes of a cluster, separated by commas (in a URL a comma is %2C)."""

from urllib.parse import urlsplit


def each(urls: str) -> list[str]:
    """The URLs, in order; at least one."""
    return [url.strip() for url in urls.split(",")]


def place(urls: str) -> str:
    """host:port and virtual host of each, fit to be shown: never a password."""
    return ", ".join(_place(url) for url in each(urls))


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 5672}{parts.path}"

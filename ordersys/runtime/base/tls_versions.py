"""The versions of TLS that are spoken with servers, whoever has built Python."""

import ssl


def modern(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context, for TLS 1.2 and later. By itself it may leave that to the system, as Debian's Python does."""
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    return context

"""Libraries that are extras of this package, and imported where somebody asks for what they do."""

_PACKAGE = __name__.partition(".")[0]


def missing(error: ImportError) -> str:
    """The name of the library that is not installed. Raises `error` where a part of this package is not there."""
    name = error.name or ""
    if name.partition(".")[0] == _PACKAGE:
        raise error
    return name

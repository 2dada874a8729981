"""Messages put around bytes that are a message already: what is encoded once is not encoded again.

An order goes into a row, a reply, the outcome of a request and an event. Each of these holds it in its first field; on
the wire they are that field, and others one after the other (https://protobuf.dev/programming-guides/encoding/).
"""

from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BytesValue


def around(body: bytes) -> bytes:
    """A message whose field 1 is the message `body`, which is not empty.

    Bytes and messages look the same on the wire, so that protobuf's own message with bytes in field 1 will do.
    """
    return BytesValue(value=body).SerializeToString()


def hold_first(field: str, *kinds: type[Message]) -> None:
    """Raises TypeError unless each of `kinds` holds the message `field` as its field 1, so that `around` makes it.

    To be called where bytes are shared, so that a contract that is laid out otherwise ends the process at its start.
    """
    for kind in kinds:
        found = kind.DESCRIPTOR.fields_by_name.get(field)
        if found is None or found.number != 1 or found.message_type is None:
            raise TypeError(f"{kind.DESCRIPTOR.full_name} does not hold {field} as a message in field 1")

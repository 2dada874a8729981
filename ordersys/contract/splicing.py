"""Messages made around the bytes of an encoded message, so that it is encoded once.

An order goes into a row, a reply, the outcome of a request and an event. Each of these holds it in its field 1. Encoded
fields stand one after the other (https://protobuf.dev/programming-guides/encoding/), so the bytes can be put together.
"""

from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BytesValue


def around(body: bytes) -> bytes:
    """A message whose field 1 is the message `body`, which is not empty.

    Bytes and messages look the same on the wire, so that protobuf's own message with bytes in field 1 will do.
    """
    return BytesValue(value=body).SerializeToString()


def hold_first(field: str, *kinds: type[Message]) -> None:
    """Raises TypeError unless each of `kinds` has the message `field` as its field 1, as `around` takes for granted.

    Called at import where bytes are shared: a contract with another layout then ends the process at its start.
    """
    for kind in kinds:
        first = kind.DESCRIPTOR.fields_by_name.get(field)
        if first is None or first.number != 1 or first.message_type is None:
            raise TypeError(f"{kind.DESCRIPTOR.full_name} does not hold {field} as a message in field 1")

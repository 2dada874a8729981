"""ProtoJSON, as programs read it: the contract's field names, one document on one line.

64-bit integers are strings, as ProtoJSON has them; NaN and infinities are never written, since JSON has none.
"""

import base64
from typing import Any

from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def to_dict(message: Message) -> Any:
    """The ProtoJSON of a message, zeros written out.

    What has no such form stands in one of its own, so that one odd record does not keep back the others: an Any of a
    type this client does not know has its bytes in `value`, a Timestamp out of range its `seconds` and `nanos`.
    """
    try:
        return _standard(message)
    except (TypeError, ValueError, OverflowError, json_format.Error):
        return _tolerant(message)


def _standard(message: Message) -> Any:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _tolerant(message: Message) -> Any:
    if isinstance(message, AnyMessage):
        return {"@type": message.type_url, "value": base64.b64encode(message.value).decode("ascii")}
    if isinstance(message, Timestamp):
        return {"seconds": str(message.seconds), "nanos": message.nanos}
    odd = type(message)()
    odd.CopyFrom(message)
    members: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is not None:
            members[field.name] = [to_dict(entry) for entry in value] if field.is_repeated else to_dict(value)
            odd.ClearField(field.name)
    return {**_standard(odd), **members}

"""Calls in a line each: the RPC, its request as JSON, and what it was answered with. Pure."""

import itertools
import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message

from ordersys.contract import descriptors

_MOST_CALLS = 12
_MOST_KEPT = 500
_MOST_OCTETS = 65_536  # of a request or response that is kept
_MOST_REQUEST = 200
_MOST_ANSWER = 60
_READS = ("Get", "List")
# Its beginning and its end are enough to tell one from another.
_UUID = re.compile(r"\b([0-9A-Fa-f]{8})-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{8}([0-9A-Fa-f]{4})\b")
_NO_SUBJECT = ("customer_id",)


class Call(NamedTuple):
    """A call that was made: to whom, what, and the answer: the response when the code is OK, else code and reason."""

    role: str
    method: MethodDescriptor
    body: bytes
    response: Message | None
    refusal: str = ""


class CallLog:
    """The last calls, each with the number it has among all. Safe to be written by several threads."""

    def __init__(self) -> None:
        self._calls: deque[tuple[int, Call]] = deque(maxlen=_MOST_KEPT)
        self._numbers = itertools.count(1)
        self.made = 0
        """The number of calls made."""

    def add(self, role: str, method: MethodDescriptor, body: bytes, response: Message | None, refusal: str) -> None:
        """Adds a call; of what is huge only that it was."""
        octets = 0 if response is None else response.ByteSize()
        if octets > _MOST_OCTETS:
            response, refusal = None, f"OK, {octets} bytes"
        number = next(self._numbers)
        self._calls.append((number, Call(role, method, body[:_MOST_OCTETS], response, refusal)))
        self.made = number

    def since(self, made: int) -> list[Call]:
        """The calls after so many, but for those that are no longer kept."""
        return [call for number, call in list(self._calls) if number > made]


def line(call: Call) -> str:
    """`GetOrder {"order_id":"…"} -> OK {"order":…}`; what is long is cut, of a UUID the middle."""
    request, response = _json(_request(call), _MOST_REQUEST), _json(_fields(call.response), _MOST_ANSWER)
    return f"{call.method.name} {request} -> {f'OK {response}' if call.response is not None else call.refusal}"


def about_the_last(calls: Sequence[Call]) -> Iterator[str]:
    """The last one in a line, and before it those that change what it names: an order, a product, a request.

    Where it names none, any that change something. What was left out is counted.
    """
    subject = _ids(_request(calls[-1])) if calls else set()
    changes = [number for number, call in enumerate(calls[:-1]) if not call.method.name.startswith(_READS)]
    related = [number for number in changes if not subject or _ids(_request(calls[number])) & subject]
    related += [len(calls) - 1] if calls else []
    shown = related[-_MOST_CALLS:]
    if left := len(calls) - len(shown):
        yield f"… {left} calls before and between that read, or are about something else"
    yield from (f"{number + 1}. {line(calls[number])}" for number in shown)


def _request(call: Call) -> Any:
    """The fields of the request; None where the bytes are none."""
    try:
        return _fields(descriptors.message_class(call.method.input_type).FromString(call.body))
    except DecodeError:
        return None


def _fields(message: Message | None) -> Any:
    return None if message is None else MessageToDict(message, preserving_proto_field_name=True)


def _json(value: Any, most: int) -> str:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False) if value is not None else "(no message)"
    text = _UUID.sub(r"\1…\2", text)
    return text if len(text) <= most else f"{text[:most]}…"


def _ids(value: Any, name: str = "") -> set[str]:
    if isinstance(value, dict):
        return {order_id for key, each in value.items() if key not in _NO_SUBJECT for order_id in _ids(each, key)}
    if isinstance(value, list):
        return {order_id for each in value for order_id in _ids(each, name)}
    return {value.lower()} if isinstance(value, str) and name.endswith(("id", "ids")) else set()

"""The history of a round: every operation with every try of it, and their times.

A try ends ok, with a fail (a refusal that is for good) or unknown: it may or may not have had its effect, now or
later. Times are seconds of the monotonic clock.
"""

import json
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf.json_format import MessageToDict

from tests.contract.harness.client import Answer

# A refusal for want of stock is an outcome: no try of the request gets another one.
KEPT = "OUT_OF_STOCK"
_OPEN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}


class Outcome(Enum):
    """The outcome of a try, or of an operation."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Try(NamedTuple):
    """One call: when it began and ended, and how."""

    called: float
    ended: float
    answer: Answer

    @property
    def outcome(self) -> Outcome:
        """The outcome, as far as this try shows it."""
        if self.answer.code is grpc.StatusCode.OK:
            return Outcome.OK
        return Outcome.UNKNOWN if self.answer.code in _OPEN else Outcome.FAIL


@dataclass
class Operation:
    """A request with all its tries, all under the same request_id."""

    number: int
    client: int
    request: Any
    tries: list[Try] = field(default_factory=list)
    abandoned: bool = False
    """Its client is gone and will never ask again."""

    @property
    def call(self) -> str:
        """The name of the request's message."""
        return str(self.request.DESCRIPTOR.name).removesuffix("Request")

    @property
    def outcome(self) -> Outcome:
        """The outcome. A refusal after a try without an answer says nothing of that try, unless it is kept."""
        ends = {attempt.outcome for attempt in self.tries}
        if Outcome.OK in ends:
            return Outcome.OK
        sure = Outcome.UNKNOWN not in ends or self.reason == KEPT
        return Outcome.FAIL if Outcome.FAIL in ends and sure else Outcome.UNKNOWN

    @property
    def settled(self) -> bool:
        """True if another try would tell no more."""
        return any(attempt.outcome is not Outcome.UNKNOWN for attempt in self.tries)

    @property
    def response(self) -> Any:
        """The first response, None when there is none."""
        return next((attempt.answer.response for attempt in self.tries if attempt.outcome is Outcome.OK), None)

    @property
    def reason(self) -> str:
        """The reason of the last refusal for good, empty when there is none."""
        return next((attempt.answer.reason for attempt in reversed(self.tries) if attempt.outcome is Outcome.FAIL), "")

    @property
    def called(self) -> float:
        """The time of the first try."""
        return self.tries[0].called

    @property
    def answered(self) -> float:
        """The time at which the outcome was known; infinite if it is not."""
        if self.outcome is Outcome.UNKNOWN:
            return math.inf
        return min(attempt.ended for attempt in self.tries if attempt.outcome is not Outcome.UNKNOWN)


class History:
    """The operations of one round, in order of their first call. May be used by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: list[tuple[float, Operation, str, Answer | None]] = []
        self.operations: list[Operation] = []

    def begin(self, client: int, request: Any) -> Operation:
        """A new operation, not tried yet."""
        with self._lock:
            operation = Operation(len(self.operations), client, request)
            self.operations.append(operation)
        return operation

    def invoke(self, operation: Operation) -> float:
        """Notes that it is being asked for now."""
        now = time.monotonic()
        self._events.append((now, operation, "invoke", None))
        return now

    def end(self, operation: Operation, called: float, answer: Answer) -> None:
        """Notes how that try ended."""
        attempt = Try(called, time.monotonic(), answer)
        operation.tries.append(attempt)
        self._events.append((attempt.ended, operation, attempt.outcome.value, answer))

    def save(self, file: Path) -> None:
        """Writes what happened, a JSON object a line, in order of time."""
        with file.open("w") as lines:
            lines.writelines(f"{json.dumps(line)}\n" for line in self._lines())

    def _lines(self) -> Iterator[dict[str, Any]]:
        for moment, operation, kind, answer in sorted(self._events, key=lambda event: event[0]):
            line = {"time": round(moment, 4), "client": operation.client, "operation": operation.number}
            if answer is None:
                yield {**line, "event": kind, "call": operation.call, "request": MessageToDict(operation.request)}
            else:
                yield {**line, "event": kind, **_said(answer)}


def _said(answer: Answer) -> dict[str, Any]:
    if answer.response is not None:
        return {"response": MessageToDict(answer.response)}
    return {"code": answer.code.name, "reason": answer.reason, "message": answer.status.message}

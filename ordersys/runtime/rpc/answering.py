"""Answers to the requests of one RPC, once its caller may make it: rights to their content, rules, servicer.

A batch is as many requests: one that its caller may not make is refused in its place, and hinders no other.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from ordersys.contract import descriptors
from ordersys.contract.access import Caller, OwnRequestIds, Rules, batched
from ordersys.contract.errors import StatusError, invalid
from ordersys.contract.validation import violations
from ordersys.runtime.rpc.admission import Context
from ordersys.runtime.rpc.callers import RefusedCalls

Behaviour = Callable[[Any, Context], Awaitable[Message | bytes]]
"""Answers a request with a response, or with one that is encoded already."""


class Answering:
    """Answers the requests of `method` by `behaviour`."""

    def __init__(self, method: MethodDescriptor, behaviour: Behaviour, refused: RefusedCalls) -> None:
        self.rules = Rules(method)
        self._behaviour = behaviour
        self._refused = refused
        self.path = descriptors.path(method)
        self._response_class: Any = descriptors.message_class(method.output_type)
        self._is_batch = batched(method.input_type) is not None

    def requests(self, request: Any) -> Sequence[Any]:
        """The requests that `request` carries: those of a batch, else itself."""
        return request.requests if self._is_batch else (request,)

    async def answer(self, request: Any, caller: Caller, context: Context) -> bytes:
        """The response, encoded. Raises StatusError, and whatever the servicer does."""
        refused = self._refusals(request, caller, context)
        # Also of what is refused: the paths in the details are those of the request as it was sent.
        _keep_rules(request)
        for index in sorted(refused, reverse=True):
            del request.requests[index]
        ids = OwnRequestIds(self.requests(request) if self.rules.has_request_ids else (), caller)
        try:
            response = await self._behaviour(request, context) if self.requests(request) else b""
        except StatusError as error:
            raise _named_by_its_caller(error, ids) from error
        encoded = ids.told(response if isinstance(response, bytes) else response.SerializeToString())
        return self._with_refused(encoded, refused) if refused else encoded

    def _refusals(self, request: Any, caller: Caller, context: Context) -> Mapping[int, StatusError]:
        """Those of a batch, by index. Raises the one of a request that is none."""
        judged = ((index, self.rules.refusal(each, caller)) for index, each in enumerate(self.requests(request)))
        refused = {index: error for index, error in judged if error is not None}
        if refused and not self._is_batch:
            raise refused[0]
        for error in refused.values():
            self._refused.log(self.path, error, context)
        return refused

    def _with_refused(self, encoded: bytes, refused: Mapping[int, StatusError]) -> bytes:
        """A batch's response with the refusals in their places."""
        response = self._response_class.FromString(encoded)
        done = list(response.results)
        del response.results[:]
        for index in range(len(done) + len(refused)):
            if index in refused:
                response.results.add(status=refused[index].status)
            else:
                response.results.append(done.pop(0))
        encoded_again: bytes = response.SerializeToString()
        return encoded_again


def _keep_rules(request: Message) -> None:
    if broken := violations(request):
        raise invalid(broken)


def _named_by_its_caller(error: StatusError, ids: OwnRequestIds) -> StatusError:
    """The same refusal; one that names a request_id, with that which its caller chose."""
    before = error.status.SerializeToString()
    after = ids.told(before)
    return error if after == before else StatusError(Status.FromString(after))

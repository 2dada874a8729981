"""Calls as clients in a hurry make them: with a deadline, sometimes given up, on connections that come back soon."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from google.rpc.status_pb2 import Status

from ordersys.contract import descriptors
from ordersys.contract.addresses import Addresses, parse_list
from tests.contract.harness.client import RPCS, Answer
from tests.integration.api import status

# The first that serves a call is asked, where more than one does.
_METHODS = {m.input_type.full_name: (role, m) for role, ms in reversed(RPCS.items()) for m in ms}
_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))
# Where a service has several processes: each call to another one.
_IN_TURN = (("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),)

Connect = Callable[[str, str, Sequence[tuple[str, int | str]]], grpc.Channel]


class Calls:
    """Connections to the services, by role; each has an address, or several with commas between them."""

    def __init__(self, channel: Connect, addresses: Mapping[str, str]) -> None:
        """`channel` makes one, given a module, a target, and options."""
        self._channels = {role: _opened(channel, role, parse_list(at)) for role, at in addresses.items()}

    def call(
        self, request: Any, timeout: float, given_up_after: float | None = None, role: str | None = None
    ) -> Answer:
        """The answer to a request within that many seconds; cancelled by the client after so many, when given."""
        served_by, method = _METHODS[request.DESCRIPTOR.full_name]
        call: Any = self._channels[role or served_by].unary_unary(
            descriptors.path(method),
            lambda message: message.SerializeToString(),
            descriptors.message_class(method.output_type).FromString,
        )
        under_way = call.future(request, timeout=timeout)
        if given_up_after is not None:
            _give_up(under_way, given_up_after)
        return answer(under_way)

    def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels.values():
            channel.close()


def _opened(channel: Connect, role: str, address: Addresses) -> grpc.Channel:
    in_turn = _IN_TURN if len(address.each) > 1 else ()
    return channel(role.replace("-", "_"), address.target, [*_OPTIONS, *in_turn])


def _give_up(under_way: Any, seconds: float) -> None:
    try:
        under_way.exception(timeout=seconds)
    except (grpc.FutureTimeoutError, grpc.FutureCancelledError):
        under_way.cancel()


def answer(under_way: Any) -> Answer:
    """The answer to a call that a stub's `future` has begun. Blocks until it is there."""
    try:
        return Answer(grpc.StatusCode.OK, under_way.result(), Status())
    except grpc.FutureCancelledError:
        return Answer(grpc.StatusCode.CANCELLED, None, Status(code=1, message="given up"))
    except grpc.RpcError as error:
        assert isinstance(error, grpc.Call)
        return Answer(error.code(), None, status(error))

"""First contact with what was named by its address, before the first law: each fault is one line with its cause.

A service that is just being started is waited for; an unknown name, or a listener that is no gRPC server, is not.
"""

import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import grpc
import pika
from google.protobuf.descriptor import MethodDescriptor
from pika.exceptions import (
    AMQPConnectionError,
    AuthenticationError,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from ordersys.contract import descriptors
from ordersys.contract.addresses import Address, parse_list
from tests.contract.harness.client import RPCS, NotReachable

_START_SECONDS = 5.0  # a service and the suite may be started by one script
_POLL = 0.1
_ANSWER_SECONDS = 5.0
_FRAME_BYTES = 9
_BROKER_TROUBLES: dict[type[Exception], str] = {
    ProbableAuthenticationError: "the user or the password is refused",
    AuthenticationError: "the user or the password is refused",
    ProbableAccessDeniedError: "the virtual host is not there, or not for this user,",
    IncompatibleProtocolError: "what listens does not speak AMQP 0-9-1",
}
_ARTICLES = {"order-service": "an"}
_SETTINGS = 4
_NO_MESSAGE = b"\xff"  # a tag that never ends
# What a client of HTTP/2 says first; a server answers with its own SETTINGS, whatever it is asked (RFC 9113 §3.4).
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, _SETTINGS, 0, 0, 0, 0, 0))


def check_services(addresses: Mapping[str, str], patience: float) -> None:
    """Returns when each of them listens and speaks HTTP/2, and is no other service. Raises NotReachable. Blocks."""
    for role, text in addresses.items():
        for address in parse_list(text).each:
            option = f"--{role}={address}"
            with closing(_connected(option, address, min(patience, _START_SECONDS))) as connection:
                _check_http2(option, connection)
            _check_role(option, role, str(address))


def connected_to_broker(url: str) -> pika.BlockingConnection:
    """A connection to the broker of --amqp-url. Raises NotReachable, never with a password. Blocks."""
    parameters = pika.URLParameters(url)
    try:
        return pika.BlockingConnection(parameters)
    except AMQPConnectionError as error:
        why = next(
            (text for kind, text in _BROKER_TROUBLES.items() if isinstance(error, kind)), "nobody can be reached"
        )
        raise NotReachable(
            f"--amqp-url: {why} at {parameters.host}:{parameters.port}; check the URL, or have"
            " `python -m ordersys.local --broker-only` start a RabbitMQ for a trial"
        ) from None


def _connected(option: str, address: Address, seconds: float) -> socket.socket:
    until = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection((address.host, address.port), _ANSWER_SECONDS)
        except socket.gaierror as error:
            raise NotReachable(f"{option}: the name of the host can't be found: {error.strerror}") from None
        except OSError as error:
            if time.monotonic() > until:
                why = error.strerror or "no answer"
                raise NotReachable(
                    f"{option}: nobody can be reached there ({why}); start the service, or give the address it has"
                ) from None
            time.sleep(_POLL)


def _check_http2(option: str, connection: socket.socket) -> None:
    """gRPC is spoken over HTTP/2, here without TLS."""
    heard = b""
    try:
        connection.sendall(_PREFACE)
        while len(heard) < _FRAME_BYTES and (more := connection.recv(_FRAME_BYTES - len(heard))):
            heard += more
    except OSError:  # reset, or silent: as one that says something else
        pass
    if len(heard) < _FRAME_BYTES or heard[3] != _SETTINGS:
        raise NotReachable(
            f"{option}: what listens there is no gRPC server without TLS (it does not speak HTTP/2); give the address"
            " of the service itself"
        )


def _check_role(option: str, role: str, address: str) -> None:
    """A service may have few of its RPCs yet; one that has none of them, and others, is another one."""
    with grpc.insecure_channel(address) as channel:
        if _has_any(channel, RPCS[role]):
            return
        for other, methods in RPCS.items():
            if _has_any(channel, methods):
                raise NotReachable(
                    f"{option}: {_ARTICLES.get(other, 'a')} {other} listens there, and has none of the RPCs of"
                    f" {_ARTICLES.get(role, 'a')} {role}; give the address of that"
                )


def _has_any(channel: grpc.Channel, methods: Sequence[MethodDescriptor]) -> bool:
    return any(_has(channel, method) for method in methods)


def _has(channel: grpc.Channel, method: MethodDescriptor) -> bool:
    """True where the RPC is there. It is asked with bytes that no service can read, and so none can carry out."""
    call: Any = channel.unary_unary(descriptors.path(method))
    try:
        call(_NO_MESSAGE, timeout=_ANSWER_SECONDS)
    except grpc.RpcError as error:
        assert isinstance(error, grpc.Call)
        return error.code() is not grpc.StatusCode.UNIMPLEMENTED
    return True

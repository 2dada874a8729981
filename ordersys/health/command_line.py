"""The command line of `python -m ordersys.health`.

Kubernetes asks grpc.health.v1 by itself; Docker and Compose run a command inside the container, which would else need
a program that is downloaded into the image.
"""

import argparse
import os
from typing import Any, NoReturn, cast

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from ordersys.console import output
from ordersys.console.parser import Parser, UsageError
from ordersys.contract import addresses
from ordersys.contract.addresses import Address, channel_options
from ordersys.grpc_client.credentials import credentials

_PROGRAM = "python -m ordersys.health"
_WORKS, _DOES_NOT, _WRONG_USE = 0, 1, 2
_SECONDS = 3.0
_MOST_SECONDS = 300.0


def main() -> NoReturn:
    """Asks once, and exits 0 where the service says SERVING, 1 where it does not; 2 for wrong usage.

    To be called behind `output.prepare`. Blocks for as long as --timeout says.
    """
    output.finish(_PROGRAM, _run)


def trouble(address: Address, service: str, seconds: float) -> str:
    """The reason why `service` at `address` does not work, in one line; empty where it says SERVING."""
    asked = f"{service!r} at {address}" if service else f"the service at {address}"
    with _channel(address) as channel:
        stub: Any = HealthStub(channel)
        try:
            answer = stub.Check(HealthCheckRequest(service=service), timeout=seconds)
        except grpc.RpcError as error:
            return _unanswered(cast(grpc.Call, error), address, service, seconds)
    if answer.status == HealthCheckResponse.SERVING:
        return ""
    status = answer.status
    known = status in HealthCheckResponse.ServingStatus.values()
    return f"{asked} says {HealthCheckResponse.ServingStatus.Name(status) if known else status}; its log says why"


def _channel(address: Address) -> grpc.Channel:
    """Whichever service it is: its certificate has to be one for the host in the address."""
    authorities = credentials(os.environ).authorities
    if authorities is None:
        return grpc.insecure_channel(str(address), options=channel_options(address))
    return grpc.secure_channel(
        str(address), grpc.ssl_channel_credentials(authorities), options=channel_options(address)
    )


def _unanswered(error: grpc.Call, address: Address, service: str, seconds: float) -> str:
    code = error.code()
    if code is grpc.StatusCode.NOT_FOUND:
        return f"{address} serves no {service!r}; the name is empty, liveness, or the full name of a service"
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return f"{address} does not serve grpc.health.v1; is it a service of this system?"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"{address} did not answer within {seconds:g} s"
    return f"{address} does not answer: {error.details() or code.name}"


def _run() -> int:
    try:
        arguments = _arguments()
        reason = trouble(arguments.address, arguments.service, arguments.timeout)
    except UsageError as error:
        output.error(f"{_PROGRAM}: {error}")
        return _WRONG_USE
    if reason:
        output.error(f"{_PROGRAM}: {reason}")
        return _DOES_NOT
    output.line("SERVING")
    return _WORKS


def _arguments() -> argparse.Namespace:
    parser = Parser(
        prog=_PROGRAM,
        description="Asks a service once how it is (grpc.health.v1).",
        epilog="Exit status: 0 it says SERVING, 1 it says something else or does not answer, 2 wrong usage.",
    )
    parser.add_argument("address", type=_address, metavar="ADDRESS", help="where it listens, such as 127.0.0.1:50051")
    parser.add_argument(
        "--service",
        default="",
        metavar="NAME",
        help="the full name of one of its services, or liveness, which says whether the process answers at all"
        " (default: whether all that it serves works)",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=_SECONDS,
        metavar="SECONDS",
        help=f"how long to wait for the answer (default: {_SECONDS:g})",
    )
    arguments: argparse.Namespace = parser.parse_args()
    return arguments


def _address(text: str) -> Address:
    try:
        return addresses.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} must be {error}") from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _MOST_SECONDS:  # also what is no number
        raise argparse.ArgumentTypeError(f"{text!r} must be more than 0 and at most {_MOST_SECONDS:g} seconds")
    return seconds

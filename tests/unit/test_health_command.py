"""`python -m ordersys.health`: exit status and one line for each answer that a service can give."""

import asyncio
import socket
import sys
from typing import NamedTuple

import grpc
import pytest

from ordersys.local import ports
from tests.unit.test_server import SERVICE, serving

LIVENESS = "liveness"


class Ended(NamedTuple):
    """The end of the command: its exit status and all it wrote."""

    status: int | None
    written: str


async def asked(*arguments: str) -> Ended:
    """Runs the command to its end."""
    command = (sys.executable, "-m", "ordersys.health", *arguments)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    written, _ = await asyncio.wait_for(process.communicate(), 60)
    return Ended(process.returncode, written.decode())


async def test_a_service_that_works_is_0_and_one_that_does_not_is_1() -> None:
    """By each name; liveness is another question."""
    async with serving() as (server, _):
        for working in (True, False):
            await server.healthy(working)
            for name in ("", SERVICE.full_name):
                ended = await asked(server.address, "--service", name)
                assert ended.status == (0 if working else 1)
                assert ("SERVING\n" if working else "says NOT_SERVING; its log says why") in ended.written
            assert (await asked(server.address, f"--service={LIVENESS}")).status == 0


async def test_a_name_nobody_serves_is_named() -> None:
    """With those that could be meant."""
    async with serving() as (server, _):
        ended = await asked(server.address, "--service=no.such.Service")
    assert ended.status == 1
    assert "serves no 'no.such.Service'" in ended.written
    assert "liveness" in ended.written


async def test_an_address_where_nobody_listens_is_named() -> None:
    """In one line."""
    address = f"{ports.LOOPBACK}:{ports.free(1)[0]}"
    ended = await asked(address)
    assert ended.status == 1
    assert f"{address} does not answer" in ended.written
    assert ended.written.count("\n") == 1


async def test_a_server_without_health_is_said_to_be_a_stranger() -> None:
    """Another program has the port."""
    server = grpc.aio.server()
    port = server.add_insecure_port(f"{ports.LOOPBACK}:0")
    await server.start()
    ended = await asked(f"{ports.LOOPBACK}:{port}")
    await server.stop(None)
    assert ended.status == 1
    assert "does not serve grpc.health.v1" in ended.written


async def test_silence_ends_with_the_timeout() -> None:
    """A program that takes connections and says nothing."""
    with socket.create_server((ports.LOOPBACK, 0)) as silent:
        ended = await asked(f"{ports.LOOPBACK}:{silent.getsockname()[1]}", "--timeout=0.5")
    assert ended.status == 1
    assert "did not answer within 0.5 s" in ended.written


@pytest.mark.parametrize("arguments", [[], ["localhost"], ["localhost:1", "--timeout=0"], ["localhost:1", "--nam=x"]])
async def test_wrong_usage_is_2(arguments: list[str]) -> None:
    """No question is asked; one line says what can be typed."""
    ended = await asked(*arguments)
    assert ended.status == 2
    assert ended.written.count("\n") == 1

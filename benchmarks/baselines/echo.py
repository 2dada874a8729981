"""An empty grpc.aio server: `python -m benchmarks.baselines.echo LOOP ADDRESS [NEXT]`.

It answers nothing with nothing; with NEXT it asks there first, so that two of them are two hops. LOOP is the event
loop it runs on.
"""

import asyncio
import sys
from typing import Any

import grpc

from benchmarks import loops

SERVICE, METHOD = "ordersys.benchmarks.Echo", "Echo"
PATH = f"/{SERVICE}/{METHOD}"


async def serve(address: str, following: str = "") -> None:
    """Serves until standard input ends; says so in a line when it listens."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    hop: Any = grpc.aio.insecure_channel(following).unary_unary(PATH) if following else None

    async def echo(request: bytes, context: Any) -> bytes:
        return request if hop is None else await hop(request)

    server.add_registered_method_handlers(SERVICE, {METHOD: grpc.unary_unary_rpc_method_handler(echo)})
    server.add_insecure_port(address)
    await server.start()
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print("{}", flush=True)
    await server.stop(0)


if __name__ == "__main__":
    loops.run(sys.argv[1], serve(*sys.argv[2:]))

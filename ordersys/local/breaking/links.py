"""Links that can be cut: forwarders on this machine through which services reach RabbitMQ and each other.

A forwarder passes octets on and knows no protocol: TLS goes through it from end to end, and names in certificates are
those of services, whatever the address. All of it runs in one event loop.
"""

import asyncio
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress

from ordersys.contract.addresses import Address
from ordersys.local.ports import LOOPBACK

_CHUNK = 65_536
_CLOSE_SECONDS = 1.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: the peer learns of it at once, as of a router that went away


class Forwarder:
    """A port of the loopback interface whose connections lead to an address."""

    def __init__(self, target: Address) -> None:
        """Takes a free port, and keeps it for as long as this lives. Raises OSError."""
        self.target = target
        """The address its connections lead to from now on."""
        self.is_cut = False
        self._socket = socket.create_server((LOOPBACK, 0))
        self.address = Address(LOOPBACK, self._socket.getsockname()[1])
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        """One for each connection."""

    async def start(self) -> None:
        """Takes connections."""
        self._server = await asyncio.start_server(self._connected, sock=self._socket)

    def cut(self) -> None:
        """Resets all connections, and each new one, until `uncut`."""
        self.is_cut = True
        for writer in list(self._open):
            _reset(writer)

    def uncut(self) -> None:
        """Takes connections again."""
        self.is_cut = False

    async def close(self) -> None:
        """Ends it with all connections."""
        if self._server is not None:
            self._server.close()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._open.add(writer)
        try:
            if not self.is_cut:
                await self._passed_on(reader, writer)
        except OSError:  # nobody listens there, or one of both has gone
            pass
        finally:
            self._open.discard(writer)
            _reset(writer)

    async def _passed_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes octets on in both directions until one of the two has ended."""
        from_target, to_target = await asyncio.open_connection(self.target.host, self.target.port)
        self._open.add(to_target)
        there, back = (asyncio.create_task(_pump(*pair)) for pair in ((reader, to_target), (from_target, writer)))
        try:
            await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (there, back):
                task.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
            # Open until it has ended: a peer that reads nothing keeps it so, and a cut has to reach it meanwhile.
            await _ended(to_target)
            self._open.discard(to_target)
            await _ended(writer)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while octets := await reader.read(_CHUNK):
        writer.write(octets)
        await writer.drain()


async def _ended(writer: asyncio.StreamWriter) -> None:
    """Closes a connection in good order: the last words of the one side are still told to the other, if it reads."""
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            writer.close()
            await writer.wait_closed()
    except TimeoutError:
        _reset(writer)
    except OSError:
        pass


def _reset(writer: asyncio.StreamWriter) -> None:
    transport = writer.transport
    if not transport.is_closing():
        with suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


class Links:
    """Links by name, such as order_service/rabbitmq: each of as many forwarders as there are addresses behind it."""

    def __init__(self) -> None:
        self._links: dict[str, Sequence[Forwarder]] = {}

    @property
    def names(self) -> Sequence[str]:
        """The names of all."""
        return list(self._links)

    async def connect(self, name: str, targets: Sequence[Address]) -> Sequence[Address]:
        """Leads a link to these addresses; those to use in their place, which stay the same. Raises OSError."""
        forwarders = self._links.get(name, ())
        if len(forwarders) != len(targets):
            forwarders = [Forwarder(target) for target in targets]
            for forwarder in forwarders:
                await forwarder.start()
            self._links[name] = forwarders
        for forwarder, target in zip(forwarders, targets, strict=True):
            forwarder.target = target
        return [forwarder.address for forwarder in forwarders]

    def cut(self, name: str) -> None:
        """Cuts a link."""
        for forwarder in self._links[name]:
            forwarder.cut()

    def uncut(self, name: str) -> None:
        """Ends the cut of a link."""
        for forwarder in self._links[name]:
            forwarder.uncut()

    async def close(self) -> None:
        """Ends all links."""
        for forwarder in _all(self._links.values()):
            await forwarder.close()


def _all(links: Iterable[Sequence[Forwarder]]) -> list[Forwarder]:
    return [forwarder for link in links for forwarder in link]

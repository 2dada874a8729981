"""A client that speaks HTTP/2 by hand, in the loop of the test: frames out, frames in."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from tests import http2

SECONDS = 20.0
_BYTES = 65_536


class RawClient:
    """One connection. Acknowledges what manners demand, unless told not to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, manners: bool) -> None:
        self._reader, self._writer, self._manners = reader, writer, manners
        self._buffer = bytearray()
        self._next = 1

    async def say(self, octets: bytes) -> None:
        """Says it, as fast as it is taken."""
        self._writer.write(octets)
        await self._writer.drain()

    async def call(self, path: str, more: Iterable[tuple[str, str]] = (), flags: int = http2.END_HEADERS) -> int:
        """The headers of a call, whose stream it is."""
        stream, self._next = self._next, self._next + 2
        await self.say(http2.headers(stream, path, more, flags))
        return stream

    async def frames(self) -> AsyncIterator[http2.Frame]:
        """The frames of the server, until it closes the connection. Raises TimeoutError when none comes for long."""
        while octets := await asyncio.wait_for(self._read(), SECONDS):
            self._buffer += octets
            for frame in http2.frames(self._buffer):
                if self._manners and (answer := http2.answer_to(frame)):
                    await self.say(answer)
                yield frame

    async def end_of(self, stream: int) -> tuple[int, http2.Frame] | None:
        """The end of a stream: its grpc-status, -1 without one, and its last frame; None with the connection."""
        status = -1
        async for frame in self.frames():
            if frame.stream != stream:
                continue
            if frame.kind == http2.HEADERS and (code := http2.status_in(frame.payload)) is not None:
                status = code
            if frame.ends:
                return status, frame
        return None

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(_BYTES)
        except ConnectionError:
            return b""


@asynccontextmanager
async def raw_client(address: str, manners: bool = True) -> AsyncIterator[RawClient]:
    """A connection that has said its greeting."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    client = RawClient(reader, writer, manners)
    try:
        await client.say(http2.greeting({}))
        yield client
    finally:
        writer.transport.abort()

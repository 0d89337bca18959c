"""A TCP relay between a client and a server, for faults of the network that neither end can make by itself.

It relays bytes and understands none of them, so TLS passes through untouched.
"""

from __future__ import annotations

import asyncio
import contextlib


class Tap:
    """Relays connections to one address until told otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._connections: set[_Relay] = set()
        self._away = False
        self.accepted = 0
        """Connections that a client opened, refused ones not counted."""

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Tap:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._server is not None
        self._server.close()
        # A connection that asyncio has just accepted is known to us a few turns later; it would be left over.
        self._away = True
        for _ in range(5):
            await asyncio.sleep(0)
        await asyncio.gather(*(relay.end() for relay in list(self._connections)))

    def cut(self) -> None:
        """End every connection at once, with RST in mid-air."""
        for relay in list(self._connections):
            relay.abort()

    def silence(self) -> None:
        """Stop relaying on the connections of now, without a FIN or a RST to either end. New ones are not affected."""
        for relay in self._connections:
            relay.silent = True

    def leave(self) -> None:
        """Cut everything, and end every new connection at once, until ``come_back``."""
        self._away = True
        self.cut()

    def come_back(self) -> None:
        self._away = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._away:
            writer.transport.abort()
            return
        self.accepted += 1
        relay = _Relay(reader, writer)
        self._connections.add(relay)
        try:
            await relay.run(self._target)
        finally:
            self._connections.discard(relay)


class _Relay:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.silent = False
        self._client = (reader, writer)
        self._writers = [writer]
        self._task = asyncio.current_task()

    async def run(self, target: tuple[str, int]) -> None:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(*target)
            self._writers.append(writer)
            client_reader, client_writer = self._client
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._copy(client_reader, writer))
                tasks.create_task(self._copy(reader, client_writer))
        self.abort()

    def abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def end(self) -> None:
        self.abort()
        # Not cancelled: asyncio's server would log that of a connection that it has accepted.
        if self._task is not None:
            await asyncio.wait([self._task], timeout=5)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                if not self.silent:
                    writer.write(chunk)
                    await writer.drain()
        if not self.silent:
            writer.transport.abort()

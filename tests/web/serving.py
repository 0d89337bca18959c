"""The web room put together as app does it, and a client that sees the bytes. Asserts nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from gotk_exporter.metrics.exposition import Format
from gotk_exporter.metrics.store import Store
from gotk_exporter.telemetry import Telemetry
from gotk_exporter.web.body import Body
from gotk_exporter.web.server import SEND_TIMEOUT_SECONDS, Address, Server
from tests.kube.scripted_clock import ScriptedClock
from tests.web.stores import filled_store

READ_SECONDS = 20.0
"""A server that does not answer must not hang the test."""


class RecordingBody(Body):
    """Remembers which formats were asked for, compressed or not."""

    def __init__(self, store: Store, render_own: Callable[[Format], bytes]) -> None:
        super().__init__(store, render_own)
        self.gzipped_as: list[Format] = []

    async def gzipped(self, fmt: Format) -> bytes:
        self.gzipped_as.append(fmt)
        return await super().gzipped(fmt)


class Exporter:
    """A server and everything behind it that a test may want to move."""

    def __init__(
        self,
        store: Store | None = None,
        *,
        metrics_path: str = "/metrics",
        send_timeout: float = SEND_TIMEOUT_SECONDS,
    ) -> None:
        self.store = filled_store(3) if store is None else store
        self.telemetry = Telemetry()
        self.clock = ScriptedClock()
        self.pending: list[str] = []
        self.render_seconds = 0.0
        self.body = RecordingBody(self.store, self._render_own)
        self.server = Server(
            self.body, self.telemetry, lambda: self.pending, metrics_path, self.clock, send_timeout=send_timeout
        )
        self.url = ""

    async def start(self) -> None:
        self.url = f"http://{await self.server.start(Address('127.0.0.1', 0))}"

    def _render_own(self, fmt: Format) -> bytes:
        self.clock.advance(self.render_seconds)
        return self.telemetry.render(fmt)

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        address = urlsplit(self.url)
        connection = Connection(*await asyncio.open_connection(address.hostname, address.port))
        try:
            yield connection
        finally:
            connection.vanish()


@dataclass(frozen=True)
class Head:
    """Status line and headers of an answer."""

    status: int
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Connection:
    """A client that sends and reads no more than it is told to."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self, method: str, path: str, *headers: str) -> Head:
        """Send a request; returns when the answer's headers are there, its body unread."""
        head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""])
        self.writer.write(head.encode())
        async with asyncio.timeout(READ_SECONDS):
            status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        return Head(int(status.split()[1]), {name.lower(): value for name, _, value in pairs})

    async def read_to_the_end(self) -> bytes:
        """What comes until the server closes the connection, politely or not."""
        received = bytearray()
        async with asyncio.timeout(READ_SECONDS):
            with contextlib.suppress(ConnectionError):
                while piece := await self.reader.read(2**16):
                    received += piece
        return bytes(received)

    def vanish(self) -> None:
        """Go away without a word, whatever is still on its way."""
        self.writer.transport.abort()

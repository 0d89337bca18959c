"""One answer on its way to one client: written piece by piece, stopped by a freeze, slowed or cut by a fault.

A client that does not read is cut off: nothing is kept for it but what one write holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from gotk_exporter.simulator.http.answers import Answer

SEND_SECONDS = 30.0
"""A write that takes longer finds no reader at the other end."""
_PIECE_BYTES = 2**18
"""Between two looks at whether the client reads."""
_HALF_A_LINE = b'{"type":"MODIFIED","object":{"apiVersion":"'


@dataclass(slots=True)
class Troubles:
    """What an answer suffers."""

    delay_seconds: float = 0.0
    bytes_per_second: float | None = None
    cut_after_bytes: int | None = None


class Disconnected(Exception):
    """The connection is gone, by the client's doing or by ours."""


class Stream:
    """Of one request. After Disconnected nothing more can be written."""

    def __init__(self, request: web.BaseRequest, running: asyncio.Event, send_seconds: float = SEND_SECONDS) -> None:
        """``running``: cleared while the server is frozen."""
        self._request = request
        self._running = running
        self._send_seconds = send_seconds
        self._response: web.StreamResponse | None = None
        self._sent = 0
        self.troubles = Troubles()

    async def send(self, answer: Answer) -> web.StreamResponse:
        """A whole answer."""
        headers = {"Content-Type": answer.content_type} if answer.content_type else {}
        response = web.StreamResponse(status=answer.status, headers={**headers, **answer.headers})
        response.content_length = answer.length
        await self._start(response)
        if self._request.method != "HEAD":
            for piece in answer.body:
                await self.write(piece)
        return response

    async def begin(self, headers: Mapping[str, str]) -> web.StreamResponse:
        """An answer without an end in sight, with status 200."""
        response = web.StreamResponse(headers=headers)
        response.enable_chunked_encoding()
        await self._start(response)
        return response

    async def write(self, data: bytes) -> None:
        """Raises Disconnected."""
        assert self._response is not None, "the answer has not begun"
        cut = self.troubles.cut_after_bytes
        if cut is not None and self._sent + len(data) >= cut:
            await self._write_slowly(data[: max(0, cut - self._sent)])
            self._close()
        await self._write_slowly(data)

    def cut(self) -> None:
        """End in the middle of a line, whatever was being written."""
        if self._response is None or self._request.transport is None:
            return
        if self._response.chunked:
            # A whole chunk, so that what is cut is the line and not the framing around it.
            self._request.transport.write(b"%x\r\n%s\r\n" % (len(_HALF_A_LINE), _HALF_A_LINE))
        self._request.transport.close()

    async def _start(self, response: web.StreamResponse) -> None:
        self._response = response
        if self.troubles.delay_seconds:
            await asyncio.sleep(self.troubles.delay_seconds)
        await self._running.wait()
        try:
            await response.prepare(self._request)
        except ConnectionError:
            raise Disconnected from None

    async def _write_slowly(self, data: bytes) -> None:
        rate = self.troubles.bytes_per_second
        size = _PIECE_BYTES if rate is None else max(1, int(rate / 20))
        view = memoryview(data)
        for start in range(0, len(data), size):
            piece = view[start : start + size]
            await self._write(piece)
            if rate is not None:
                await asyncio.sleep(len(piece) / rate)

    async def _write(self, piece: memoryview) -> None:
        assert self._response is not None
        await self._running.wait()
        try:
            async with asyncio.timeout(self._send_seconds):
                await self._response.write(piece)
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise Disconnected from None
        except ConnectionError:
            raise Disconnected from None
        self._sent += len(piece)

    def _close(self) -> None:
        if self._request.transport is not None:
            self._request.transport.close()
        raise Disconnected

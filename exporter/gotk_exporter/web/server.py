"""The HTTP server: routes and answers. What a body holds is body's, which format is negotiation's."""

from __future__ import annotations

import asyncio
import errno
import html
import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from aiohttp import web

from gotk_exporter import __version__
from gotk_exporter.clock import Clock
from gotk_exporter.flux.explanation import Explanation, encode
from gotk_exporter.flux.question import BadQuestion, NoAnswer
from gotk_exporter.metrics.exposition import Format
from gotk_exporter.telemetry import Telemetry
from gotk_exporter.web.body import Body
from gotk_exporter.web.negotiation import accepts_gzip, choose_format

SEND_TIMEOUT_SECONDS = 60.0
"""A scraper that takes longer than this to read its answer has given up: Prometheus' longest usual timeout is a
minute. Its connection is closed; else each one that stalls would hold a page in memory for ever."""


EXPLAIN_PATH = "/api/v1/explain"
Explain: TypeAlias = Callable[[str, str, str | None], Explanation]
_NO_STORE = {"Cache-Control": "no-store"}
_GRACE_SECONDS = 0.1
"""What a scrape under way gets to end in when we stop. aiohttp gives it twice."""


class ListenError(Exception):
    """The address cannot be listened on."""


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """ "host:port", ":port" (every address) or "[::1]:port".

    Raises:
        ValueError: with the remedy.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise ValueError(f'"{text}" is no address; write host:port, [IPv6]:port, or :port for all addresses')
    return Address(found["ipv6"] or found["host"] or "", int(found["port"]))


_ADDRESS = re.compile(r"(\[(?P<ipv6>[^\[\]\s]*:[^\[\]\s]*)\]|(?P<host>[^\[\]:\s]*)):(?P<port>[0-9]{1,5})")


class Server:
    """Serves until it is stopped."""

    def __init__(
        self,
        body: Body,
        telemetry: Telemetry,
        pending: Callable[[], Sequence[str]],
        metrics_path: str,
        clock: Clock,
        send_timeout: float = SEND_TIMEOUT_SECONDS,
        explain: Explain | None = None,
        stale: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """``pending`` names what is not known yet; ``stale`` what is served though nothing has confirmed it for too
        long, and for how many seconds. Ready is who has neither. ``explain``: of a kind, a name and a namespace."""
        self._body = body
        self._telemetry = telemetry
        self._pending = pending
        self._metrics_path = metrics_path
        self._clock = clock
        self._send_timeout = send_timeout
        self._explain = explain
        self._stale = stale
        application = web.Application()
        application.router.add_get(metrics_path, self._metrics)
        application.router.add_get("/-/healthy", self._healthy)
        application.router.add_get("/-/ready", self._ready)
        if explain is not None and metrics_path != EXPLAIN_PATH:
            application.router.add_get(EXPLAIN_PATH, self._explanation)
        if metrics_path != "/":
            application.router.add_get("/", self._landing)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_GRACE_SECONDS)

    async def start(self, address: Address) -> Address:
        """Listen; returns the address with the port that was taken, for port 0.

        Raises:
            ListenError: with the reason and the remedy.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, address.host or None, address.port)
        try:
            await site.start()
        except (OSError, UnicodeError) as error:
            await self._runner.cleanup()
            raise ListenError(
                f"cannot listen on {address}: {_reason(error)}; choose another --web.listen-address"
            ) from None
        return Address(address.host, int(self._runner.addresses[0][1]))

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        fmt = choose_format(_joined(request, "Accept"))
        compressed = accepts_gzip(_joined(request, "Accept-Encoding"))
        headers = {"Content-Type": fmt.content_type, "Vary": "Accept, Accept-Encoding"}
        if compressed:
            headers["Content-Encoding"] = "gzip"
        if request.method == "HEAD":
            # All that a GET would say but its length, which would cost the body.
            return web.Response(headers=headers)
        response = web.StreamResponse(headers=headers)
        body = await self._compressed(fmt) if compressed else None
        try:
            # Only the scraper's own time counts.
            async with asyncio.timeout(self._send_timeout):
                if body is None:
                    await self._send_plain(request, response, fmt)
                else:
                    response.content_length = len(body)
                    await response.prepare(request)
                    await response.write_eof(body)
        except TimeoutError:
            # aiohttp would answer 504 into the middle of the body.
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            # The scraper went away, which aiohttp would log as an error of ours.
            pass
        return response

    async def _compressed(self, fmt: Format) -> bytes:
        started = self._clock.monotonic()
        body = await self._body.gzipped(fmt)
        self._measured(self._clock.monotonic() - started, len(body))
        return body

    async def _send_plain(self, request: web.Request, response: web.StreamResponse, fmt: Format) -> None:
        await response.prepare(request)
        seconds, size = 0.0, 0
        pieces = self._body.plain(fmt)
        while True:
            # Between the pieces it is the scraper that takes its time.
            started = self._clock.monotonic()
            piece = next(pieces, None)
            seconds += self._clock.monotonic() - started
            if piece is None:
                break
            size += len(piece)
            await response.write(piece)
            # write() gives way to nobody while the scraper keeps up: a large page would hold up the watches.
            await asyncio.sleep(0)
        await response.write_eof()
        self._measured(seconds, size)

    def _measured(self, seconds: float, size: int) -> None:
        self._telemetry.scrape_render.set(seconds)
        self._telemetry.scrape_body.set(size)

    async def _healthy(self, _request: web.Request) -> web.Response:
        return web.Response(text="gotk-exporter is healthy.\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        reasons = []
        if pending := self._pending():
            reasons.append(f"waiting for {', '.join(pending)}")
        if stale := self._stale():
            ages = ", ".join(f"{name} for {seconds:.0f} s" for name, seconds in stale.items())
            reasons.append(f"not confirmed by the API server, and served as last known: {ages}")
        if reasons:
            return web.Response(status=503, text=f"Not ready: {'; '.join(reasons)}.\n")
        return web.Response(text="gotk-exporter is ready.\n")

    async def _explanation(self, request: web.Request) -> web.Response:
        kind, name = request.query.get("kind", ""), request.query.get("name", "")
        if not (kind and name):
            return _refused(400, f"{EXPLAIN_PATH} needs the parameters kind and name, and knows namespace")
        assert self._explain is not None
        try:
            explanation = self._explain(kind, name, request.query.get("namespace") or None)
        except BadQuestion as error:
            return _refused(400, str(error))
        except NoAnswer as error:
            return _refused(404, str(error))
        return web.Response(body=encode(explanation), headers=_NO_STORE, content_type="application/json")

    async def _landing(self, _request: web.Request) -> web.Response:
        path = html.escape(self._metrics_path, quote=True)
        return web.Response(text=_LANDING.format(version=__version__, metrics_path=path), content_type="text/html")


def _refused(status: int, error: str) -> web.Response:
    return web.json_response({"error": error}, status=status, headers=_NO_STORE)


def _joined(request: web.Request, name: str) -> str:
    # A list may come as several lines of the same name (RFC 9110, section 5.3).
    return ",".join(request.headers.getall(name, ()))


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "it is no host name"
    # asyncio wraps the system's words in a sentence with the address, which ours has already.
    if error.errno == errno.EADDRINUSE:
        return "it is in use"
    if isinstance(error, socket.gaierror) or error.errno is None:
        return error.strerror or str(error)
    return os.strerror(error.errno)


_LANDING = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>gotk-exporter</title>
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem }}</style>
</head>
<body>
<h1>gotk-exporter</h1>
<p>The true state of every Flux object, for Prometheus. Version {version}.</p>
<ul>
<li><a href="{metrics_path}">Metrics</a></li>
<li><a href="/-/ready">Ready?</a> Says what it still waits for, and what is out of date.</li>
<li><a href="/-/healthy">Healthy?</a></li>
</ul>
</body>
</html>
"""

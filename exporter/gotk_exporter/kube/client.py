"""Requests to the API server: one call, one request; a failure is one of two named errors.

Lists come as decoded pages, or object by object while the answer goes on, watches as a stream of lines. Retrying,
back-off and what an answer means for what we hold belong to the reflector; who we are belongs to credentials. (aiohttp
sends a request a second time by itself when the connection it used goes away before an answer: a kept connection may
have been closed just then.)
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from urllib.parse import quote

import aiohttp
import msgspec

from gotk_exporter import __version__
from gotk_exporter.clock import Clock
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.credentials import Credentials
from gotk_exporter.kube.endpoint import CredentialsError, Endpoint
from gotk_exporter.kube.failures import StatusError, Unreachable, named_errors
from gotk_exporter.kube.listing import ListingStream
from gotk_exporter.kube.wire import Page, ShapeError, decode_status

MAX_LINE_BYTES = 16 * 2**20
"""A watch event beyond this is no event: etcd refuses objects above 1.5 MiB, an aggregated API may allow more."""
MAX_STATUS_BYTES = 64 * 2**10
"""So much is read of an answer that is an error."""
_JSON = "application/json"


class _Silent(Unreachable):
    """It has begun to answer, and stopped for longer than it may."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as this API server serves it."""

    group: str
    version: str
    plural: str
    kind: str

    def path(self, namespace: str | None) -> str:
        """Of its collection: in one namespace, or in all."""
        place = f"/namespaces/{quote(namespace, safe='')}" if namespace is not None else ""
        return f"/apis/{self.group}/{self.version}{place}/{self.plural}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A body that is not a listing."""

    body: bytes
    content_type: str
    etag: str | None
    unchanged: bool
    """304: what we had for this ETag is still right."""


@dataclass(frozen=True, slots=True)
class _Pace:
    """How long an answer may take, in seconds."""

    whole: float | None
    """To its last byte."""
    silence: float | None = None
    """Between two pieces of its body."""


@dataclass(frozen=True, slots=True)
class _Call:
    """What is sent, where that is more than a path."""

    method: str = "GET"
    body: bytes | None = None
    content_type: str = ""


class ApiClient:
    """One session with one API server; used by every reflector."""

    def __init__(
        self,
        credentials: Credentials,
        bounds: Bounds,
        clock: Clock,
        count: Callable[[str, str, str], None] = lambda verb, resource, outcome: None,
    ) -> None:
        self._credentials = credentials
        self._bounds = bounds
        self._clock = clock
        self._count = count
        """Told verb, resource and outcome of each request."""
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ApiClient:
        # No limit: each watch holds a connection for itself, and a request must not wait behind watches.
        connector = aiohttp.TCPConnector(limit=0, socket_factory=_keepalive_socket)
        self._session = aiohttp.ClientSession(
            connector=connector,
            # What a login page sets must not become part of our requests.
            cookie_jar=aiohttp.DummyCookieJar(),
            # Beside the API server bandwidth is cheap and its processor is not.
            headers={"User-Agent": f"gotk-exporter/{__version__}", "Accept-Encoding": "identity"},
            read_bufsize=2**18,
        )
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, accept: str, etag: str | None = None) -> Answer:
        """GET of a non-resource path, as discovery's. Raises ApiError."""
        async with self._answer("get", "", path, {}, accept=accept, etag=etag) as response:
            body = await _read(response)
        content_type = response.headers.get("Content-Type", "")
        return Answer(body, content_type, response.headers.get("ETag"), response.status == 304)

    async def send(self, verb: str, method: str, path: str, body: bytes | None, content_type: str) -> bytes:
        """One request about one object; ``verb`` as RBAC calls it. Returns the object. Raises ApiError."""
        call = _Call(method, body, content_type)
        async with self._answer(verb, "", path, {}, call=call) as response:
            return await _read(response)

    async def list_page(self, resource: Resource, namespace: str | None, continue_token: str) -> Page:
        """One page of a listing. Raises ApiError."""
        params = {"limit": str(self._bounds.page_objects)} | ({"continue": continue_token} if continue_token else {})
        async with self._answer("list", resource.kind, resource.path(namespace), params) as response:
            listing, items = ListingStream(), list[msgspec.Raw]()
            while piece := await _piece(response):
                with _named_shapes():
                    items += listing.feed(piece)
        with _named_shapes():
            page = listing.end()
        if page.items is not None:
            page.items = items + page.items
        return page

    async def list_from_cache(
        self, resource: Resource, namespace: str | None, take: Callable[[Sequence[msgspec.Raw]], None]
    ) -> Page:
        """A listing as the API server has it in memory: all at once, and of any moment.

        Objects are handed to ``take`` while they come; what is returned holds the last of them, and says whether that
        was all: a server that keeps nothing in memory answers by the page. Raises ApiError, after any of them.
        """
        # The limit is for that server; a cache ignores it.
        params = {"resourceVersion": "0", "limit": str(self._bounds.page_objects)}
        pace = _Pace(self._bounds.cache_timeout, self._bounds.cache_silence)
        listing = ListingStream()
        async with self._answer("list", resource.kind, resource.path(namespace), params, pace=pace) as response:
            # Each piece ends with a turn of the event loop: there is never more of it than the session's buffer holds.
            while piece := await _piece(response):
                with _named_shapes():
                    items = listing.feed(piece)
                take(items)
        with _named_shapes():
            return listing.end()

    @contextlib.asynccontextmanager
    async def watch(
        self, resource: Resource, namespace: str | None, resource_version: str, timeout_seconds: float
    ) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """A stream of lines, each a whole event. Raises ApiError, also while it is read.

        It ends when the server ends it, and when nothing has come for ``Bounds.watch_silence``: a kind that rests has
        nothing to say, and a server that is gone shows when the watch is opened anew.
        """
        params = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, round(timeout_seconds))),
        }
        path, pace = resource.path(namespace), _Pace(None, self._bounds.watch_silence)
        async with (
            self._answer("watch", resource.kind, path, params, pace=pace) as response,
            contextlib.aclosing(_lines(response)) as lines,
        ):
            yield lines

    @contextlib.asynccontextmanager
    async def _answer(
        self,
        verb: str,
        resource: str,
        path: str,
        params: Mapping[str, str],
        *,
        accept: str = _JSON,
        etag: str | None = None,
        pace: _Pace | None = None,
        call: _Call = _Call(),
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful answer, its body not read yet. Counts the request; what happens to the body counts no more.

        ``pace``: of the body; None where the whole of it must come within the request's time.
        """
        headers = {"Accept": accept} | ({"If-None-Match": etag} if etag else {})
        if call.content_type:
            headers["Content-Type"] = call.content_type
        try:
            endpoint = await self._credentials.endpoint()
            pace = pace or _Pace(self._bounds.request_timeout)
            response = await self._send(endpoint, call, path, params, headers, pace)
        except (CredentialsError, Unreachable) as error:
            failure = error if isinstance(error, Unreachable) else Unreachable("credentials", str(error))
            self._count(verb, resource, failure.outcome)
            raise failure from None
        self._count(verb, resource, str(response.status))
        async with response:
            try:
                if response.status == 401:
                    self._credentials.refuse(endpoint)
                if response.status not in (200, 201) and not (response.status == 304 and etag):
                    raise await self._refusal(response, endpoint)
                if response.status == 200 and response.content_type != _JSON:
                    raise Unreachable("malformed", _foreign(response))
                yield response
            finally:
                if response.connection is not None and response.connection.transport is not None:
                    # Not read to its end. TLS would say goodbye, and wait half a minute for a peer that is gone.
                    response.connection.transport.abort()

    async def _send(
        self,
        endpoint: Endpoint,
        call: _Call,
        path: str,
        params: Mapping[str, str],
        headers: dict[str, str],
        pace: _Pace,
    ) -> aiohttp.ClientResponse:
        assert self._session is not None, "the client is used outside of its context"
        if endpoint.authorization is not None:
            headers["Authorization"] = endpoint.authorization
        with named_errors(proxied=endpoint.proxy is not None):
            # The head of an answer must always come in time, whatever its body may take.
            async with asyncio.timeout(self._bounds.request_timeout):
                return await self._session.request(
                    call.method,
                    endpoint.base_url + path,
                    params=params,
                    data=call.body,
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(
                        total=pace.whole,
                        # Resolving, TCP, a proxy's CONNECT and TLS together.
                        connect=self._bounds.connect_timeout,
                        sock_read=pace.silence,
                    ),
                    ssl=endpoint.ssl,
                    server_hostname=endpoint.server_hostname,
                    proxy=endpoint.proxy,
                    # The next address must not be handed our token.
                    allow_redirects=False,
                )

    async def _refusal(self, response: aiohttp.ClientResponse, endpoint: Endpoint) -> StatusError:
        body = bytearray()
        # The status says enough where its explanation does not come through.
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with asyncio.timeout(self._bounds.request_timeout):
                while chunk := await response.content.read(MAX_STATUS_BYTES - len(body)):
                    body += chunk
        status = decode_status(bytes(body))
        retry_after = parse_retry_after(response.headers.get("Retry-After"), self._clock.wall())
        if retry_after is None and status.details is not None and status.details.retry_after_seconds:
            retry_after = float(status.details.retry_after_seconds)
        reason = status.reason or response.reason or ""
        message = status.message or _plain_text(response, body) or _foreign(response)
        if endpoint.authorization is not None:
            # A proxy made for debugging may send back what it got.
            message = message.replace(endpoint.authorization.partition(" ")[2] or endpoint.authorization, "…")
        return StatusError(response.status, reason, message, retry_after)


class Lines:
    """Cuts a stream that comes in pieces into lines; an empty one is none. What follows the last line's end waits."""

    def __init__(self, longest: int = MAX_LINE_BYTES) -> None:
        self._longest = longest
        self._rest = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that ``piece`` completes. Raises Unreachable where one grows beyond all bounds."""
        end = piece.rfind(b"\n")
        if end < 0:
            self._rest += piece
            if len(self._rest) > self._longest:
                raise Unreachable("malformed", f"a watch event is larger than {self._longest} bytes")
            return []
        complete = bytes(self._rest) + piece[:end]
        self._rest = bytearray(piece[end + 1 :])
        return [line for line in complete.split(b"\n") if line.strip()]

    def end(self) -> None:
        """No more will come. Raises Unreachable where that is in the middle of a line."""
        if self._rest.strip():
            raise Unreachable("cut", "the stream ended in the middle of an event")


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    lines = Lines()
    # Its silence is the end of a watch, and no failure.
    with contextlib.suppress(_Silent):
        while piece := await _piece(response):
            for line in lines.feed(piece):
                yield line
    lines.end()


async def _piece(response: aiohttp.ClientResponse) -> bytes:
    """What has come meanwhile; nothing when the stream is at its end."""
    with named_errors():
        try:
            return await response.content.readany()
        except aiohttp.SocketTimeoutError:
            raise _Silent("timeout", "the API server stopped in the middle of an answer") from None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    with named_errors():
        return await response.read()


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait, from a Retry-After header: a number of seconds or a date. None where it says nothing usable."""
    if value is None:
        return None
    if value.isascii() and value.strip().isdigit():
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    # RFC 9110 knows dates in GMT only; a date without a zone means it too.
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)


def _plain_text(response: aiohttp.ClientResponse, body: bytes | bytearray) -> str:
    """kube-apiserver's own words where it writes no Status: "404 page not found", "service unavailable"."""
    return body.decode("utf-8", "replace") if response.content_type == "text/plain" else ""


def _foreign(response: aiohttp.ClientResponse) -> str:
    """Why an answer is none of an API server's; empty where it might be one."""
    if 300 <= response.status < 400:
        return "it wants us to go elsewhere, where our credential must not go: is a proxy in front of the API server?"
    if response.content_type == _JSON:
        return ""
    came = response.headers.get("Content-Type", "something without a type")
    return f"it answered with {came[:60]}: is a proxy in front of the API server?"


@contextlib.contextmanager
def _named_shapes() -> Iterator[None]:
    """Turn an answer that is none into Unreachable."""
    try:
        yield
    except ShapeError as error:
        raise Unreachable("malformed", str(error)) from None


def _keepalive_socket(address: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
    """A socket that finds out within half a minute that its peer is gone without a FIN, also while it only listens."""
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    # A sandbox that lacks one of them costs us the discovery of a dead peer, not the connection.
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return sock


_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 30_000))
"""In seconds, but the last, which is in milliseconds: sent bytes that nobody acknowledges end a connection too."""

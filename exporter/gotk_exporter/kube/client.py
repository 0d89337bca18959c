"""Requests to the API server: one call, one request; a failure is one of two named errors.

Lists come as decoded pages, watches as a stream of lines. Retrying, back-off and what an answer means for what we hold
belong to the reflector; who we are belongs to credentials. (aiohttp sends a request a second time by itself when the
connection it used goes away before an answer: a kept connection may have been closed just then.)
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import errno
import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from urllib.parse import quote

import aiohttp

from gotk_exporter import __version__
from gotk_exporter.clock import Clock
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.credentials import Credentials
from gotk_exporter.kube.endpoint import CredentialsError, Endpoint
from gotk_exporter.kube.wire import Page, ShapeError, decode_page, decode_status

MAX_LINE_BYTES = 16 * 2**20
"""A watch event beyond this is no event: etcd refuses objects above 1.5 MiB, an aggregated API may allow more."""
MAX_STATUS_BYTES = 64 * 2**10
"""So much is read of an answer that is an error."""
_JSON = "application/json"


class ApiError(Exception):
    """The API server did not give what was asked for."""

    outcome = "failed"
    """A bounded word for a label."""
    retry_after: float | None = None
    """Seconds that the server asked us to wait."""


class StatusError(ApiError):
    """It answered with an HTTP status other than success (or an ERROR event in a watch, which carries one)."""

    def __init__(self, code: int, reason: str, message: str, retry_after: float | None = None) -> None:
        # It goes into one line of a log, whatever the server (or a proxy) wrote.
        said = " ".join(message.split())[:300]
        super().__init__(" ".join(f"{code} {reason[:60]}".split()) + (f": {said}" if said else ""))
        self.code = code
        self.outcome = str(code)
        self.retry_after = retry_after


class Unreachable(ApiError):
    """No answer, or none that an API server would give."""

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


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

    async def list_page(self, resource: Resource, namespace: str | None, continue_token: str) -> Page:
        """One page of a listing. Raises ApiError."""
        params = {"limit": str(self._bounds.page_objects)} | ({"continue": continue_token} if continue_token else {})
        async with self._answer("list", resource.kind, resource.path(namespace), params) as response:
            body = await _read(response)
        try:
            return decode_page(body)
        except ShapeError as error:
            raise Unreachable("malformed", str(error)) from None

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
        path = resource.path(namespace)
        async with (
            self._answer("watch", resource.kind, path, params, silence=self._bounds.watch_silence) as response,
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
        silence: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful answer, its body not read yet. Counts the request; what happens to the body counts no more.

        ``silence``: how long the body may pause; None where the whole of it must come within the request's time.
        """
        headers = {"Accept": accept} | ({"If-None-Match": etag} if etag else {})
        try:
            endpoint = await self._credentials.endpoint()
            response = await self._send(endpoint, path, params, headers, silence)
        except (CredentialsError, Unreachable) as error:
            failure = error if isinstance(error, Unreachable) else Unreachable("credentials", str(error))
            self._count(verb, resource, failure.outcome)
            raise failure from None
        self._count(verb, resource, str(response.status))
        async with response:
            try:
                if response.status == 401:
                    self._credentials.refuse(endpoint)
                if response.status != 200 and not (response.status == 304 and etag):
                    raise await self._refusal(response, endpoint)
                if response.status == 200 and response.content_type != _JSON:
                    raise Unreachable("malformed", _foreign(response))
                yield response
            finally:
                if response.connection is not None and response.connection.transport is not None:
                    # Not read to its end. TLS would say goodbye, and wait half a minute for a peer that is gone.
                    response.connection.transport.abort()

    async def _send(
        self, endpoint: Endpoint, path: str, params: Mapping[str, str], headers: dict[str, str], silence: float | None
    ) -> aiohttp.ClientResponse:
        assert self._session is not None, "the client is used outside of its context"
        whole = self._bounds.request_timeout
        if endpoint.authorization is not None:
            headers["Authorization"] = endpoint.authorization
        with _named_errors(proxied=endpoint.proxy is not None):
            # The head of an answer must always come in time; a watch's body has all the time it wants.
            async with asyncio.timeout(whole):
                return await self._session.get(
                    endpoint.base_url + path,
                    params=params,
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(
                        total=whole if silence is None else None,
                        # Resolving, TCP, a proxy's CONNECT and TLS together.
                        connect=self._bounds.connect_timeout,
                        sock_read=silence,
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
    while piece := await _piece(response):
        for line in lines.feed(piece):
            yield line
    lines.end()


async def _piece(response: aiohttp.ClientResponse) -> bytes:
    """What has come meanwhile; nothing when the stream is at its end or was silent for too long."""
    with _named_errors():
        try:
            return await response.content.readany()
        except aiohttp.SocketTimeoutError:
            return b""


async def _read(response: aiohttp.ClientResponse) -> bytes:
    with _named_errors():
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
def _named_errors(*, proxied: bool = False) -> Iterator[None]:
    """Turn what goes wrong on the wire into Unreachable."""
    try:
        yield
    # ValueError: an address that no URL or no name may have.
    except (aiohttp.ClientError, OSError, ValueError) as error:
        outcome, text = next((o, t) for kind, o, t in _OUTCOMES if isinstance(error, kind))
        if proxied and outcome == "dns":
            outcome, text = "proxy", "the proxy's name cannot be resolved"
        # From None: the text of the cause may quote addresses and headers.
        raise Unreachable(outcome, text + _detail(error)) from None


_OUTCOMES: tuple[tuple[type[Exception], str, str], ...] = (
    (aiohttp.ClientConnectorCertificateError, "tls", "the API server's certificate is not trusted"),
    (aiohttp.ClientConnectorSSLError, "tls", "TLS with the API server failed"),
    (ssl.SSLError, "tls", "TLS with the API server failed"),
    (aiohttp.ClientConnectorDNSError, "dns", "the API server's name cannot be resolved"),
    (aiohttp.ConnectionTimeoutError, "timeout", "no connection to the API server in time"),
    (TimeoutError, "timeout", "the API server did not answer in time"),
    (aiohttp.ClientProxyConnectionError, "proxy", "the proxy cannot be reached"),
    (aiohttp.ClientHttpProxyError, "proxy", "the proxy refused"),
    (aiohttp.ClientConnectorError, "refused", "no connection to the API server"),
    (aiohttp.ClientPayloadError, "cut", "the connection was cut in the middle of an answer"),
    (aiohttp.ServerDisconnectedError, "cut", "the connection was cut before an answer came"),
    (aiohttp.ClientResponseError, "malformed", "the answer is no HTTP"),
    (OSError, "cut", "the connection was cut"),
    (ValueError, "address", "the API server's address is no URL; see clusters[].cluster.server"),
    (Exception, "failed", "the request failed"),
)
"""The first that fits: a bounded word for a label, and a text."""


def _detail(error: Exception) -> str:
    """What may be added to the text: never a text of aiohttp's, which quotes URLs and headers."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "")
        return f": {reason}" if reason else ""
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return f": {error.os_error.reason}" if isinstance(error.os_error, ssl.SSLError) else ""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f" with {error.status}"
    if isinstance(error, OSError) and error.errno and error.errno in errno.errorcode:
        return f": {os.strerror(error.errno)}"
    return ""


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

"""An HTTP server on loopback that plays an API server (or a proxy in front of one) from a script.

It knows no Kubernetes: what it answers stands in the test. Wire faults are part of the script: chunks, silence, a cut
in mid-air, bytes that are no HTTP, TLS.

    async with ScriptedServer() as server:
        server.answer(path, status(503, "ServiceUnavailable"), page([obj], "7"))     # in turn; the last one for ever
        server.answer(path, Stream(event("ADDED", obj), Silence()), watch=True)
        ...
        await server.received(3)
        assert server.requests[2].query["resourceVersion"] == "7"
"""

from __future__ import annotations

import asyncio
import enum
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web
from multidict import CIMultiDictProxy

Object = Mapping[str, Any]


class Silence:
    """A step at which nothing is sent until the test calls ``set()``, the client goes away or the server stops.

    Of no event loop, so that it may stand in a table of cases.
    """

    def __init__(self) -> None:
        self._over = False
        self._waiting: list[asyncio.Future[None]] = []

    def set(self) -> None:
        """Go on with the next step, now and whenever the answer is given again."""
        self._over = True
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def wait(self) -> None:
        if self._over:
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            await waiting
        finally:
            self._waiting.remove(waiting)


class End(enum.Enum):
    """A last step: how the connection ends."""

    RESET = "with RST, in mid-air"
    CLOSE = "with FIN, without the end that HTTP wants"


Step = bytes | Silence | End


@dataclass(frozen=True)
class Reply:
    """An ordinary answer, with its Content-Length."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


class Stream:
    """A chunked answer, step by step: each ``bytes`` is one chunk, which the client reads before the next step begins.

    The head goes out before the first step. After the last step the answer is complete, unless that is an ``End``.
    """

    def __init__(
        self,
        *steps: Step,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> None:
        self.steps = steps
        self.status = status
        self.headers = {"Content-Type": content_type, **(headers or {})}


class Raw:
    """Bytes in place of an answer, the status line included; then FIN, unless the last step says otherwise.

    ``Raw(Silence())`` accepts a request and never answers it.
    """

    def __init__(self, *steps: Step) -> None:
        self.steps = steps


@dataclass(frozen=True, eq=False)
class Request:
    """What the client sent."""

    method: str
    path: str
    """Decoded, without the query."""
    query: Mapping[str, str]
    headers: CIMultiDictProxy[str]
    target: str
    """As it stood in the request line: a proxy gets the whole URL."""
    connection: object
    """The same for two requests that came over one connection."""
    certificate: Mapping[str, Any] | None
    """The client's, where the server's TLS context asks for one."""

    @property
    def watch(self) -> bool:
        return "watch" in self.query


Answer = Reply | Stream | Raw
Scripted = Answer | Callable[[Request], Awaitable[Answer]]
"""An answer, or a coroutine function that makes one of the request."""


class ScriptedServer:
    """Answers from its script while its ``async with`` block runs. What no test scripted gets 501 and says so."""

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.requests: list[Request] = []
        """All so far, in the order in which they arrived."""
        self._tls = tls
        self._port = port
        self._script: dict[tuple[str, bool], list[Scripted]] = {}
        self._rest: Scripted = _not_scripted
        self._handlers: set[asyncio.Task[Any]] = set()
        self._change = asyncio.Condition()
        self._runner: web.ServerRunner | None = None
        self._defects: list[Exception] = []

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    def answer(self, path: str, *answers: Scripted, watch: bool = False) -> None:
        """Answer requests for ``path`` (watches if ``watch``, else all others) with these in turn, the last for ever.

        Replaces what was scripted for it before.
        """
        assert answers, "an empty script answers nothing"
        self._script[path, watch] = list(answers)

    def answer_rest(self, answer: Scripted) -> None:
        """Answer this to every request for which nothing else is scripted."""
        self._rest = answer

    async def received(self, count: int) -> None:
        """Wait until ``count`` requests have arrived since the start."""
        async with self._change:
            await self._change.wait_for(lambda: len(self.requests) >= count)

    async def idle(self) -> None:
        """Wait until no request is being answered: every answer is complete, or its client has gone away."""
        async with self._change:
            await self._change.wait_for(lambda: not self._handlers)

    async def __aenter__(self) -> Self:
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._runner is not None
        for handler in tuple(self._handlers):
            handler.cancel()
        await self._runner.cleanup()
        if self._defects:
            raise ExceptionGroup("the script is at fault", self._defects)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        handler = asyncio.current_task()
        assert handler is not None
        received = Request(
            request.method,
            request.path,
            dict(request.query),
            request.headers,
            request.raw_path,
            request.protocol,
            request.get_extra_info("peercert"),
        )
        self._handlers.add(handler)
        await self._changed(received)
        try:
            return await self._perform(request, await self._next(received))
        except OSError:
            raise  # the client has gone away
        except Exception as error:
            self._defects.append(error)
            raise
        finally:
            self._handlers.discard(handler)
            await self._changed()

    async def _changed(self, received: Request | None = None) -> None:
        async with self._change:
            if received is not None:
                self.requests.append(received)
            self._change.notify_all()

    async def _next(self, request: Request) -> Answer:
        answers = self._script.get((request.path, request.watch)) or [self._rest]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return await answer(request) if callable(answer) else answer

    async def _perform(self, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
        if isinstance(answer, Reply):
            headers = {"Content-Type": answer.content_type, **answer.headers}
            return web.Response(status=answer.status, body=answer.body, headers=headers)
        response = web.StreamResponse()
        if isinstance(answer, Stream):
            response = web.StreamResponse(status=answer.status, headers=answer.headers)
            response.enable_chunked_encoding()
            await response.prepare(request)
        for step in answer.steps:
            if isinstance(step, Silence):
                await step.wait()
            elif step is End.RESET:
                _abort(request)
            elif step is End.CLOSE:
                _close(request)
            elif isinstance(answer, Stream):
                await response.write(step)
            else:
                _transport(request).write(step)
            await _let_the_client_read()
        if isinstance(answer, Raw):
            _close(request)
        return response


async def _not_scripted(request: Request) -> Answer:
    what = "a watch of" if request.watch else request.method
    return status(501, "NotImplemented", f"the test scripts no answer to {what} {request.path}")


async def _let_the_client_read() -> None:
    """Both ends live in one event loop: what was written is in the client's socket, and read in its next rounds."""
    for _ in range(5):
        await asyncio.sleep(0)


def _transport(request: web.BaseRequest) -> asyncio.Transport:
    transport = request.transport
    assert isinstance(transport, asyncio.Transport), "the client has gone away"
    return transport


def _close(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.close()


def _abort(request: web.BaseRequest) -> None:
    transport = _transport(request)
    # Without it the kernel sends a FIN as for close().
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def page(items: Sequence[Object], resource_version: str, continue_token: str = "") -> Reply:
    """One page of a listing."""
    metadata = {"resourceVersion": resource_version, **({"continue": continue_token} if continue_token else {})}
    return Reply(body=json.dumps({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}).encode())


def status(
    code: int,
    reason: str,
    message: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    retry_after_seconds: int | None = None,
) -> Reply:
    """An error as an API server puts it."""
    return Reply(code, json.dumps(status_object(code, reason, message, retry_after_seconds)).encode(), headers or {})


def status_object(code: int, reason: str, message: str = "", retry_after_seconds: int | None = None) -> dict[str, Any]:
    """A Status: the body of status(), or the object of an ERROR event."""
    details = {} if retry_after_seconds is None else {"details": {"retryAfterSeconds": retry_after_seconds}}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
        **details,
    }


def event(event_type: str, obj: Object) -> bytes:
    """A line of a watch, its end included."""
    return json.dumps({"type": event_type, "object": obj}).encode() + b"\n"


def html(code: int = 200, text: str = "<html><body>Please sign in</body></html>") -> Reply:
    """What a proxy answers in place of the API server."""
    return Reply(code, text.encode(), content_type="text/html; charset=utf-8")

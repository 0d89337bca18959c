"""The server: a storage over HTTP on loopback, as kubectl and our client expect it, with faults on demand.

It owns the listening socket, the connections and their tasks, and nothing else: what is answered stands in the
handlers, what is true in the storage, which may be written in process meanwhile.

    async with ApiServer(new_cluster(clock.wall)) as server:
        server.url, server.storage, server.faults, server.access
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Self

from aiohttp import web

from gotk_exporter.simulator.http.access import Access
from gotk_exporter.simulator.http.answers import Answer, refused, text_answer
from gotk_exporter.simulator.http.calls import Call, find_kind
from gotk_exporter.simulator.http.discovery import Discovery
from gotk_exporter.simulator.http.faults import Cut, Faults, Hang, Reply, Slow
from gotk_exporter.simulator.http.openapi import OpenApi
from gotk_exporter.simulator.http.reading import get_object, list_objects
from gotk_exporter.simulator.http.routing import Target, parse_target
from gotk_exporter.simulator.http.streams import SEND_SECONDS, Disconnected, Stream
from gotk_exporter.simulator.http.watching import BOOKMARK_SECONDS, Watch, Watches
from gotk_exporter.simulator.http.writing import (
    create_object,
    delete_object,
    delete_objects,
    patch_object,
    update_object,
)
from gotk_exporter.simulator.state.errors import Refusal, body_too_large, method_not_allowed, not_found
from gotk_exporter.simulator.storage import Storage

MAX_BODY_BYTES = 3 * 2**20
BODY_SECONDS = 30.0
"""What a client gets to send its body in."""
_GRACE_SECONDS = 0.02

_HANDLERS: Mapping[tuple[str, str], Callable[[Storage, Call], Answer]] = {
    ("get", ""): get_object,
    ("get", "status"): get_object,
    ("list", ""): list_objects,
    ("create", ""): create_object,
    ("update", ""): update_object,
    ("update", "status"): update_object,
    ("update", "finalize"): update_object,
    ("patch", ""): patch_object,
    ("patch", "status"): patch_object,
    ("delete", ""): delete_object,
    ("deletecollection", ""): delete_objects,
}
"""By verb and subresource; a watch is no single answer."""
_HEALTH = frozenset({"/healthz", "/livez", "/readyz"})


class ApiServer:
    """One server; an ``async with`` block starts and closes it."""

    def __init__(
        self,
        storage: Storage,
        *,
        port: int = 0,
        bookmark_seconds: float = BOOKMARK_SECONDS,
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        """``port``: 0 for a free one, which then stays its own. ``send_seconds``: after which a client that does not
        read is cut off."""
        self.storage = storage
        self.faults = Faults()
        self.access = Access(storage.now)
        self._port = port
        self._bookmark_seconds = bookmark_seconds
        self._send_seconds = send_seconds
        self._discovery = Discovery(storage)
        self._openapi = OpenApi(storage)
        self._watches = Watches(storage)
        self._running = asyncio.Event()
        self._streams: dict[asyncio.Task[object], tuple[str, str, Stream]] = {}
        self._web: web.Server | None = None
        self._listener: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def listening(self) -> bool:
        """Not before its start, nor between kill() and restart()."""
        return self._listener is not None and self._listener.is_serving()

    @property
    def watches(self) -> int:
        """How many are open."""
        return len(self._watches)

    @property
    def requests(self) -> int:
        """How many are being answered, watches and those that hang included."""
        return len(self._streams)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen. Raises OSError where the port is taken."""
        loop = asyncio.get_running_loop()
        self._running.set()
        self._web = web.Server(
            self._handle,
            request_factory=self._make_request,
            handler_cancellation=True,
            access_log=None,
            # Names of objects and selectors make long paths.
            max_line_size=2**16,
        )
        self._listener = await loop.create_server(self._web, "127.0.0.1", self._port)
        self._port = self._listener.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End at once: streams are ended, requests cancelled, connections closed; nothing is left."""
        await self._end()
        for part in self._discovery, self._openapi, self._watches:
            part.close()

    def kill(self) -> None:
        """As a crash: connections are reset, and new ones refused until restart()."""
        if self._listener is not None:
            self._listener.close()
        for connection in self._web.connections if self._web is not None else ():
            if connection.transport is not None:
                connection.transport.abort()

    async def restart(self) -> None:
        """Start again at the same address, with all objects and no history: watches from before get a 410."""
        self.kill()
        await self._end()
        self.storage.compact()
        await self.start()

    def freeze(self) -> None:
        """Accept connections and answer nothing; streams pause."""
        self._running.clear()

    def thaw(self) -> None:
        """Go on, and answer what came meanwhile."""
        self._running.set()

    def compact(self) -> None:
        """Forget all history: watches and continue tokens from before get a 410. Open watches miss nothing."""
        self.storage.compact()

    def cut_streams(self, *, verbs: Collection[str] = (), resources: Collection[str] = ()) -> int:
        """End every answer under way in the middle of a line; returns how many. Empty means all."""
        cut = [
            stream
            for verb, resource, stream in self._streams.values()
            if verb in (verbs or {verb}) and resource in (resources or {resource})
        ]
        for stream in cut:
            stream.cut()
        return len(cut)

    async def _end(self) -> None:
        if self._web is None or self._listener is None:
            return
        self._listener.close()
        # A connection that asyncio has just accepted is known to us two turns later; ended now, it would be left over.
        for _ in range(3):
            await asyncio.sleep(0)
        tasks = [*self._streams]
        for task in tasks:
            task.cancel()
        transports = [connection.transport for connection in self._web.connections if connection.transport is not None]
        self._web.pre_shutdown()
        await self._web.shutdown(_GRACE_SECONDS)
        # One whose client does not read what it was sent would stay open until it does.
        for transport in transports:
            transport.abort()
        await self._listener.wait_closed()
        await asyncio.sleep(0)
        self._web = self._listener = None

    # What aiohttp does itself, but for the size of a body.
    def _make_request(self, message, payload, protocol, writer, task) -> web.BaseRequest:  # type: ignore[no-untyped-def]
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        target = parse_target(request.path)
        verb = target.verb(request.method, request.query) if target is not None else "get"
        resource = target.plural if target is not None else ""
        stream = Stream(request, self._running, self._send_seconds)
        self._streams[task] = verb, resource, stream
        try:
            await self._running.wait()
            replaced = await self._suffer(stream, verb, resource)
            if replaced is not None:
                return await stream.send(replaced)
            return await self._answer(request, stream, target, verb)
        except Disconnected:
            # Somebody must be told an answer; nobody will hear it.
            return web.Response()
        finally:
            del self._streams[task]

    async def _suffer(self, stream: Stream, verb: str, resource: str) -> Answer | None:
        """What faults do to the request; an answer where one takes the place of ours."""
        replaced = None
        for fault in self.faults.strike(verb, resource):
            match fault.kind:
                case Hang():
                    await fault.cleared()
                case Reply(status, body, content_type, headers):
                    replaced = Answer(status, (body,), content_type, headers)
                case Slow(delay, rate):
                    stream.troubles.delay_seconds, stream.troubles.bytes_per_second = delay, rate
                case Cut(after_bytes):
                    stream.troubles.cut_after_bytes = after_bytes
        return replaced

    async def _answer(
        self, request: web.BaseRequest, stream: Stream, target: Target | None, verb: str
    ) -> web.StreamResponse:
        try:
            account = self.access.authenticate(request.headers.get("Authorization", ""))
            if target is None:
                self.access.authorize_path(account, request.method, request.path)
                return await stream.send(self._document(request))
            self.access.authorize(account, verb, target)
            call = await self._call(request, target, verb)
            if verb != "watch":
                return await stream.send(_HANDLERS[verb, target.subresource](self.storage, call))
            watch = Watch(self.storage, call, self._bookmark_seconds)
        except Refusal as refusal:
            return await stream.send(refused(refusal))
        # From here on, or the end of its kind could pass it by.
        with self._watches.waking(watch):
            response = await stream.begin({"Content-Type": "application/json"})
            await watch.run(stream)
        return response

    def _document(self, request: web.BaseRequest) -> Answer:
        """What is served beside resources."""
        path = request.path
        if path in _HEALTH:
            return text_answer("ok")
        if path.startswith("/openapi/v3"):
            return self._openapi.answer(path)
        return self._discovery.answer(path, request.headers.get("Accept", ""), request.headers.get("If-None-Match", ""))

    async def _call(self, request: web.BaseRequest, target: Target, verb: str) -> Call:
        kind, version = find_kind(self.storage, target, verb)
        known = {"", *kind.subresources, *(("status",) if version.status else ())}
        if target.subresource not in known:
            raise not_found(kind, target.object_name)
        if (verb != "watch" and (verb, target.subresource) not in _HANDLERS) or verb not in kind.verbs:
            raise method_not_allowed(kind, verb)
        return Call(
            target,
            verb,
            kind,
            version,
            request.query,
            request.headers.get("Accept", ""),
            request.headers.get("Content-Type", "").partition(";")[0].strip(),
            request.headers.get("User-Agent", ""),
            await self._body(request),
        )

    async def _body(self, request: web.BaseRequest) -> bytes:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise body_too_large(MAX_BODY_BYTES) from None

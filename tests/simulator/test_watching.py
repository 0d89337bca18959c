"""Watches over HTTP: what keeps them going, what ends them, and what a client gets that does not read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from gotk_exporter.simulator.apiserver import ApiServer
from gotk_exporter.simulator.cluster import new_cluster
from gotk_exporter.simulator.crds import DEFINITIONS
from gotk_exporter.simulator.state.objects import GroupResource
from gotk_exporter.simulator.storage import Storage
from tests.simulator.talk import eventually

APPS = GroupResource("kustomize.toolkit.fluxcd.io", "kustomizations")
PATH = f"/apis/{APPS.group}/v1/{APPS.plural}"
SECONDS = 10.0


class Stream:
    """An open watch."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self) -> tuple[str, Any] | None:
        """Type and object of the next event; None at the end."""
        async with asyncio.timeout(SECONDS):
            line = await self._response.content.readline()
        event = json.loads(line) if line else None
        return (event["type"], event["object"]) if event else None

    async def names(self, count: int) -> list[tuple[str, str]]:
        found = [await self.next() for _ in range(count)]
        return [(event[0], event[1]["metadata"]["name"]) for event in found if event is not None]


OpenWatch = Callable[..., Awaitable[Stream]]


@pytest.fixture
async def open_watch(server: ApiServer) -> AsyncIterator[OpenWatch]:
    """``await open_watch(path=..., at=..., **query)``: of Kustomizations, at this server; closed with the test."""
    async with AsyncExitStack() as watches:
        session = await watches.enter_async_context(aiohttp.ClientSession())

        async def open_one(path: str = PATH, at: ApiServer = server, **query: str) -> Stream:
            response = await watches.enter_async_context(session.get(at.url + path, params={"watch": "1", **query}))
            assert response.status == 200, await response.text()
            return Stream(response)

        yield open_one


def create(storage: Storage, name: str, **spec: Any) -> int:
    return storage.create(APPS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec}).version


async def test_a_write_in_process_reaches_every_watch(storage: Storage, open_watch: OpenWatch) -> None:
    watches = [await open_watch(resourceVersion=str(storage.version)) for _ in range(5)]
    create(storage, "a")
    create(storage, "b")

    for watch in watches:
        assert await watch.names(2) == [("ADDED", "a"), ("ADDED", "b")]


async def test_without_a_version_a_watch_begins_with_all_that_is_there(storage: Storage, open_watch: OpenWatch) -> None:
    for name in "a", "b":
        create(storage, name)
    watch = await open_watch()
    create(storage, "c")

    assert await watch.names(3) == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]


async def test_initial_events_end_with_a_bookmark(storage: Storage, open_watch: OpenWatch) -> None:
    create(storage, "a")
    watch = await open_watch(sendInitialEvents="true", resourceVersionMatch="NotOlderThan", allowWatchBookmarks="true")

    assert await watch.names(1) == [("ADDED", "a")]
    bookmark = await watch.next()
    assert bookmark is not None
    assert bookmark[0] == "BOOKMARK"
    assert bookmark[1]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert bookmark[1]["metadata"]["resourceVersion"] == str(storage.version)


async def test_a_bookmark_comes_now_and_then_and_before_the_end(storage: Storage, open_watch: OpenWatch) -> None:
    async with ApiServer(storage, bookmark_seconds=0.2) as server:
        since = create(storage, "a")
        query = {"allowWatchBookmarks": "true", "timeoutSeconds": "1"}
        watch = await open_watch(at=server, resourceVersion=str(since), **query)
        # Of another kind, and so no event here; but who starts from it later misses nothing.
        storage.ensure_namespace("other")

        events = []
        while (event := await watch.next()) is not None:
            events.append(event)
    assert len(events) >= 3
    assert {event[0] for event in events} == {"BOOKMARK"}
    assert events[-1][1]["metadata"]["resourceVersion"] == str(storage.version)
    assert events[-1][1]["kind"] == "Kustomization"


async def test_without_being_asked_no_bookmark_comes(storage: Storage, open_watch: OpenWatch) -> None:
    async with ApiServer(storage, bookmark_seconds=0.1) as server:
        watch = await open_watch(at=server, resourceVersion=str(storage.version), timeoutSeconds="1")

        assert await watch.next() is None


async def test_a_watch_from_a_forgotten_version_is_told_so_and_ends(storage: Storage, open_watch: OpenWatch) -> None:
    since = create(storage, "a")
    create(storage, "b")
    storage.compact()
    watch = await open_watch(resourceVersion=str(since))

    error = await watch.next()
    assert error is not None
    assert (error[0], error[1]["code"], error[1]["reason"]) == ("ERROR", 410, "Expired")
    assert await watch.next() is None


async def test_a_compaction_does_not_disturb_an_open_watch(storage: Storage, open_watch: OpenWatch) -> None:
    since = create(storage, "a")
    watch = await open_watch(resourceVersion=str(since))
    storage.ensure_namespace("other")
    storage.compact()
    create(storage, "b")

    assert await watch.names(1) == [("ADDED", "b")]


async def test_a_changed_definition_ends_the_watches_of_its_kind_only(storage: Storage, open_watch: OpenWatch) -> None:
    now = str(storage.version)
    watch = await open_watch(resourceVersion=now)
    undisturbed = await open_watch("/apis/source.toolkit.fluxcd.io/v1/buckets", resourceVersion=now)
    name = f"{APPS.plural}.{APPS.group}"
    versions = storage.get(DEFINITIONS, "", name).document()["spec"]["versions"]
    create(storage, "a")
    storage.patch(
        DEFINITIONS, "", name, {"spec": {"versions": [{**versions[0], "name": "v2", "storage": False}, *versions]}}
    )

    assert await watch.names(1) == [("ADDED", "a")]
    assert await watch.next() is None
    bucket = {"metadata": {"name": "x", "namespace": "default"}}
    storage.create(GroupResource("source.toolkit.fluxcd.io", "buckets"), bucket)
    assert await undisturbed.names(1) == [("ADDED", "x")]


async def test_a_watch_that_falls_out_of_history_ends() -> None:
    storage = new_cluster(time.time, history_events=50)
    async with ApiServer(storage) as server, raw_watch(server) as reader:
        create(storage, "first", text="x" * LARGE)
        for number in range(20):
            create(storage, f"many-{number}", text="x" * LARGE)
        # So it is being sent, and nobody reads on.
        await reader.readuntil(b'"first"')
        for number in range(100):
            create(storage, f"late-{number}")

        async with asyncio.timeout(SECONDS):
            received = await reader.read()
        assert b'"many-19"' in received
        assert b'"late-99"' not in received
        # An end as HTTP wants it: the client asks anew, and learns then that it came too late.
        assert received.endswith(b"\r\n0\r\n\r\n")


async def test_a_client_that_does_not_read_is_cut_off(storage: Storage) -> None:
    async with ApiServer(storage, send_seconds=0.2) as server, raw_watch(server):
        for number in range(20):
            create(storage, f"many-{number}", text="x" * LARGE)

        await eventually(lambda: server.watches == 0)


async def test_a_watch_is_forgotten_when_its_client_leaves(server: ApiServer) -> None:
    async with raw_watch(server):
        assert server.watches == 1

    await eventually(lambda: server.watches == 0)


LARGE = 500_000
"""Of 20 such objects, more than two kernels hold for a reader that does not read."""


@contextlib.asynccontextmanager
async def raw_watch(server: ApiServer) -> AsyncIterator[asyncio.StreamReader]:
    """A watch from now on, of which little fits between the two ends; the head of its answer is read."""
    address = urlsplit(server.url)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (address.hostname, address.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=2 * LARGE)
    try:
        query = f"watch=1&resourceVersion={server.storage.version}"
        writer.write(f"GET {PATH}?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        yield reader
    finally:
        writer.transport.abort()

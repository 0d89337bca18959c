"""The server's own life: it starts, freezes, dies, comes back and ends, and who may ask it is told apart."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from gotk_exporter.simulator.apiserver import ApiServer
from gotk_exporter.simulator.cluster import new_cluster
from gotk_exporter.simulator.http.access import ANY, Permission
from gotk_exporter.simulator.http.faults import Hang
from gotk_exporter.simulator.state.objects import GroupResource
from gotk_exporter.simulator.storage import Storage
from tests.simulator.talk import Talk, eventually

APPS = GroupResource("kustomize.toolkit.fluxcd.io", "kustomizations")
PATH = f"/apis/{APPS.group}/v1/{APPS.plural}"
SECONDS = 10.0
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
EVERYTHING = Permission(frozenset({ANY}), frozenset({ANY}), frozenset({ANY}))


def create(storage: Storage, name: str) -> int:
    document: dict[str, Any] = {"metadata": {"name": name, "namespace": "default"}, "spec": {}}
    return storage.create(APPS, document).version


def open_sockets() -> int:
    links = Path("/proc/self/fd").iterdir()
    # The one of the listing itself is gone again.
    return sum("socket:" in str(link.readlink()) for link in links if link.is_symlink())


async def test_it_ends_within_a_tenth_of_a_second_and_leaves_nothing(storage: Storage) -> None:
    before = asyncio.all_tasks()
    server = ApiServer(storage)
    await server.start()
    async with aiohttp.ClientSession(server.url) as session:
        watches = [await session.get(f"{PATH}?watch=1") for _ in range(20)]
        hang = server.faults.add(Hang(), verbs={"list"})
        hanging = asyncio.create_task(session.get(PATH))
        await eventually(lambda: hang.hits == 1)
        server.freeze()
        frozen = asyncio.create_task(session.get(f"{PATH}?watch=1"))
        await eventually(lambda: server.requests == 22)

        started = time.monotonic()
        await server.close()
        assert time.monotonic() - started < 0.1

        for lost in hanging, frozen:
            with pytest.raises(aiohttp.ClientError):
                await lost
        for watch in watches:
            watch.close()
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get("/readyz")
    assert asyncio.all_tasks() == before
    # Nobody listens to the storage any more.
    create(storage, "a")
    assert server.watches == 0


async def test_it_ends_though_a_client_does_not_read_what_it_is_sent(storage: Storage) -> None:
    for number in range(200):
        document = {"metadata": {"name": f"{number}", "namespace": "default"}, "spec": {"text": "x" * 100_000}}
        storage.create(APPS, document)
    server = ApiServer(storage)
    await server.start()
    address = urlsplit(server.url)
    before = open_sockets()
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await reader.readuntil(b"\r\n")
    await server.close()
    # The client's end of it, and no longer the one on which the server listened.
    assert open_sockets() == before
    writer.transport.abort()


async def test_a_killed_server_resets_refuses_and_comes_back_without_its_memory(
    server: ApiServer, storage: Storage, talk: Talk
) -> None:
    since = create(storage, "a")
    async with aiohttp.ClientSession(server.url) as session, session.get(f"{PATH}?watch=1") as watch:
        await watch.content.readline()
        url = server.url

        server.kill()

        with pytest.raises(aiohttp.ClientError):
            await watch.content.readline()
        with pytest.raises(aiohttp.ClientError):
            await talk.ask("GET", PATH)
    # What is written meanwhile is not lost: a cluster's store is not its API server.
    create(storage, "b")
    await server.restart()

    assert server.url == url
    _, listing = await talk.ask("GET", PATH)
    assert [item["metadata"]["name"] for item in listing["items"]] == ["a", "b"]
    error = await talk.first_event(PATH, resourceVersion=str(since))
    assert (error["type"], error["object"]["code"]) == ("ERROR", 410)
    now = listing["metadata"]["resourceVersion"]
    async with talk.watching(PATH, 1, resourceVersion=now):
        create(storage, "c")
    assert talk.lines[-1][2][0]["object"]["metadata"]["name"] == "c"


async def test_a_frozen_server_answers_when_it_is_thawed(server: ApiServer, storage: Storage, talk: Talk) -> None:
    async with aiohttp.ClientSession(server.url) as session, session.get(f"{PATH}?watch=1") as watch:
        server.freeze()
        asked = asyncio.create_task(talk.ask("GET", PATH))
        await eventually(lambda: server.requests == 2)
        create(storage, "a")
        line = asyncio.create_task(watch.content.readline())
        # Long enough for what would come, were it not frozen.
        done, _ = await asyncio.wait({asked, line}, timeout=0.3)
        assert not done

        server.thaw()

        async with asyncio.timeout(SECONDS):
            assert [item["metadata"]["name"] for item in (await asked)[1]["items"]] == ["a"]
            assert json.loads(await line)["object"]["metadata"]["name"] == "a"


async def test_two_servers_share_a_storage(server: ApiServer, storage: Storage, talk: Talk) -> None:
    async with ApiServer(storage) as other, Talk(other.url) as there, talk.watching(PATH, 1, resourceVersion="0"):
        await there.say("POST", f"/apis/{APPS.group}/v1/namespaces/default/{APPS.plural}", _app("a"))

    assert talk.lines[-1][2][0]["object"]["metadata"]["name"] == "a"


async def test_without_a_token_everything_is_allowed_and_with_one_what_it_stands_for(
    server: ApiServer, talk: Talk
) -> None:
    lists = Permission(frozenset({APPS.group}), frozenset({APPS.plural}), frozenset({"list"}), frozenset({"default"}))
    server.access.grant("some", [lists])
    server.access.grant("all", [EVERYTHING])
    inside = f"/apis/{APPS.group}/v1/namespaces/default/{APPS.plural}"

    async def status(path: str, token: str | None) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        found, _ = await talk.ask("GET", path, headers=headers)
        return found

    assert [await status(PATH, token) for token in (None, "all", "some", "unknown")] == [200, 200, 403, 401]
    assert [await status(inside, token) for token in (None, "all", "some", "unknown")] == [200, 200, 200, 401]
    server.access.revoke("all")
    assert await status(PATH, "all") == 401


async def test_a_token_ends_when_its_time_has_come_but_not_the_watch_that_it_opened() -> None:
    now = [1_000.0]
    storage = new_cluster(lambda: now[0])
    async with ApiServer(storage) as server, Talk(server.url, "short") as talk:
        server.access.grant("short", [EVERYTHING], expires=1_060.0)
        async with talk.watching(PATH, 1, resourceVersion="0"):
            now[0] = 1_059.0
            assert (await talk.ask("GET", PATH))[0] == 200
            now[0] = 1_060.0
            assert (await talk.ask("GET", PATH))[0] == 401
            create(storage, "a")
        assert talk.lines[-1][2][0]["type"] == "ADDED"


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
async def test_aggregated_discovery_is_the_same_until_a_kind_changes(
    version: str, server: ApiServer, storage: Storage
) -> None:
    async def ask(session: aiohttp.ClientSession, etag: str = "") -> tuple[int, str, str]:
        headers = {"Accept": AGGREGATED.format(version)} | ({"If-None-Match": etag} if etag else {})
        async with session.get("/apis", headers=headers) as response:
            return response.status, response.headers["ETag"], await response.text()

    async with aiohttp.ClientSession(server.url) as session:
        status, etag, body = await ask(session)
        assert status == 200
        assert json.loads(body)["apiVersion"] == f"apidiscovery.k8s.io/{version}"
        assert await ask(session, etag) == (304, etag, "")
        storage.withdraw(APPS)
        status, newer, body = await ask(session, etag)
        assert (status, newer == etag, APPS.group in body) == (200, False, False)


async def test_a_request_that_it_does_not_know_is_refused_and_never_guessed(talk: Talk) -> None:
    inside = f"/apis/{APPS.group}/v1/namespaces/default/{APPS.plural}"
    for method, path, expected in (
        ("PROPFIND", inside, 405),
        ("DELETE", PATH, 404),
        ("POST", f"{inside}?dryRun=All", 400),
        ("GET", "/apis/a/b/c/d/e/f/g/h", 404),
        ("GET", "/", 404),
    ):
        status, _ = await talk.ask(method, path, _app("a") if method == "POST" else None)
        assert (method, path, status) == (method, path, expected)
    assert (await talk.ask("GET", PATH))[1]["items"] == []


def _app(name: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{APPS.group}/v1",
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {},
    }

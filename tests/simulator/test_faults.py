"""What goes wrong on demand goes wrong as it was ordered, for whom it was ordered, and no longer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from gotk_exporter.simulator.apiserver import ApiServer
from gotk_exporter.simulator.http.faults import Cut, Hang, Slow, internal_error, too_many_requests
from gotk_exporter.simulator.state.objects import GroupResource
from gotk_exporter.simulator.storage import Storage
from tests.simulator.talk import Talk, eventually

APPS = GroupResource("kustomize.toolkit.fluxcd.io", "kustomizations")
PATH = f"/apis/{APPS.group}/v1/{APPS.plural}"
OTHERS = "/apis/source.toolkit.fluxcd.io/v1/buckets"
SECONDS = 10.0


def create(storage: Storage, name: str, **spec: Any) -> None:
    storage.create(APPS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})


async def test_the_next_two_requests_get_an_error_page(server: ApiServer, talk: Talk) -> None:
    fault = server.faults.add(internal_error(), requests=2)

    for _ in range(2):
        status, body = await talk.ask("GET", PATH)
        assert status == 500
        assert "<html>" in body
    assert (await talk.ask("GET", PATH))[0] == 200
    assert fault.hits == 2


async def test_only_lists_of_one_kind_are_too_many_until_that_is_cleared(server: ApiServer, talk: Talk) -> None:
    server.faults.add(too_many_requests(retry_after_seconds=7), verbs={"list"}, resources={APPS.plural})

    async with aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.get(server.url + PATH) as response:
                assert (response.status, response.headers["Retry-After"]) == (429, "7")
    for path in OTHERS, f"{PATH}?watch=1&timeoutSeconds=1", "/apis":
        assert (await talk.ask("GET", path))[0] == 200
    server.faults.clear()
    assert (await talk.ask("GET", PATH))[0] == 200


async def test_paths_beside_resources_can_fail_too(server: ApiServer, talk: Talk) -> None:
    server.faults.add(internal_error(), resources={""})

    assert (await talk.ask("GET", "/apis"))[0] == 500
    assert (await talk.ask("GET", PATH))[0] == 200


async def test_what_hangs_is_answered_when_the_fault_is_cleared(server: ApiServer, talk: Talk) -> None:
    fault = server.faults.add(Hang(), requests=1)
    hanging = asyncio.create_task(talk.ask("GET", PATH))
    await eventually(lambda: fault.hits == 1)

    assert (await talk.ask("GET", PATH))[0] == 200
    assert not hanging.done()
    fault.clear()
    async with asyncio.timeout(SECONDS):
        assert (await hanging)[0] == 200


async def test_who_hangs_may_leave(server: ApiServer) -> None:
    fault = server.faults.add(Hang())
    async with aiohttp.ClientSession() as session:
        hanging = asyncio.create_task(session.get(server.url + PATH))
        await eventually(lambda: fault.hits == 1)
        assert server.requests == 1
        hanging.cancel()
        await eventually(lambda: server.requests == 0)


async def test_a_slow_answer_is_whole_and_takes_its_time(server: ApiServer, storage: Storage, talk: Talk) -> None:
    create(storage, "a", text="x" * 20_000)
    server.faults.add(Slow(delay_seconds=0.1, bytes_per_second=100_000))
    started = asyncio.get_running_loop().time()

    _, listing = await talk.ask("GET", PATH)

    assert len(listing["items"][0]["spec"]["text"]) == 20_000
    assert asyncio.get_running_loop().time() - started >= 0.3


async def test_an_answer_is_cut_where_it_was_ordered(server: ApiServer, storage: Storage, talk: Talk) -> None:
    create(storage, "a", text="x" * 20_000)
    server.faults.add(Cut(after_bytes=1_000), verbs={"list"}, requests=1)

    with pytest.raises(aiohttp.ClientPayloadError):
        await talk.ask("GET", PATH)
    assert len((await talk.ask("GET", PATH))[1]["items"]) == 1


async def test_streams_are_cut_in_the_middle_of_a_line(server: ApiServer, storage: Storage) -> None:
    async with (
        aiohttp.ClientSession(server.url) as session,
        session.get(f"{PATH}?watch=1") as watch,
        session.get(f"{OTHERS}?watch=1&resourceVersion={storage.version}") as other,
    ):
        create(storage, "a")
        async with asyncio.timeout(SECONDS):
            assert json.loads(await watch.content.readline())["type"] == "ADDED"

            assert server.cut_streams(verbs={"watch"}, resources={APPS.plural}) == 1

            half = await watch.content.readany()
            assert half.startswith(b'{"type":"MODIFIED"')
            assert b"\n" not in half
            with pytest.raises(aiohttp.ClientPayloadError):
                await watch.content.readany()
            bucket = {"metadata": {"name": "x", "namespace": "default"}}
            storage.create(GroupResource("source.toolkit.fluxcd.io", "buckets"), bucket)
            assert json.loads(await other.content.readline())["type"] == "ADDED"

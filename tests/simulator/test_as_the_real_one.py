"""The simulator answers as kube-apiserver does: the same conversation with both, word for word.

What only one of them has is not talked about; the simulator's module docstrings say what that is.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gotk_exporter.simulator.apiserver import ApiServer
from gotk_exporter.simulator.cluster import new_cluster
from gotk_exporter.simulator.http.access import Permission
from tests.peers.access import create_service_account, grant
from tests.peers.admin import AdminClient
from tests.peers.apiserver import RealApiServer
from tests.simulator.scenarios import CODE, OWN_KIND, SCENARIOS, Place
from tests.simulator.talk import MERGE, Talk, differences

_numbers = itertools.count(1)


@pytest.fixture
async def simulated() -> AsyncIterator[ApiServer]:
    async with ApiServer(new_cluster(time.time, kinds=())) as server:
        yield server


@pytest.fixture
def place() -> Place:
    """With a kind of its own."""
    name = f"place-{next(_numbers)}"
    return Place(name, name)


def assert_the_same(real: Talk, simulated: Talk) -> None:
    assert len(real.lines) == len(simulated.lines)
    for expected, found in zip(real.lines, simulated.lines, strict=True):
        what = f"{expected[0]}: " if isinstance(expected, tuple) else ""
        assert [what + difference for difference in differences(expected, found)] == []


@pytest.mark.parametrize("name", SCENARIOS)
async def test_both_say_the_same(name: str, api_server: RealApiServer, simulated: ApiServer, place: Place) -> None:
    if name not in OWN_KIND:
        # A kind takes kube-apiserver two seconds.
        place = Place(place.namespace, "shared")
    async with (
        Talk(api_server.url, api_server.admin_token, api_server.ssl_context()) as real,
        Talk(simulated.url) as ours,
    ):
        for talk in real, ours:
            await place.prepare(talk)
            await SCENARIOS[name](talk, place)

    assert_the_same(real, ours)


async def test_both_forget_what_was_compacted(
    start_api_server: Callable[..., Awaitable[RealApiServer]], simulated: ApiServer, place: Place
) -> None:
    # A watch cache remembers beyond a compaction.
    server = await start_api_server(watch_cache=False)
    async with Talk(server.url, server.admin_token, server.ssl_context()) as real, Talk(simulated.url) as ours:
        for talk, compact in (real, server.compact), (ours, simulated.compact):
            await place.prepare(talk)
            for name in "abc":
                await talk.say("POST", place.widgets, place.widget(name))
            page = await talk.say("GET", place.widgets, limit="1")
            await talk.say("PATCH", f"{place.widgets}/b", {"spec": {"changed": True}}, kind=MERGE)
            await talk.say("DELETE", f"{place.widgets}/c")
            if (compacting := compact()) is not None:
                await compacting

            token, version = page["metadata"]["continue"], page["metadata"]["resourceVersion"]
            expired = await talk.say("GET", place.widgets, limit="1", continue_=token)
            await talk.say("GET", place.widgets, limit="5", continue_=expired["metadata"]["continue"])
            await talk.say("GET", place.widgets, resourceVersion=version, resourceVersionMatch="Exact", only=CODE)
            await talk.say("GET", place.widgets, resourceVersion=version, resourceVersionMatch="NotOlderThan")
            error = await talk.first_event(place.widgets, resourceVersion=version)
            talk.note([error["type"], error["object"]["code"], error["object"]["reason"]])

    assert_the_same(real, ours)


async def test_both_refuse_who_may_not(
    api_server: RealApiServer, admin: AdminClient, simulated: ApiServer, place: Place
) -> None:
    await admin.ensure_namespace(place.namespace)
    account = await create_service_account(admin, "flux-system", place.namespace)
    rule = {"apiGroups": [place.group], "resources": ["widgets"], "verbs": ["list", "watch"]}
    await grant(admin, account, [rule], place.namespace)
    token = api_server.service_account_token(account.namespace, account.name, account.uid, 600)
    allowed = Permission(
        frozenset({place.group}), frozenset({"widgets"}), frozenset({"list", "watch"}), frozenset({place.namespace})
    )
    simulated.access.grant(token, [allowed], user=account.user)
    async with (
        Talk(api_server.url, api_server.admin_token, api_server.ssl_context()) as admin_talk,
        Talk(simulated.url) as our_admin_talk,
        Talk(api_server.url, token, api_server.ssl_context()) as real,
        Talk(simulated.url, token) as ours,
    ):
        await place.prepare(admin_talk)
        await place.prepare(our_admin_talk)
        for talk in real, ours:
            await talk.say("GET", place.widgets)
            await talk.say("GET", place.everywhere)
            await talk.say("GET", place.everywhere, watch="1")
            for path in "one", "one/status":
                await talk.say("GET", f"{place.widgets}/{path}")
            await talk.say("POST", place.widgets, place.widget("one"))
            await talk.say("PATCH", f"{place.widgets}/one", {}, kind=MERGE)
            await talk.say("DELETE", f"{place.widgets}/one")
            await talk.say("GET", f"/apis/{place.group}/v1/nothing")
            for path in "/api/v1/namespaces", "/api/v1/namespaces/default", "/metrics", "/nothing", "/readyz":
                await talk.say("GET", path)
            await talk.say("GET", "/apis", headers={"Authorization": "Bearer garbage"})
            await talk.say("GET", place.widgets, headers={"Authorization": "Bearer garbage"})
            assert (await talk.ask("GET", f"/apis/{place.group}/v1"))[0] == 200

    assert_the_same(real, ours)

"""Whatever happens to the API server, the network and our credentials: afterwards what we serve equals what the server
holds, meanwhile it stays served, and nothing asks more often than the back-off allows."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from pathlib import Path

import pytest

from tests.kube.conformance.conftest import FAST, Fleet, Follow
from tests.kube.conformance.follower import Follower, most_attempts
from tests.kube.conformance.servers import ServerUnderTest
from tests.kube.tap import Tap
from tests.peers.admin import AdminClient, ApiError

pytestmark = pytest.mark.real_time


async def test_a_compaction_while_we_were_away_means_one_more_listing(
    crds: None, admin: AdminClient, fleet: Fleet, follow: Follow, tap: Tap, server: ServerUnderTest
) -> None:
    await fleet.create(*range(20))
    follower = await follow()
    await follower.equals(admin)
    before, started = _attempts(follower), time.monotonic()

    tap.leave()
    await fleet.delete(*range(5))
    await fleet.set_ready(7, "False")
    await fleet.create(20, 21)
    await server.compact()
    tap.come_back()

    await follower.equals(admin)
    assert follower.samples("gotk_exporter_lists_total")[_resource("Kustomization")] == 2
    _assert_bounded(follower, before, time.monotonic() - started, faults=2)


async def test_an_api_server_killed_and_restarted_is_followed_on(
    crds: None, admin: AdminClient, fleet: Fleet, follow: Follow, server: ServerUnderTest
) -> None:
    await fleet.create(*range(20))
    follower = await follow()
    await follower.equals(admin)
    served, before, started = follower.state(), _attempts(follower), time.monotonic()

    server.kill()
    await follower.eventually(lambda: follower.resource_state("Kustomization") == "unreachable")
    assert follower.state() == served
    await server.restart()
    await fleet.set_interval(3, 33)
    await fleet.delete(4)

    await follower.equals(admin)
    assert follower.resource_state("Kustomization") == "synced"
    _assert_bounded(follower, before, time.monotonic() - started)


async def test_a_token_that_expires_is_replaced_by_the_one_in_its_file(
    crds: None,
    admin: AdminClient,
    fleet: Fleet,
    follow: Follow,
    tap: Tap,
    server: ServerUnderTest,
    tmp_path: Path,
) -> None:
    token_file = tmp_path / "token"
    await fleet.create(1, 2)
    token_file.write_text(await server.expiring_token(5))
    # So that only a refusal, and not the clock, makes us read the file again.
    follower = await follow(token_file=token_file, bounds=dataclasses.replace(FAST, credentials_interval=3600))
    await follower.equals(admin)

    # A watch outlives the token that opened it; the next request does not.
    await _until_refused(server.client(token_file.read_text()))
    tap.cut()
    await follower.eventually(lambda: follower.requests("watch", "Kustomization", "401") > 0)
    before, started = _attempts(follower), time.monotonic()
    token_file.write_text(await server.expiring_token(3600))
    await fleet.set_interval(1, 11)

    await follower.equals(admin)
    _assert_bounded(follower, before, time.monotonic() - started)


async def test_a_connection_cut_in_the_middle_goes_on_where_it_was(
    crds: None, admin: AdminClient, fleet: Fleet, follow: Follow, tap: Tap
) -> None:
    await fleet.create(*range(30))
    follower = await follow()
    await follower.equals(admin)
    before, started = _attempts(follower), time.monotonic()

    for number in range(30):
        await fleet.set_interval(number, 10 + number)
        if number % 10 == 5:
            tap.cut()

    await follower.equals(admin)
    assert follower.samples("gotk_exporter_lists_total")[_resource("Kustomization")] == 1
    _assert_bounded(follower, before, time.monotonic() - started, faults=3)


async def test_a_connection_cut_without_a_fin_is_noticed_by_its_silence(
    crds: None, admin: AdminClient, fleet: Fleet, follow: Follow, tap: Tap
) -> None:
    await fleet.create(1, 2)
    follower = await follow(bounds=dataclasses.replace(FAST, watch_silence=3.0))
    await follower.equals(admin)

    before, started = _attempts(follower), time.monotonic()
    tap.silence()
    await fleet.set_interval(1, 11)
    await fleet.delete(2)

    await follower.equals(admin)
    assert follower.samples("gotk_exporter_lists_total")[_resource("Kustomization")] == 1
    _assert_bounded(follower, before, time.monotonic() - started)


async def test_a_server_frozen_for_forty_seconds_is_followed_on(
    crds: None, admin: AdminClient, fleet: Fleet, follow: Follow, server: ServerUnderTest
) -> None:
    await fleet.create(1, 2)
    # Silence shorter than the freeze, so that watches are opened anew against a server that does not answer.
    follower = await follow(bounds=dataclasses.replace(FAST, watch_silence=8.0))
    await follower.equals(admin)
    served, before, started = follower.state(), _attempts(follower), time.monotonic()

    server.freeze()
    # The length of the freeze is what is tested; there is nothing to wait for instead.
    await asyncio.sleep(40)
    assert follower.state() == served
    assert follower.resource_state("Kustomization") == "unreachable"
    server.thaw()
    await fleet.set_interval(1, 11)

    await follower.equals(admin)
    _assert_bounded(follower, before, time.monotonic() - started)


async def _until_refused(client: AdminClient) -> None:
    deadline = time.monotonic() + 40
    async with client:
        with contextlib.suppress(ApiError):
            while time.monotonic() < deadline:
                await client.request("GET", "/apis")
                await asyncio.sleep(0.2)
    assert time.monotonic() < deadline, "the token does not expire"


def _attempts(follower: Follower) -> dict[str, int]:
    return {
        kind: follower.requests("list", kind) + follower.requests("watch", kind)
        for kind in ("Kustomization", "GitRepository")
    }


def _assert_bounded(follower: Follower, before: dict[str, int], seconds: float, faults: int = 1) -> None:
    """No kind asked more often than the back-off allows, beside the pages and watches that ended well.

    A listing that a fault makes necessary is one more request, and a watch may end by silence meanwhile.
    """
    quiet = int(seconds / follower.bounds.watch_silence) + 1
    for kind, attempts in _attempts(follower).items():
        assert attempts - before[kind] <= most_attempts(seconds, follower.bounds) + quiet + 2 * faults


def _resource(kind: str) -> tuple[tuple[str, str], ...]:
    return (("resource", kind), ("watched_namespace", ""))

"""Which kinds are followed, as discovery's answers change. The API server is scripted; time moves by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, cast

import msgspec
import pytest

from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.client import Answer, ApiClient, Resource
from gotk_exporter.kube.cluster import Cluster
from gotk_exporter.kube.failures import ApiError, StatusError, Unreachable
from gotk_exporter.kube.wire import Page
from gotk_exporter.telemetry import ResourceState, Telemetry
from tests.kube.scripted_clock import ScriptedClock
from tests.kube.test_bounds import NoChance
from tests.kube.test_reflector import Sink, obj, page

KINDS = [BY_NAME["Kustomization"], BY_NAME["GitRepository"]]


class Server:
    """Serves what its attributes say at the moment; watches hang until they are told to end."""

    def __init__(self) -> None:
        self.versions = {"Kustomization": "v1", "GitRepository": "v1"}
        self.stale: set[str] = set()
        self.down: ApiError | None = None
        self.missing: set[str] = set()
        self.answer_lists = asyncio.Event()
        self.answer_lists.set()
        self.discoveries = 0
        self.requests: list[str] = []
        self.end_watches = asyncio.Event()

    async def get(self, path: str, accept: str, etag: str | None = None) -> Answer:
        assert path == "/apis"
        self.discoveries += 1
        if self.down is not None:
            raise self.down
        groups = [
            {
                "metadata": {"name": BY_NAME[kind].group},
                "versions": [
                    {
                        "version": version,
                        "freshness": "Stale" if kind in self.stale else "Current",
                        "resources": []
                        if kind in self.stale
                        else [
                            {
                                "resource": BY_NAME[kind].plural,
                                "responseKind": {"kind": kind},
                                "verbs": ["list", "watch"],
                            }
                        ],
                    }
                ],
            }
            for kind, version in self.versions.items()
        ]
        content_type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        return Answer(json.dumps({"items": groups}).encode(), content_type, None, False)

    async def list_from_cache(
        self, resource: Resource, namespace: str | None, take: Callable[[Sequence[msgspec.Raw]], None]
    ) -> Page:
        self._request("list from cache", resource)
        await self.answer_lists.wait()
        return page(obj("a", 1), version=5)

    async def list_page(self, resource: Resource, namespace: str | None, continue_token: str) -> Page:
        self._request("list", resource)
        await self.answer_lists.wait()
        return page(obj("a", 1), version=5)

    @contextlib.asynccontextmanager
    async def watch(
        self, resource: Resource, namespace: str | None, resource_version: str, timeout_seconds: float
    ) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        self._request("watch", resource)

        async def lines() -> AsyncGenerator[bytes, None]:
            await self.end_watches.wait()
            return
            yield b""

        yield lines()

    def _request(self, verb: str, resource: Resource) -> None:
        self.requests.append(f"{verb} {resource.kind} {resource.version}")
        if resource.kind in self.missing:
            raise StatusError(404, "NotFound", "the server could not find the requested resource")


class World:
    """A cluster at work against the scripted server."""

    def __init__(self, namespaces: tuple[str, ...] = ()) -> None:
        self.server = Server()
        self.clock = ScriptedClock(held=True)
        self.telemetry = Telemetry(self.clock.monotonic)
        self.sinks: dict[tuple[str, str | None], Sink] = {}
        self.states: dict[tuple[str, str | None], Callable[[], ResourceState]] = {}
        client = cast("ApiClient", self.server)
        self.cluster = Cluster(client, KINDS, namespaces, self._sink, self.telemetry, Bounds(), self.clock, NoChance())
        self._task: asyncio.Task[None] | None = None

    def _sink(self, kind: Any, namespace: str | None, telemetry: Any) -> Sink:
        sink = AnyVersionSink()
        self.sinks[kind.name, namespace] = sink
        self.states[kind.name, namespace] = lambda: telemetry.state
        return sink

    async def __aenter__(self) -> World:
        self._task = asyncio.create_task(self.cluster.run())
        await self.settle()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def settle(self) -> None:
        """Until discovery sleeps and everybody else has nothing left to do at this moment."""
        await self.clock.sleeping()
        for _ in range(50):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for _ in range(50):
            await asyncio.sleep(0)

    def state(self, kind: str) -> ResourceState:
        return self.states[kind, None]()

    def held(self, kind: str) -> dict[str, str]:
        return self.sinks[kind, None].held


class AnyVersionSink(Sink):
    def begin_replacement(self, api_version: str) -> Any:
        return super().begin_replacement("v1")


async def test_every_kind_that_is_served_is_listed_and_watched() -> None:
    async with World() as world:
        assert sorted(world.server.requests) == [
            "list from cache GitRepository v1",
            "list from cache Kustomization v1",
            "watch GitRepository v1",
            "watch Kustomization v1",
        ]
        assert world.cluster.pending() == []


async def test_it_is_pending_until_the_api_server_has_answered_about_every_kind() -> None:
    world = World(namespaces=("team-a", "team-b"))
    world.server.down = Unreachable("refused", "no connection to the API server")
    async with world:
        assert world.cluster.pending() == [
            "Kustomization in team-a",
            "Kustomization in team-b",
            "GitRepository in team-a",
            "GitRepository in team-b",
        ]


async def test_a_kind_that_the_cluster_lacks_is_absent_and_nothing_to_wait_for() -> None:
    world = World()
    del world.server.versions["GitRepository"]
    async with world:
        assert world.state("GitRepository") is ResourceState.ABSENT
        assert world.cluster.pending() == []


async def test_a_kind_that_comes_later_is_followed_at_the_next_discovery() -> None:
    world = World()
    del world.server.versions["GitRepository"]
    async with world:
        world.server.versions["GitRepository"] = "v1"
        await world.pass_time(30)
        assert world.state("GitRepository") is ResourceState.SYNCED
        assert world.server.requests.count("list from cache Kustomization v1") == 1


async def test_one_discovery_without_a_kind_is_no_reason_to_forget_it() -> None:
    """An API server that has just started serves discovery before all of its custom resources."""
    async with World() as world:
        gone = world.server.versions.pop("Kustomization")
        await world.pass_time(30)
        world.server.versions["Kustomization"] = gone
        await world.pass_time(10)
        await world.pass_time(30)
        assert world.held("Kustomization") == {"ns/a": "1"}
        assert world.server.requests.count("list from cache Kustomization v1") == 1


async def test_a_kind_that_stays_away_is_forgotten_and_the_others_are_not_disturbed() -> None:
    async with World() as world:
        del world.server.versions["Kustomization"]
        await world.pass_time(30)
        assert world.held("Kustomization") == {"ns/a": "1"}
        await world.pass_time(10)
        assert world.held("Kustomization") == {}
        assert world.state("Kustomization") is ResourceState.ABSENT
        assert world.server.requests.count("list from cache GitRepository v1") == 1


async def test_a_new_preferred_version_is_listed_while_the_old_objects_stay_served() -> None:
    async with World() as world:
        world.server.versions["Kustomization"] = "v2"
        world.server.answer_lists.clear()
        await world.pass_time(30)
        assert world.held("Kustomization") == {"ns/a": "1"}
        assert world.state("Kustomization") is ResourceState.SYNCED
        world.server.answer_lists.set()
        await world.pass_time(0)
        assert world.server.requests[-2:] == ["list Kustomization v2", "watch Kustomization v2"]
        assert world.held("Kustomization") == {"ns/a": "1"}


async def test_a_group_about_which_the_api_server_cannot_say_stays_as_it_was() -> None:
    async with World() as world:
        world.server.stale = {"Kustomization"}
        await world.pass_time(30)
        await world.pass_time(30)
        assert world.held("Kustomization") == {"ns/a": "1"}
        assert world.state("Kustomization") is ResourceState.SYNCED


async def test_discovery_that_fails_is_logged_once_backs_off_and_disturbs_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with World() as world:
        asked = world.server.discoveries
        world.server.down = Unreachable("refused", "no connection to the API server")
        for seconds in (30, 0.8, 1.6, 3.2):
            await world.pass_time(seconds)
        assert world.server.discoveries - asked == 4
        assert world.held("Kustomization") == {"ns/a": "1"}
        world.server.down = None
        await world.pass_time(6.4)
    told = [message for message in caplog.messages if "API server" in message]
    assert told == [
        "the API server does not say what it serves: no connection to the API server; trying on",
        "the API server answers again",
    ]


async def test_a_watch_that_finds_its_kind_gone_does_not_wait_for_the_next_discovery() -> None:
    async with World() as world:
        asked = world.server.discoveries
        world.server.missing = {"Kustomization"}
        del world.server.versions["Kustomization"]
        world.clock.advance(6)
        world.server.end_watches.set()
        await world.pass_time(0)
        await world.pass_time(0.8)
        assert world.server.discoveries == asked + 1


BOUND = Bounds().stale_after


async def test_what_has_not_been_confirmed_for_too_long_is_stale_and_not_pending() -> None:
    """Watches that hang, as behind a proxy that holds the line: here nothing ends their silence."""
    async with World(namespaces=("team-a",)) as world:
        world.clock.advance(BOUND)
        assert world.cluster.stale() == {}
        world.clock.advance(1)
        assert world.cluster.stale() == {"Kustomization in team-a": BOUND + 1, "GitRepository in team-a": BOUND + 1}
        assert world.cluster.pending() == []


async def test_a_kind_that_was_never_listed_is_pending_and_not_stale() -> None:
    world = World()
    world.server.answer_lists.clear()
    async with world:
        await world.pass_time(BOUND + 1)
        assert world.cluster.stale() == {}
        assert world.cluster.pending() == ["Kustomization", "GitRepository"]


async def test_a_stale_kind_that_is_gone_is_no_longer_stale_nor_is_it_when_it_comes_back() -> None:
    async with World() as world:
        gone = world.server.versions.pop("Kustomization")
        world.clock.advance(BOUND - 5)
        for seconds in (6, 10):
            await world.pass_time(seconds)
        assert world.state("Kustomization") is ResourceState.ABSENT
        assert set(world.cluster.stale()) == {"GitRepository"}
        world.server.versions["Kustomization"] = gone
        world.server.answer_lists.clear()
        await world.pass_time(30)
        assert world.state("Kustomization") is ResourceState.SYNCING
        assert set(world.cluster.stale()) == {"GitRepository"}


async def test_the_log_says_once_what_became_stale_and_once_that_it_is_so_no_longer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with World() as world:
        world.clock.advance(BOUND)
        for _ in range(3):
            await world.pass_time(30)
        # Another version of a kind is listed; that confirms it.
        world.server.versions["Kustomization"] = "v2"
        for _ in range(3):
            await world.pass_time(30)
        assert set(world.cluster.stale()) == {"GitRepository"}
    told = [(record.levelno, record.getMessage()) for record in caplog.records if "served" in record.getMessage()]
    assert told == [
        (
            logging.WARNING,
            "not confirmed by the API server for more than 180 s, and served as last known: "
            "Kustomization, GitRepository",
        ),
        (logging.INFO, "no longer served unconfirmed: Kustomization"),
    ]


async def test_an_outage_of_many_namespaces_is_one_line_that_can_be_read(caplog: pytest.LogCaptureFixture) -> None:
    async with World(namespaces=tuple(f"team-{number}" for number in range(50))) as world:
        await world.pass_time(BOUND + 1)
    (told,) = [message for message in caplog.messages if "last known" in message]
    assert told.endswith("Kustomization in team-9 and 90 more")

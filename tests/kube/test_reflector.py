"""The reflector against a scripted client: what it asks for, what the sink gets, how long it waits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.client import Resource
from gotk_exporter.kube.failures import StatusError, Unreachable
from gotk_exporter.kube.reflector import Reflector
from gotk_exporter.kube.wire import Item, ListMeta, Page
from gotk_exporter.telemetry import ResourceState, Telemetry
from tests.kube.scripted_clock import EPOCH, ScriptedClock
from tests.kube.test_bounds import NoChance

RESOURCE = Resource("kustomize.toolkit.fluxcd.io", "v1", "kustomizations", "Kustomization")


def obj(name: str, version: int, uid: str = "u") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ns", "uid": uid, "resourceVersion": str(version)}}


def page(*objects: dict[str, Any], version: int, more: str = "") -> Page:
    items = [msgspec.Raw(json.dumps(each).encode()) for each in objects]
    return Page(ListMeta(str(version), more), items)


def event(event_type: str, content: dict[str, Any]) -> bytes:
    return json.dumps({"type": event_type, "object": content}).encode()


GONE = event("ERROR", {"code": 410, "reason": "Expired", "message": "too old resource version"})
REFUSED = Unreachable("refused", "no connection to the API server")


class Finished(BaseException):
    """The script is at its end."""


class Sink:
    """Holds keys and versions, and remembers what it was told."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.written_after: dict[str, float | None] = {}
        self.followed_until: float | None = None
        self.commits = 0
        self.abandoned = 0

    def __len__(self) -> int:
        return len(self.held)

    def begin_replacement(self, api_version: str) -> Staged:
        assert api_version == "v1"
        return Staged(self)

    def upsert(self, item: Item, seen_at: float, written_after: float | None) -> None:
        self.held[item.key] = item.resource_version
        self.written_after[item.key] = written_after

    def delete(self, item: Item) -> None:
        self.held.pop(item.key, None)

    def drop(self) -> None:
        self.held = {}


class Staged:
    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.staged: dict[str, str] = {}

    def add(self, item: Item, seen_at: float, followed_until: float | None) -> None:
        self.staged[item.key] = item.resource_version
        self.sink.followed_until = followed_until

    def commit(self) -> None:
        self.sink.held = self.staged
        self.sink.commits += 1


@dataclass
class Half:
    """A listing from the cache that breaks behind these objects."""

    page: Page
    error: Exception


Answer = Page | Half | Exception | Sequence[bytes | Exception | float]
"""A number in a stream is seconds in which nothing comes."""


class ScriptedClient:
    """Gives one scripted answer per request; a watch's is a sequence of lines, or an error where the stream breaks."""

    def __init__(self, clock: ScriptedClock, *answers: Answer, watch_seconds: float = 300) -> None:
        self._clock = clock
        self._answers = list(answers)
        self._watch_seconds = watch_seconds
        self.requests: list[str] = []
        self.on_wait: Callable[[], None] = lambda: None
        """Called at each request and at the end of each watch: when nothing has come for longest."""

    async def list_from_cache(
        self, resource: Resource, namespace: str | None, take: Callable[[Sequence[msgspec.Raw]], None]
    ) -> Page:
        """One object after the other; the last one comes with the end."""
        answer = self._next("list from cache")
        if isinstance(answer, Half):
            for item in answer.page.items or ():
                take([item])
            raise answer.error
        assert isinstance(answer, Page)
        items = answer.items or []
        for item in items[:-1]:
            take([item])
        return Page(answer.metadata, items[-1:])

    async def list_page(self, resource: Resource, namespace: str | None, continue_token: str) -> Page:
        answer = self._next(f"list {continue_token}".rstrip())
        assert isinstance(answer, Page)
        return answer

    @contextlib.asynccontextmanager
    async def watch(
        self, resource: Resource, namespace: str | None, resource_version: str, timeout_seconds: float
    ) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        answer = self._next(f"watch {resource_version}")
        assert isinstance(answer, Sequence)

        async def lines() -> AsyncGenerator[bytes, None]:
            for line in answer:
                if isinstance(line, Exception):
                    raise line
                if isinstance(line, float):
                    self._clock.advance(line)
                else:
                    yield line
            # The loop's own timers are not scripted: the turns in which one that has run out is called.
            for _ in range(3):
                await asyncio.sleep(0)
            self._clock.advance(self._watch_seconds)
            self.on_wait()

        yield lines()

    def _next(self, request: str) -> Page | Half | Sequence[bytes | Exception | float]:
        self.on_wait()
        if not self._answers:
            raise Finished
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Run:
    """One reflector, run to the end of its script."""

    def __init__(self, *answers: Answer, watch_seconds: float = 300) -> None:
        self.clock = ScriptedClock()
        self.client = ScriptedClient(self.clock, *answers, watch_seconds=watch_seconds)
        self.sink = Sink()
        self.bounds = Bounds()
        self.telemetry = Telemetry(self.clock.monotonic).resource("Kustomization", None, self.bounds.stale_after)
        self.missed = 0
        self.stale: list[float | None] = []
        """For how long what is served was unconfirmed, whenever the client waited."""
        self.client.on_wait = lambda: self.stale.append(self.telemetry.stale_for())

    async def to_the_end(self) -> Run:
        reflector = Reflector(
            RESOURCE, None, self.client, self.sink, self.telemetry, self.bounds, self.clock, NoChance(), self._miss
        )
        with pytest.raises(Finished):
            await reflector.run()
        return self

    def _miss(self) -> None:
        self.missed += 1


async def test_pages_are_served_together_and_watched_from_the_last_one() -> None:
    run = await Run(page(obj("a", 1), version=5, more="t"), page(obj("b", 2), version=5), []).to_the_end()
    assert run.client.requests == ["list from cache", "list t", "watch 5"]
    assert (run.sink.held, run.sink.commits) == ({"ns/a": "1", "ns/b": "2"}, 1)
    assert run.telemetry.state is ResourceState.SYNCED


async def test_a_first_listing_that_breaks_serves_nothing_of_it_and_is_asked_for_by_the_page() -> None:
    half = Half(page(obj("gone", 1), obj("a", 1), version=5), Unreachable("cut", "the connection was cut"))
    run = await Run(half, page(obj("a", 2), version=6), []).to_the_end()
    assert run.client.requests == ["list from cache", "list", "watch 6"]
    assert (run.sink.held, run.sink.commits) == ({"ns/a": "2"}, 1)
    assert run.clock.slept == [0.8]


async def test_objects_of_a_first_listing_are_not_served_before_it_is_complete() -> None:
    class Watched(Sink):
        def begin_replacement(self, api_version: str) -> Staged:
            assert not self.held
            return super().begin_replacement(api_version)

    run = Run(page(obj("a", 1), obj("b", 1), obj("c", 1), version=5), [])
    run.sink = Watched()
    await run.to_the_end()
    assert (set(run.sink.held), run.sink.commits) == ({"ns/a", "ns/b", "ns/c"}, 1)


async def test_what_is_served_already_is_never_replaced_from_a_cache_that_may_lag_behind() -> None:
    run = Run(page(obj("a", 2), version=5), [])
    run.sink.held = {"ns/a": "2"}
    await run.to_the_end()
    assert run.client.requests == ["list", "watch 5"]


async def test_a_watch_that_ends_in_peace_goes_on_at_once_from_its_last_event() -> None:
    stream = [event("MODIFIED", obj("a", 6)), event("BOOKMARK", {"metadata": {"resourceVersion": "8"}})]
    run = await Run(page(obj("a", 1), version=5), stream, []).to_the_end()
    assert run.client.requests == ["list from cache", "watch 5", "watch 8"]
    assert run.clock.slept == []


async def test_events_change_what_is_held() -> None:
    stream = [event("ADDED", obj("c", 6)), event("MODIFIED", obj("a", 7)), event("DELETED", obj("b", 8))]
    run = await Run(page(obj("a", 1), obj("b", 2), version=5), stream).to_the_end()
    assert run.sink.held == {"ns/a": "7", "ns/c": "6"}


@pytest.mark.parametrize("gone", [[GONE], StatusError(410, "Gone", "too old")], ids=["in the stream", "as a status"])
async def test_an_expired_version_relists_and_drops_what_has_vanished(gone: Answer) -> None:
    run = await Run(page(obj("a", 1), obj("b", 1), version=5), gone, page(obj("b", 1), version=9), []).to_the_end()
    assert run.client.requests == ["list from cache", "watch 5", "list", "watch 9"]
    assert run.sink.held == {"ns/b": "1"}


async def test_a_server_that_says_410_to_every_watch_is_not_asked_in_a_loop() -> None:
    run = await Run(*[page(obj("a", 1), version=5), [GONE]] * 6).to_the_end()
    assert run.clock.slept == [0.8, 1.6, 3.2, 6.4, 12.8, 25.6]


async def test_an_expired_page_starts_the_listing_over_and_serves_nothing_of_it() -> None:
    first = page(obj("old", 1), version=5, more="t")
    run = await Run(first, StatusError(410, "Expired", ""), page(obj("new", 2), version=9), []).to_the_end()
    assert run.client.requests == ["list from cache", "list t", "list", "watch 9"]
    assert run.sink.held == {"ns/new": "2"}


async def test_a_page_that_does_not_come_is_asked_for_again_and_the_ones_before_are_kept() -> None:
    run = await Run(page(obj("a", 1), version=5, more="t"), REFUSED, page(obj("b", 2), version=5), []).to_the_end()
    assert run.client.requests == ["list from cache", "list t", "list t", "watch 5"]
    assert run.sink.held == {"ns/a": "1", "ns/b": "2"}


async def test_a_stream_that_breaks_goes_on_from_its_last_event() -> None:
    broken = [event("ADDED", obj("b", 6)), Unreachable("cut", "the connection was cut")]
    run = await Run(page(obj("a", 1), version=5), broken, []).to_the_end()
    assert run.client.requests == ["list from cache", "watch 5", "watch 6"]


@pytest.mark.parametrize("lines", [[], [event("ADDED", obj("a", 6))]], ids=["empty", "with one event"])
async def test_a_watch_that_ends_at_once_counts_as_a_failure(lines: list[bytes]) -> None:
    run = await Run(page(version=5), *[lines] * 5, watch_seconds=0).to_the_end()
    assert run.clock.slept == [0.8, 1.6, 3.2, 6.4, 12.8]


@pytest.mark.parametrize("line", [b"<html>", b'{"type":"STRANGE","object":{}}', b'{"type":"ADDED"}'])
async def test_a_line_that_is_no_event_is_not_met_again_at_the_same_place(line: bytes) -> None:
    run = await Run(page(version=5), [line], page(version=6), []).to_the_end()
    assert run.client.requests == ["list from cache", "watch 5", "list", "watch 6"]
    assert run.clock.slept == [0.8]


async def test_an_error_event_other_than_410_lists_anew_after_a_wait() -> None:
    broken = event("ERROR", {"code": 500, "reason": "InternalError", "message": "etcd"})
    run = await Run(page(version=5), [broken], page(version=9), []).to_the_end()
    assert run.client.requests == ["list from cache", "watch 5", "list", "watch 9"]
    assert run.clock.slept == [0.8]


async def test_an_invalid_continue_token_starts_the_listing_over() -> None:
    run = await Run(page(version=5, more="t"), StatusError(400, "BadRequest", ""), page(version=6), []).to_the_end()
    assert run.client.requests == ["list from cache", "list t", "list", "watch 6"]


async def test_retry_after_is_obeyed_where_it_is_longer_than_the_back_off() -> None:
    busy = [StatusError(429, "TooManyRequests", "", retry_after=seconds) for seconds in (20.0, 0.1, 1e9)]
    run = await Run(*busy, page(version=5), []).to_the_end()
    assert run.clock.slept == [20.0, 1.6, Bounds().retry_after_longest]


async def test_during_an_outage_everything_stays_served_and_one_line_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run = await Run(page(obj("a", 1), version=5), *[REFUSED] * 6).to_the_end()
    assert run.sink.held == {"ns/a": "1"}
    assert run.telemetry.state is ResourceState.UNREACHABLE
    assert [message for message in caplog.messages if "unreachable" in message] == [
        "kustomizations.kustomize.toolkit.fluxcd.io/v1: unreachable: no connection to the API server; "
        "trying on; what was last known stays served"
    ]


@pytest.mark.parametrize(("code", "level"), [(503, logging.INFO), (429, logging.INFO), (500, logging.WARNING)])
async def test_a_kind_of_its_own_trouble_is_a_warning_and_a_server_that_starts_is_not(
    caplog: pytest.LogCaptureFixture, code: int, level: int
) -> None:
    caplog.set_level(logging.INFO)
    await Run(page(version=5), *[StatusError(code, "Trouble", "")] * 3).to_the_end()
    assert [record.levelno for record in caplog.records if "unreachable" in record.getMessage()] == [level]


async def test_one_broken_stream_is_no_outage() -> None:
    run = await Run(page(version=5), [Unreachable("cut", "cut")]).to_the_end()
    assert run.telemetry.state is ResourceState.SYNCED


async def test_forbidden_says_so_once_with_the_remedy_and_recovers(caplog: pytest.LogCaptureFixture) -> None:
    forbidden = StatusError(403, "Forbidden", "cannot list")
    run = await Run(forbidden, forbidden, forbidden).to_the_end()
    assert run.telemetry.state is ResourceState.FORBIDDEN
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "kustomizations.kustomize.toolkit.fluxcd.io/v1: forbidden: 403 Forbidden: cannot list; "
        "grant list and watch on it to the exporter's account"
    ]
    recovered = await Run(forbidden, page(version=5), []).to_the_end()
    assert recovered.telemetry.state is ResourceState.SYNCED


async def test_a_kind_that_is_not_served_any_more_asks_for_a_new_discovery_and_decides_nothing() -> None:
    """An API server that has just started answers 404 for a moment; whether the kind is gone, discovery knows."""
    run = await Run(page(obj("a", 1), version=5), *[StatusError(404, "NotFound", "")] * 2).to_the_end()
    assert (run.telemetry.state, run.missed) == (ResourceState.UNREACHABLE, 2)
    assert run.sink.held == {"ns/a": "1"}


async def test_a_server_that_comes_back_without_our_place_is_listed_at_once_and_never_called_synced_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    outage = [REFUSED] * 6
    run = await Run(page(obj("a", 1), version=5), *outage, [GONE], page(obj("b", 1), version=9), []).to_the_end()
    assert run.clock.slept[len(outage) :] == [0.8]
    told = [message.split(": ")[1].split(",")[0] for message in caplog.messages]
    assert told == ["synced", "unreachable", "relisting", "synced"]


async def test_after_an_outage_a_watch_has_to_prove_itself() -> None:
    run = await Run(page(version=5), *[REFUSED] * 2, [event("ADDED", obj("a", 6)), REFUSED]).to_the_end()
    assert run.telemetry.state is ResourceState.SYNCED
    run = await Run(page(version=5), *[REFUSED] * 2, [REFUSED]).to_the_end()
    assert run.telemetry.state is ResourceState.UNREACHABLE
    run = await Run(page(version=5), *[REFUSED] * 2, []).to_the_end()
    assert run.telemetry.state is ResourceState.SYNCED


CUT = Unreachable("cut", "the connection was cut")


async def test_what_a_watch_brings_comes_as_it_happens() -> None:
    run = await Run(page(version=5), [event("ADDED", obj("a", 6)), 60.0, event("ADDED", obj("b", 7))], []).to_the_end()
    assert run.sink.written_after == {"ns/a": None, "ns/b": None}


async def test_after_a_lost_connection_what_was_waiting_comes_late_and_what_follows_does_not() -> None:
    lost = [event("ADDED", obj("a", 6)), 60.0, CUT]
    again = [1.0, event("ADDED", obj("b", 7)), 10.0, event("ADDED", obj("c", 8))]
    run = await Run(page(version=5), lost, again, []).to_the_end()
    # The last that is known to have come as it happened is "a", at the very beginning.
    assert run.sink.written_after == {"ns/a": None, "ns/b": EPOCH, "ns/c": None}


async def test_a_watch_that_ended_as_watches_do_has_missed_nothing() -> None:
    run = await Run(page(version=5), [], [1.0, event("ADDED", obj("b", 7))], []).to_the_end()
    assert run.sink.written_after == {"ns/b": None}


async def test_a_listing_anew_tells_how_long_ago_everything_was_known() -> None:
    run = Run(page(version=5), [event("ADDED", obj("a", 6)), 60.0, CUT], [GONE], page(obj("a", 9), version=9), [])
    await run.to_the_end()
    assert run.sink.followed_until == EPOCH
    first = await Run(page(obj("a", 1), version=5), []).to_the_end()
    assert first.sink.followed_until is None


async def test_a_kind_that_may_be_listed_but_not_watched_is_refreshed_by_listing_and_stays_forbidden() -> None:
    forbidden = StatusError(403, "Forbidden", "cannot watch")
    run = await Run(page(obj("a", 1), version=5), forbidden, page(obj("a", 2), version=6), forbidden).to_the_end()
    assert run.client.requests == ["list from cache", "watch 5", "list", "watch 6"]
    assert run.sink.held == {"ns/a": "2"}
    assert run.telemetry.state is ResourceState.FORBIDDEN


async def test_a_defect_of_ours_about_one_object_costs_that_object(caplog: pytest.LogCaptureFixture) -> None:
    class Choosy(Sink):
        def upsert(self, item: Item, seen_at: float, written_after: float | None) -> None:
            if item.key == "ns/odd":
                raise RecursionError("as deep as it gets")
            super().upsert(item, seen_at, written_after)

    run = Run(
        page(version=5), [event("ADDED", obj("odd", 6)), event("ADDED", obj("odd", 7)), event("ADDED", obj("b", 8))]
    )
    run.sink = Choosy()
    await run.to_the_end()
    assert run.sink.held == {"ns/b": "8"}
    (record,) = [record for record in caplog.records if "left out" in record.getMessage()]
    assert "defect of gotk-exporter" in record.getMessage()
    assert record.exc_info is not None


async def test_an_object_without_a_name_costs_itself_and_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    nameless = {"metadata": {"uid": "x"}}
    stream = [event("ADDED", nameless), event("ADDED", obj("b", 6))]
    run = await Run(page(nameless, obj("a", 1), version=5), stream).to_the_end()
    assert run.sink.held == {"ns/a": "1", "ns/b": "6"}
    assert len([message for message in caplog.messages if "left out" in message]) == 1

"""What is served of a kind is stale once nothing has confirmed it for too long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gotk_exporter.kube.bounds import Bounds
from gotk_exporter.kube.failures import StatusError
from gotk_exporter.telemetry import ResourceState
from tests.kube.test_reflector import CUT, GONE, REFUSED, Answer, Half, Run, event, obj, page

STALE_AFTER = Bounds().stale_after


def test_no_kind_that_is_well_can_reach_the_bound() -> None:
    """Nothing comes until the silence is over, then one thing goes wrong, and the next watch has to prove itself."""
    bounds = Bounds()
    longest_pause = 2 * bounds.backoff_longest
    slow_failure = bounds.request_timeout + 2 * bounds.backoff_first
    for trouble in longest_pause, slow_failure:
        assert bounds.watch_silence + trouble + bounds.connect_timeout + bounds.watch_short < bounds.stale_after


async def test_a_kind_to_which_nothing_is_written_is_never_stale() -> None:
    """Not an event, not a bookmark: only that its watch can be opened anew whenever it has been silent for long."""
    run = Run(page(obj("a", 1), version=5), *[[]] * 40, watch_seconds=Bounds().watch_silence)
    # Proven as soon as the event loop turns; a test waits for no seconds.
    run.bounds = replace(run.bounds, watch_short=0.0)
    await run.to_the_end()
    assert run.clock.monotonic() == 40 * run.bounds.watch_silence
    assert set(run.stale) == {None}


async def test_a_kind_to_which_nothing_is_written_is_not_stale_for_one_break_in_between() -> None:
    quiet: list[Answer] = [[], [], REFUSED, [], []]
    run = Run(page(obj("a", 1), version=5), *quiet * 20, watch_seconds=Bounds().watch_silence)
    run.bounds = replace(run.bounds, watch_short=0.0)
    await run.to_the_end()
    assert set(run.stale) == {None}


async def test_an_api_server_that_went_away_without_a_word_makes_a_kind_stale_once_the_bound_has_passed() -> None:
    """Its silence ends the watch, which proves nothing: what is served was all there was when the watch was opened."""
    run = await Run(page(version=5), [], *[REFUSED] * 9, watch_seconds=Bounds().watch_silence).to_the_end()
    # At the listing and the watch, at the watch's end; then after each failure.
    assert run.stale[:3] == [None] * 3
    waits = [0.0, *run.clock.slept]
    ages = [Bounds().watch_silence + sum(waits[: count + 1]) for count in range(len(waits))]
    assert run.stale[3:] == [pytest.approx(age) if age > STALE_AFTER else None for age in ages]
    assert run.stale[-1] is not None


async def test_a_watch_that_is_accepted_and_taken_back_is_heard_of_and_confirms_nothing() -> None:
    run = await Run(page(version=5), *[[CUT]] * 12).to_the_end()
    assert run.stale[-1] == pytest.approx(run.clock.monotonic())
    assert run.clock.monotonic() > STALE_AFTER


async def test_pages_of_a_listing_that_never_ends_are_heard_of_and_confirm_nothing() -> None:
    expired = StatusError(410, "Expired", "")
    endless = [page(obj("b", 1), version=6, more="t"), expired] * 10
    run = await Run(page(obj("a", 1), version=5), [GONE], *endless).to_the_end()
    assert run.stale[-1] == pytest.approx(run.clock.monotonic())
    assert (run.sink.held, run.telemetry.state) == ({"ns/a": "1"}, ResourceState.RELISTING)


async def test_a_kind_that_becomes_forbidden_is_stale_once_the_bound_has_passed() -> None:
    forbidden = StatusError(403, "Forbidden", "cannot list")
    run = await Run(page(obj("a", 1), version=5), [], *[forbidden] * 12).to_the_end()
    assert run.telemetry.state is ResourceState.FORBIDDEN
    assert run.sink.held == {"ns/a": "1"}
    assert run.stale[-1] == pytest.approx(run.clock.monotonic())


async def test_a_kind_that_may_be_listed_but_not_watched_is_confirmed_by_each_listing() -> None:
    forbidden = StatusError(403, "Forbidden", "cannot watch")
    run = await Run(*[page(obj("a", 1), version=5), forbidden] * 12).to_the_end()
    assert run.clock.monotonic() > STALE_AFTER
    assert set(run.stale) == {None}


async def test_before_the_first_listing_is_complete_nothing_is_stale() -> None:
    half = Half(page(obj("gone", 1), obj("a", 1), version=5), CUT)
    run = await Run(half, page(obj("a", 1), version=6, more="t"), *[REFUSED] * 12).to_the_end()
    assert run.clock.monotonic() > STALE_AFTER
    assert set(run.stale) == {None}


@pytest.mark.parametrize(
    "sign_of_life",
    [
        [[event("ADDED", obj("b", 6))]],
        [[event("BOOKMARK", {"metadata": {"resourceVersion": "8"}})]],
        [[]],
        [[GONE], page(obj("a", 1), version=9), []],
    ],
    ids=["an event", "a bookmark", "a watch that lasts", "a new listing"],
)
async def test_a_stale_kind_recovers_by_itself_with(sign_of_life: list[Answer]) -> None:
    run = await Run(page(version=5), *[REFUSED] * 12, *sign_of_life, watch_seconds=10).to_the_end()
    # At the first watch after the outage; and at the very end.
    assert run.stale[13] is not None
    assert run.stale[-1] is None
    assert run.telemetry.state is ResourceState.SYNCED

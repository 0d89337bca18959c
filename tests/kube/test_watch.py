"""The state table of list and watch, row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gotk_exporter.kube.watch import TRANSITIONS, CacheRequest, Cursor, Effect, ListRequest, Phase, Signal, WatchRequest

STARTING = Cursor()
LISTING = Cursor(Phase.LISTING, "5", "page-2")
WATCHING = Cursor(Phase.WATCHING, "5")


def test_the_first_listing_comes_from_the_cache_and_is_watched_from_its_version() -> None:
    assert STARTING.request == CacheRequest()
    cursor, effect = STARTING.advance(Signal.LAST_PAGE, "7")
    assert (cursor.request, effect) == (WatchRequest("7"), Effect.COMMIT)


@pytest.mark.parametrize("signal", [Signal.EXPIRED, Signal.REFUSED, Signal.LOST])
def test_a_first_listing_that_fails_is_abandoned_and_asked_for_by_the_page(signal: Signal) -> None:
    cursor, effect = STARTING.advance(signal)
    assert (cursor.request, effect) == (ListRequest(""), Effect.ABANDON)


@given(st.lists(st.tuples(st.sampled_from(Signal), st.integers(1, 99)), min_size=1, max_size=40))
def test_the_cache_is_asked_once_and_never_after_anything_was_served(steps: list[tuple[Signal, int]]) -> None:
    """It may lag behind what was seen before."""
    cursor = STARTING
    for signal, version in steps:
        if (cursor.phase, signal) in TRANSITIONS:
            cursor, _ = cursor.advance(signal, str(version))
            assert cursor.request != CacheRequest()


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.LISTING])
def test_pages_are_kept_aside_until_the_last_one_and_then_watched_from_its_version(phase: Phase) -> None:
    cursor, first = Cursor(phase).advance(Signal.PAGE, "7", "page-2")
    assert (cursor.request, first) == (ListRequest("page-2"), Effect.STAGE)

    cursor, last = cursor.advance(Signal.LAST_PAGE, "7")
    assert (cursor.request, last) == (WatchRequest("7"), Effect.COMMIT)


@pytest.mark.parametrize(
    ("signal", "effect"),
    [
        (Signal.ADDED, Effect.UPSERT),
        (Signal.MODIFIED, Effect.UPSERT),
        (Signal.DELETED, Effect.DELETE),
        (Signal.BOOKMARK, Effect.NOTHING),
    ],
)
def test_an_event_moves_the_place_from_which_the_watch_goes_on(signal: Signal, effect: Effect) -> None:
    cursor, found = WATCHING.advance(signal, "9")
    assert (cursor.request, found) == (WatchRequest("9"), effect)


def test_an_event_without_a_version_leaves_the_place_as_it_was() -> None:
    cursor, _ = WATCHING.advance(Signal.BOOKMARK, "")
    assert cursor.request == WatchRequest("5")


@pytest.mark.parametrize("signal", [Signal.EXPIRED, Signal.REFUSED])
def test_a_watch_that_cannot_go_on_lists_anew_and_touches_nothing_that_is_served(signal: Signal) -> None:
    cursor, effect = WATCHING.advance(signal)
    assert (cursor.request, effect) == (ListRequest(""), Effect.NOTHING)


@pytest.mark.parametrize("signal", [Signal.EXPIRED, Signal.REFUSED])
def test_an_unusable_continue_token_abandons_the_pages_so_far(signal: Signal) -> None:
    cursor, effect = LISTING.advance(signal)
    assert (cursor.request, effect) == (ListRequest(""), Effect.ABANDON)


@pytest.mark.parametrize("cursor", [LISTING, WATCHING])
def test_a_lost_connection_goes_on_at_the_same_place(cursor: Cursor) -> None:
    assert cursor.advance(Signal.LOST) == (cursor, Effect.NOTHING)


def test_what_cannot_come_in_a_phase_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="ADDED cannot come while listing"):
        LISTING.advance(Signal.ADDED, "6")


def test_every_signal_has_a_row_in_some_phase_and_the_failures_in_all() -> None:
    assert {signal for _, signal in TRANSITIONS} == set(Signal)
    for signal in (Signal.EXPIRED, Signal.REFUSED, Signal.LOST):
        assert {phase for phase, found in TRANSITIONS if found is signal} == set(Phase)


@given(st.lists(st.tuples(st.sampled_from(Signal), st.integers(1, 99)), max_size=40))
def test_whatever_comes_pages_of_two_listings_are_never_served_together(steps: list[tuple[Signal, int]]) -> None:
    """A page is only ever staged onto pages of the same unbroken listing."""
    cursor, staged = Cursor(), 0
    for signal, version in steps:
        if (cursor.phase, signal) not in TRANSITIONS:
            continue
        continued = isinstance(cursor.request, ListRequest) and cursor.request.continue_token != ""
        assert continued == (staged > 0)
        cursor, effect = cursor.advance(signal, str(version), "next" if signal is Signal.PAGE else "")
        staged = staged + 1 if effect is Effect.STAGE else staged
        staged = 0 if effect in (Effect.COMMIT, Effect.ABANDON) else staged
        if effect is Effect.COMMIT:
            assert cursor.request == WatchRequest(str(version))

"""The scenarios, told to exporters that started in the middle of them, and to one whose watches are not in step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from tests.flux.scenarios_follower import (
    EPOCH,
    Exporter,
    Said,
    Write,
    quiet_moments,
    shuffled,
)
from tests.flux.scenarios_stories import STORIES

LETTERS = pytest.mark.parametrize("letter", STORIES)
STEP = 5
"""Every so many writes a restart, and a look at what came of it; the first differs from story to story."""
AHEAD = 90
"""Writes for which one is followed that has started anew."""
WHOLE_SECONDS = 2.0


def causes(page: Mapping[str, Said]) -> dict[str, tuple[str, frozenset[str]]]:
    return {name: (said.root, said.blocked) for name, said in page.items() if said.root or said.blocked}


def told(letter: str) -> tuple[Sequence[Write], list[Mapping[str, Said]]]:
    """The writes, and the pages of one that saw them all."""
    story = STORIES[letter]()
    exporter = Exporter()
    exporter.list((), 0.0)
    pages = []
    for write in story.writes:
        exporter.receive(write)
        pages.append(exporter.page())
    return story.writes, pages


def live_conditions(writes: Sequence[Write]) -> dict[str, str]:
    """What Ready is now, of each object that is there."""
    found: dict[str, str] = {}
    for write in writes:
        found.pop(write.name, None)
        if write.type != "DELETED":
            found[write.name] = write.ready
    return found


def assert_no_lie(known: Said, said: Said, in_a_run: bool, where: object) -> None:
    """One that came later says what one says that saw everything, but for what no object tells in a run.

    A failed build and a wait leave nothing behind, so that a run after one of them may follow anything.
    """
    if in_a_run:
        assert said.status in (known.status, "Unknown", "True" if known.status == "False" else "Unknown"), where
    elif known.status != said.status:
        # Released from a lock, it says nothing of how it was; for a tenth of a second.
        assert (said.status, said.failing) == ("Unknown", None), where
    if known.failing is None:
        assert said.failing is None, where
    elif said.failing is None:
        assert in_a_run, where
    else:
        assert said.uncertainty is not None
        assert said.failing - 0.001 <= known.failing <= said.failing + said.uncertainty + 0.001, where
    assert (known.waiting is None) == (said.waiting is None), where
    assert (known.progressing is None) == (said.progressing is None), where
    if known.waiting is not None and said.waiting is not None:
        assert said.waiting >= known.waiting - WHOLE_SECONDS, where
    if known.progressing is not None and said.progressing is not None:
        assert said.progressing >= known.progressing - WHOLE_SECONDS, where


def alike(reason: str) -> str:
    """A release that is rolled back has failed with its upgrade, and Released says that; Ready, how it was remedied."""
    return {"RollbackSucceeded": "UpgradeFailed"}.get(reason, reason)


def resembles(page: Mapping[str, Said]) -> dict[str, tuple[str, frozenset[str]]]:
    return {name: (alike(root), blocked) for name, (root, blocked) in causes(page).items()}


@LETTERS
def test_one_that_starts_at_any_write_lies_about_nothing_and_soon_knows_the_causes(letter: str) -> None:
    writes, pages = told(letter)
    for first in range(len(letter) % STEP, len(writes), STEP):
        ready = live_conditions(writes[: first + 1])
        late = Exporter()
        late.list(writes[: first + 1], writes[first].at)
        page = late.page()
        in_runs = {name for name, status in ready.items() if status not in ("True", "False")}
        for name, known in pages[first].items():
            assert_no_lie(known, page.get(name, Said()), name in in_runs, (writes[first].at, name))
        if not in_runs:
            assert resembles(page) == resembles(pages[first]), writes[first].at
        for number in range(first + 1, min(len(writes), first + AHEAD)):
            late.receive(writes[number])
            if writes[number].ready in ("True", "False") or writes[number].type == "DELETED":
                in_runs.discard(writes[number].name)
            if not in_runs and number % STEP == 0:
                assert resembles(late.page()) == resembles(pages[number]), (writes[first].at, writes[number].at)


@LETTERS
@pytest.mark.parametrize("seed", range(4))
def test_watches_that_are_a_second_apart_say_the_same_as_soon_as_it_is_quiet(letter: str, seed: int) -> None:
    writes = STORIES[letter]().writes
    straight, late = Exporter(), Exporter()
    straight.list((), 0.0)
    late.list((), 0.0)
    arrivals = list(shuffled(writes, seed))
    here = there = 0
    for index in quiet_moments(writes, 2.5):
        until = writes[index].at + 1.0
        for write in writes[here : index + 1]:
            straight.receive(write)
        here = index + 1
        while there < len(arrivals) and arrivals[there][0] <= until:
            late.receive(arrivals[there][1], arrivals[there][0])
            there += 1
        for exporter in straight, late:
            exporter.relations.advance(EPOCH + until)
        known, said = straight.page(), late.page()
        assert causes(said) == causes(known), until
        for name, one in known.items():
            other = said[name]
            assert (other.status, other.held) == (one.status, one.held), (until, name)
            assert not other.uncertainty
            for mine, theirs in (
                (one.failing, other.failing),
                (one.waiting, other.waiting),
                (one.progressing, other.progressing),
            ):
                assert (mine is None) == (theirs is None), (until, name)
                assert mine is None or theirs is None or 0 <= theirs - mine <= 1, (until, name)


@LETTERS
def test_kinds_that_are_listed_one_after_the_other_call_nothing_missing_that_is_there(letter: str) -> None:
    writes, pages = told(letter)
    middle = len(writes) // 2
    exporter = Exporter()
    true_ones = {name for name, said in pages[middle].items() if said.root == "NotFound"}
    order = ["HelmRelease", "Kustomization", "HelmChart", "HelmRepository", "GitRepository"]
    for kind in order:
        exporter.list(writes[: middle + 1], writes[middle].at, [kind])
        assert {name for name, said in exporter.page().items() if said.root == "NotFound"} <= true_ones
    assert not {name for name, said in exporter.page().items() if said.root == "NotWatched"}
    known = live_conditions(writes[: middle + 1])
    if all(status in ("True", "False") for status in known.values()):
        assert resembles(exporter.page()) == resembles(pages[middle])

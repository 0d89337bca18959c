"""Who only waits for the next attempt, and who would page: outages of a host, and a node that was replaced.

What is expected is taken from what was written in the simulated fleet. Source-controller backs off there as it does:
from 0.75 s, each time twice as long, up to a quarter of an hour. Times are seconds since the story began.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from gotk_exporter.flux.references import Key
from gotk_exporter.simulator.fleet import steps
from gotk_exporter.simulator.fleet.fleet import Fleet
from gotk_exporter.simulator.fleet.steps import Step
from tests.flux.scenarios_follower import Exporter, Story, Write, record
from tests.flux.scenarios_stories import kustomization, opened, play, source_down
from tests.flux.test_runs import Restarted, remembered
from tests.flux.test_scenarios_shared import (
    AWAITING,
    FAILING,
    LONGEST,
    MINUTE,
    UNCERTAINTY,
    USUAL_RUN,
    WINDOW,
    Scrape,
    scrapes,
)
from tests.simulator.fleets import EPOCH, URL, Stage, config, deployment

HOST = "git.test"

# e, a source that is not to be reached, as it was recorded, and another one of its host


BACK, REPO_RETRIES = 196.3, 252.2
"""As recorded: when the server was back, and when the source tried next, 56 s later."""


@functools.cache
def two_sources() -> Story:
    """The first outage of scenario e. "near" has another interval, so that it is at another point of its back-off."""
    stage, writes = opened()
    stage.repository({"./user": config("user")})
    stage.repository({}, name="near", url="http://git.test/near", interval="105s")
    stage.repository({}, name="far", url="http://other.test/far", interval="105s")
    stage.kustomization("user", interval="30s")
    return play(
        stage,
        writes,
        290,
        (46.3, steps.refuse(HOST)),
        (46.3, steps.refuse("other.test")),
        (BACK, steps.restore(HOST)),
        (BACK, steps.commit(URL, "meanwhile", {"./user": config("user", "2")})),
    )


def test_the_recorded_wait_of_a_source_is_excused_from_the_success_of_another_one_of_its_host() -> None:
    story = two_sources()
    ready = [write.at for write in story.writes if write.name == "GitRepository/near" and write.ready == "True"]
    near_tries = min(at for at in ready if at > BACK)
    assert near_tries == pytest.approx(202, abs=1)
    for scrape in scrapes(story.writes, 0.0, 290.0, every=1.0):
        excused = scrape.excused()
        if near_tries < scrape.at < REPO_RETRIES - 0.5:
            assert excused.keys() == {"GitRepository/repo"}, scrape.at
            # As long again as it has failed, a second, and the tenth of one that a fetch takes.
            failing = scrape.values(FAILING)["GitRepository/repo"]
            assert excused["GitRepository/repo"] == pytest.approx(2 * near_tries - failing + 1.1, abs=0.2)
        elif not near_tries - 0.5 < scrape.at < REPO_RETRIES + 0.5:
            assert not scrape.values(AWAITING), scrape.at
        if scrape.at > 108:
            # The other host is still away, and what fails there is not excused by this one.
            assert "GitRepository/far" in scrape.values(FAILING)


def test_without_another_object_of_the_host_nothing_is_claimed() -> None:
    assert source_down().writes
    for scrape in scrapes(source_down().writes, 0.0, 427.0, every=5.0):
        assert not scrape.values(AWAITING), scrape.at


# 200 sources of one host


COUNT = 200
OUTAGE = 700.0
QUARTER = 15 * MINUTE


@dataclass(frozen=True)
class Outage:
    writes: Sequence[Write]
    over: float
    end: float

    @functools.cached_property
    def failed(self) -> dict[str, tuple[float, float]]:
        """From when to when each source was False."""
        starts: dict[str, float] = {}
        found: dict[str, tuple[float, float]] = {}
        for write in self.writes:
            if write.at < OUTAGE or write.kind != "GitRepository":
                continue
            if write.ready == "False":
                starts.setdefault(write.name, write.at)
            elif write.ready == "True" and write.name in starts:
                found[write.name] = starts.pop(write.name), write.at
        assert not starts
        return found

    @property
    def first(self) -> float:
        """When the first one succeeded."""
        return min(until for _, until in self.failed.values())


@functools.cache
def outage(minutes: float, ways: tuple[str, ...], intervals: tuple[int, ...]) -> Outage:
    """``ways``: what the host does, one after the other. ``intervals``: of the sources, in turn, in seconds."""
    stage = Stage()
    writes = record(stage.storage, stage.schedule)
    stage.fleet.start()
    for number in range(COUNT):
        # All within ten minutes, so that each has run once when it begins, at a time of its own.
        stage.fleet.at(number * 600 / COUNT, functools.partial(_create, stage, number, intervals))
    length = minutes * MINUTE / len(ways)
    for number, way in enumerate(ways):
        stage.fleet.at(OUTAGE + number * length, {"refuse": steps.refuse, "hang": steps.hang}[way](HOST))
    over = OUTAGE + minutes * MINUTE
    stage.fleet.at(over, steps.restore(HOST))
    end = over + 17 * MINUTE
    stage.fleet.run(end)
    return Outage(writes, over, end)


def _create(stage: Stage, number: int, intervals: tuple[int, ...], fleet: Fleet) -> None:
    interval = f"{intervals[number % len(intervals)]}s"
    url = f"https://{HOST}/{number}"
    fleet.world.repository(url)
    stage.create("GitRepository", f"r{number}", {"interval": interval, "timeout": "60s", "url": url})


WAYS = pytest.mark.parametrize("ways", [("refuse",), ("hang",), ("hang", "refuse")], ids="-then-".join)


@WAYS
def test_after_eight_minutes_all_are_excused_until_they_have_tried_and_nobody_pages(ways: tuple[str, ...]) -> None:
    story = outage(8, ways, (300,))
    # The outage, and for some the back-off after it, is long enough to page for.
    assert len(story.failed) == COUNT
    lengths = [until - since for since, until in story.failed.values()]
    assert sum(length > WINDOW for length in lengths) >= (0 if "hang" in ways else 40)
    paged: set[str] = set()
    for scrape in scrapes(story.writes, OUTAGE - 100, story.end):
        paged |= scrape.pages()
        failing = scrape.values(FAILING)
        if scrape.at <= story.over:
            assert not scrape.values(AWAITING), scrape.at
        elif len(ways) == 1 and scrape.at > story.first:
            assert scrape.excused().keys() == failing.keys(), scrape.at
        for name, until in scrape.values(AWAITING).items():
            since, succeeded = story.failed[name]
            assert succeeded <= until <= since + WINDOW + LONGEST, name
    assert paged == set()


def test_what_pages_in_half_an_hour_is_the_outage_and_nothing_of_that_is_excused_when_it_is_over() -> None:
    story = outage(30, ("refuse",), (300,))
    assert len(story.failed) == COUNT
    paged: dict[str, float] = {}
    for scrape in scrapes(story.writes, OUTAGE - 100, story.end):
        assert not scrape.values(AWAITING), scrape.at
        for name in scrape.pages():
            paged.setdefault(name, scrape.at)
    assert paged.keys() == story.failed.keys()
    for name, at in paged.items():
        assert 0 <= at - story.failed[name][0] - WINDOW <= 15, name
        assert at < story.over


def test_those_that_found_the_host_away_only_at_the_end_of_half_an_hour_do_not_page() -> None:
    story = outage(30, ("refuse",), (300, 2200))
    late = {name for name, (since, _) in story.failed.items() if since + WINDOW > story.first}
    assert 20 < len(late) < len(story.failed) - 20
    paged: set[str] = set()
    for scrape in scrapes(story.writes, OUTAGE - 100, story.end):
        paged |= scrape.pages()
        expected = late & scrape.values(FAILING).keys() if scrape.at > story.first else set()
        assert scrape.excused().keys() == expected, scrape.at
    assert paged == story.failed.keys() - late


def test_one_that_starts_while_the_host_is_away_excuses_all_too() -> None:
    story = outage(8, ("refuse",), (300,))
    for scrape in scrapes(story.writes, story.over - 2 * MINUTE, story.end):
        if scrape.at > story.first:
            assert scrape.excused().keys() == scrape.values(FAILING).keys(), scrape.at
        assert not scrape.pages(), scrape.at


@pytest.mark.parametrize("after", [5.0, 90.0])
def test_a_restart_after_the_first_success_takes_no_excuse_where_a_memory_is_kept(after: float) -> None:
    story = outage(8, ("refuse",), (300,))
    first, begin = Exporter(), story.first + after
    *_, last = scrapes(story.writes, 0.0, begin, every=begin, exporter=first)
    assert len(last.excused()) > COUNT / 4
    second = Restarted(remembered(first, begin))
    for scrape in scrapes(story.writes, begin + 1, story.end, exporter=second):
        assert scrape.excused().keys() == scrape.values(FAILING).keys(), scrape.at
        assert not scrape.pages(), scrape.at
    # Without one nothing is claimed until the next success.
    without = next(scrapes(story.writes, begin + 1, begin + 1))
    assert len(without.values(FAILING)) > COUNT / 4
    assert not without.values(AWAITING)


# A node that was replaced


HOUR = 60 * MINUTE
CAUGHT, BYSTANDER = "Kustomization/caught", "Kustomization/bystander"
DISRUPTED = HOUR - MINUTE
FAILED = HOUR + 5 * MINUTE + 6
"""A health check of five minutes, begun an hour after the first run, which takes six seconds."""
OVER = FAILED + 90
TRIES_AGAIN = FAILED + HOUR


@functools.cache
def node_replaced(heals: bool = True, retry: str = "1h") -> Story:
    stage, writes = opened()
    stage.world.rollout = 1.0
    names = ("caught", "bystander")
    stage.repository({f"./{name}": deployment(name) for name in names}, interval="10m")
    for name in names:
        stage.kustomization(name, interval="1h", retryInterval=retry, timeout="5m", wait=True)
    acts: list[tuple[float, Step]] = [(DISRUPTED, steps.unready(f"Deployment/apps/{name}")) for name in names]
    acts += [(OVER, steps.ready(f"Deployment/apps/{name}")) for name in names if heals]
    return play(stage, writes, TRIES_AGAIN + 10 * MINUTE, *acts)


def followed(story: Story, begin: float, over: float = OVER) -> list[Scrape]:
    """One that is told at its end that the node has been replaced, and who was caught in that."""
    exporter = Exporter()
    before = list(scrapes(story.writes, begin, over, every=30.0, exporter=exporter))
    exporter.relations.disruption_over([Key(*kustomization("caught"))], EPOCH + over)
    return [*before, *_resumed(exporter, story, over)]


def _resumed(exporter: Exporter, story: Story, at: float) -> list[Scrape]:
    rest = [write for write in story.writes if write.at > at]
    found = []
    while at <= story.end:
        while rest and rest[0].at <= at:
            exporter.receive(rest.pop(0))
        exporter.relations.advance(EPOCH + at)
        found += list(scrapes((), at, at, exporter=_Same(exporter)))
        at += 30.0
    return found


class _Same(Exporter):
    """One that goes on: it lists nothing."""

    def __init__(self, other: Exporter) -> None:
        self.store, self.relations, self.collectors = other.store, other.relations, other.collectors

    def list(self, writes: Sequence[Write], at: float, kinds: Sequence[str] = ()) -> None:
        pass


@pytest.mark.parametrize("begin", [0.0, FAILED + 60], ids=["live", "started after the failure"])
def test_a_health_check_that_failed_with_its_node_is_excused_for_42_minutes_and_then_says_so(begin: float) -> None:
    story = node_replaced()
    for scrape in followed(story, begin):
        awaiting = scrape.values(AWAITING)
        if not OVER <= scrape.at <= TRIES_AGAIN:
            assert not awaiting, scrape.at
        if not OVER < scrape.at <= TRIES_AGAIN:
            continue
        assert scrape.labels(AWAITING, "cause") == {CAUGHT: ("node_disruption",)}, scrape.at
        certain = scrape.values(FAILING)[CAUGHT] + scrape.values(UNCERTAINTY)[CAUGHT]
        assert certain == pytest.approx(FAILED + 1, abs=2)
        # Nothing shorter: the next attempt is due an hour after the failed one.
        assert awaiting[CAUGHT] == pytest.approx(certain + WINDOW + LONGEST, abs=0.01)
        assert (CAUGHT in scrape.pages()) is (scrape.at >= awaiting[CAUGHT]), scrape.at
        assert (BYSTANDER in scrape.pages()) is (scrape.at >= certain + WINDOW), scrape.at


def test_an_attempt_after_the_disruption_that_fails_takes_the_excuse() -> None:
    tried = FAILED + 2 * MINUTE + 5 * MINUTE
    for scrape in followed(node_replaced(heals=False, retry="2m"), 0.0):
        if scrape.at > tried + 5:
            # Though it would not page yet.
            assert not scrape.values(AWAITING), scrape.at
        elif OVER < scrape.at < tried - 5:
            # While that goes on, the one before it is the last that has ended.
            assert scrape.values(AWAITING).keys() == {CAUGHT}
        if scrape.at > FAILED + WINDOW + 5:
            assert scrape.pages() == {CAUGHT, BYSTANDER}


def test_a_health_check_that_went_on_when_the_disruption_ended_and_fails_only_then_is_excused_too() -> None:
    over = FAILED - 3 * MINUTE
    for scrape in followed(node_replaced(), 0.0, over):
        if scrape.at < FAILED - 5:
            assert not scrape.values(AWAITING), scrape.at
        elif FAILED + 5 < scrape.at < TRIES_AGAIN:
            assert scrape.values(AWAITING).keys() == {CAUGHT}, scrape.at
            assert (CAUGHT in scrape.pages()) is (scrape.at >= scrape.values(AWAITING)[CAUGHT]), scrape.at


def test_a_run_of_which_we_know_how_long_it_takes_is_what_the_excuse_waits_for() -> None:
    """Where the next attempt is due within half an hour, it is that which bounds the excuse."""
    stage, writes = opened()
    stage.world.rollout = 20.0
    stage.repository({"./caught": deployment("caught")}, interval="10m")
    stage.kustomization("caught", interval="1h", retryInterval="20m", timeout="5m", wait=True)
    story = play(
        stage,
        writes,
        FAILED + 25 * MINUTE,
        (DISRUPTED, steps.unready("Deployment/apps/caught")),
        (OVER, steps.ready("Deployment/apps/caught")),
    )
    excused = [scrape for scrape in followed(story, 0.0) if scrape.excused()]
    usual = excused[0].values(USUAL_RUN)[CAUGHT]
    assert usual == pytest.approx(20, abs=3)
    (until,) = {scrape.values(AWAITING)[CAUGHT] for scrape in excused}
    assert until == pytest.approx(OVER + 20 * MINUTE + usual, abs=0.01)
    # It holds until the attempt has ended well.
    assert excused[-1].at == pytest.approx(FAILED + 20 * MINUTE, abs=60)
    assert not any(scrape.pages() for scrape in followed(story, 0.0))

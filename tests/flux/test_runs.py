"""How long an object's longest good run took: what a scrape shows of it, live, after restarts and after accidents.

Stories are lived through by the simulated fleet; what it does not do is written by hand. Nothing sleeps.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import pytest

from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.memory import LONG_RUN_SECONDS, Memory, read, write
from gotk_exporter.simulator.fleet import steps
from gotk_exporter.simulator.fleet.fleet import Fleet
from gotk_exporter.simulator.fleet.objects import Key
from gotk_exporter.simulator.fleet.steps import Step
from tests.flux.clusters import Cluster, on
from tests.flux.scenarios_follower import Exporter, Story, Write
from tests.flux.scenarios_stories import REPO, breaks, killed, mends, opened, play, push, release, with_charts
from tests.flux.test_scenarios_shared import MINUTE, USUAL_RUN, scrape, scrapes
from tests.simulator.fleets import EPOCH, Stage, deployment

APP = Key("Kustomization", "apps", "app")
NAME = "Kustomization/app"
POLL = 5.5
"""The simulated controller looks every five seconds whether all is well."""


def usual_runs(exporter: Exporter) -> dict[str, float]:
    return scrape(exporter, 0.0, USUAL_RUN).values(USUAL_RUN)


def at(story: Story, moment: float, begin: float = 0.0) -> dict[str, float]:
    """What is shown at that moment of one that has followed since ``begin``."""
    *_, last = scrapes(story.writes, begin, moment, every=(moment - begin) or 1.0)
    assert last.at == moment
    return last.values(USUAL_RUN)


def rollouts(
    *lengths: float, timeout: str = "15m", interval: str = "30m", acts: Sequence[tuple[float, Step]] = ()
) -> Story:
    """A first rollout, then a commit every twenty minutes, which takes so long to roll out; no-op runs in between."""
    stage, writes = opened()
    stage.world.rollout = lengths[0]
    stage.repository({"./app": deployment("app")}, interval="1h")
    stage.kustomization("app", interval=interval, timeout=timeout, wait=True)
    steps_: list[tuple[float, Step]] = list(acts)
    for number, length in enumerate(lengths[1:], start=1):
        begin = number * 20 * MINUTE
        steps_ += [
            (begin - 1, steps.roll_out_in("Deployment/apps/app", length)),
            (begin, push(f"version {number}", app=deployment("app", str(number + 1)))),
        ]
    return play(stage, writes, len(lengths) * 20 * MINUTE + 35 * MINUTE, *steps_)


def test_it_is_the_longest_run_that_ended_well_and_was_seen() -> None:
    story = rollouts(20, 90, 400, 60)
    for minutes, length in ((10, 20), (25, 90), (50, 400), (70, 400), (110, 400)):
        assert length <= at(story, minutes * MINUTE)[NAME] <= length + POLL


def test_it_outlives_the_history_which_a_run_that_changes_nothing_overwrites() -> None:
    story = rollouts(20, 400)
    end = story.end
    assert '"lastReconciledDuration":"6m4' not in _last(story.writes, end)
    assert '"lastReconciledDuration":"6m4' in _last(story.writes, 30 * MINUTE)
    assert 400 <= at(story, end)[NAME] <= 400 + POLL
    # One that came after the rollout has it from the history, and keeps it too.
    assert 400 <= at(story, end, begin=30 * MINUTE)[NAME] <= 400 + POLL
    # One that came when that was overwritten cannot know.
    assert at(story, end, begin=end)[NAME] <= 20 + POLL


def _last(writes: Sequence[Write], moment: float) -> str:
    return [one for one in writes if one.name == NAME and one.at <= moment][-1].raw.decode()


class Restarted(Exporter):
    """One that has a memory of what another one knew."""

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        for kind, namespace in self.collectors:
            collector = Collector(BY_NAME[kind], namespace, self.store, self.relations, memory)
            self.collectors[kind, namespace] = collector


def remembered(exporter: Exporter, moment: float) -> Memory:
    listings = {collector.scope: collector.worth_remembering() for collector in exporter.collectors.values()}
    memory = read(write(EPOCH + moment, listings).content)
    assert isinstance(memory, Memory)
    return memory


@pytest.mark.parametrize(("length", "kept"), [(LONG_RUN_SECONDS + 10, True), (LONG_RUN_SECONDS - 20, False)])
def test_a_long_one_is_kept_over_a_restart_and_a_short_one_is_not(length: float, kept: bool) -> None:
    story = rollouts(20, length)
    first = Exporter()
    (*_, _) = scrapes(story.writes, 0.0, 60 * MINUTE, every=60 * MINUTE, exporter=first)
    assert usual_runs(first)[NAME] >= length
    second = Restarted(remembered(first, 60 * MINUTE))
    (*_, page) = scrapes(story.writes, 65 * MINUTE, story.end, every=story.end - 65 * MINUTE, exporter=second)
    assert (page.values(USUAL_RUN)[NAME] >= length) is kept
    # And over the next one, too.
    third = Restarted(remembered(second, story.end))
    third.list(story.writes, story.end + 60)
    assert (usual_runs(third)[NAME] >= length) is kept


def test_runs_that_fail_do_not_count() -> None:
    stage, writes = opened()
    stage.world.rollout = 20.0
    stage.repository({"./app": deployment("app")}, interval="1h")
    stage.kustomization("app", interval="10m", retryInterval="2m", timeout="4m", wait=True)
    story = play(
        stage,
        writes,
        60 * MINUTE,
        (15 * MINUTE, steps.roll_out_in("Deployment/apps/app", None)),
        (15 * MINUTE, push("break it", app=deployment("app", "2"))),
    )
    # It has failed for 45 minutes, four of six in a run.
    assert [write.ready for write in story.writes if write.name == NAME].count("False") > 10
    assert 20 <= at(story, 60 * MINUTE)[NAME] <= 20 + POLL


def test_a_release_that_fails_and_is_rolled_back_has_had_no_long_run() -> None:
    stage, writes = with_charts()
    key = release(stage, "app", interval="5m", timeout="3m", upgrade={"remediation": {"retries": 2}})
    story = play(stage, writes, 60 * MINUTE, (10 * MINUTE, breaks(key)), (40 * MINUTE, mends(key)))
    assert [write.ready for write in story.writes if write.kind == "HelmRelease"][-1] == "True"
    assert at(story, 60 * MINUTE)["HelmRelease/app"] < 1


def test_a_release_in_sync_counts_its_actions_and_not_its_looks() -> None:
    stage, writes = with_charts()
    key = release(stage, "app", interval="5m", timeout="10m")
    story = play(
        stage,
        writes,
        60 * MINUTE,
        (9 * MINUTE, steps.roll_out_in("Deployment/apps/app", 150.0)),
        (10 * MINUTE, steps.edit(key, {"values": {"tag": "2"}})),
    )
    assert at(story, 9 * MINUTE)["HelmRelease/app"] < 1
    for minutes in (20, 60):
        assert 150 <= at(story, minutes * MINUTE)["HelmRelease/app"] <= 153


# Accidents


def test_a_controller_that_dies_in_a_run_makes_that_no_longer_than_the_timeout() -> None:
    story = rollouts(
        20,
        30,
        timeout="5m",
        acts=[
            (20 * MINUTE + 10, steps.kill("kustomize-controller")),
            (40 * MINUTE, steps.restart("kustomize-controller")),
        ],
    )
    # It was Unknown for twenty minutes, and then well.
    unknown = [write for write in story.writes if write.name == NAME and 20 * MINUTE < write.at < 41 * MINUTE]
    assert unknown[-1].ready == "True"
    assert unknown[-1].at > 40 * MINUTE
    assert all(write.ready == "Unknown" for write in unknown if write.at < 40 * MINUTE)
    assert at(story, story.end)[NAME] == 5 * MINUTE


def test_a_release_that_is_only_unlocked_has_not_had_a_run_that_ended_well() -> None:
    """Its upgrade was cut short by the death of its controller, and failed the next time."""
    assert at(killed(), 320)["HelmRelease/rel"] < 1


def test_a_health_check_that_is_cut_short_by_a_newer_revision_has_not_ended_well() -> None:
    cluster = Cluster()
    cluster.source_is_ready()
    cluster.write("Kustomization", "app", at=0.4, spec=on())
    cluster.kustomization_runs("app", at=0.5)
    cluster.kustomization_is_ready("app", at=1)
    cluster.kustomization_runs("app", at=10)
    cluster.kustomization_fails("app", 14, "HealthCheckCanceled", "New reconciliation triggered")
    assert cluster.numbers(USUAL_RUN) == {NAME: 30}
    cluster.kustomization_runs("app", at=14.01)
    cluster.kustomization_is_ready("app", at=15)
    assert cluster.numbers(USUAL_RUN) == {NAME: pytest.approx(59.4)}


@pytest.mark.parametrize("kind", ["Receiver", "ImagePolicy", "Kustomization", "GitRepository"])
def test_what_no_controller_touched_for_hours_has_not_run_for_hours(kind: str) -> None:
    """It was created while its controller was away."""
    cluster = Cluster()
    cluster.write(kind, "app", at=0, spec={"interval": "10m"})
    cluster.write(kind, "app", "True", "Succeeded", at=180)
    assert cluster.numbers(USUAL_RUN).get(f"{kind}/app", 0.0) < 1


def test_a_run_that_began_before_we_came_is_not_guessed_at() -> None:
    story = rollouts(20, 400)
    middle = 20 * MINUTE + 200
    assert at(story, middle, begin=middle)[NAME] <= 20 + POLL
    # Its own word for when it began is true, and its history has it afterwards anyway.
    assert 400 <= at(story, 30 * MINUTE, begin=middle)[NAME] <= 400 + POLL


def test_another_object_of_the_same_name_begins_anew() -> None:
    stage, writes = opened()
    stage.world.rollout = 90.0
    stage.repository({"./app": deployment("app")}, interval="1h")
    stage.kustomization("app", interval="10m", timeout="5m", wait=True)
    stage.fleet.at(15 * MINUTE, steps.roll_out_in("Deployment/apps/app", 1.0))
    stage.fleet.at(15 * MINUTE, steps.delete(APP))
    stage.fleet.at(16 * MINUTE, functools.partial(create_again, stage))
    story = play(stage, writes, 30 * MINUTE)
    assert 90 <= at(story, 15 * MINUTE - 1)[NAME] <= 90 + POLL
    assert at(story, 15.5 * MINUTE).get(NAME) is None
    assert at(story, 30 * MINUTE)[NAME] <= 1 + POLL


def create_again(stage: Stage, fleet: Fleet) -> None:
    stage.kustomization("app", interval="10m", timeout="5m", wait=True)


def test_where_no_run_is_known_to_have_ended_well_there_is_no_series() -> None:
    stage, writes = opened()
    stage.repository({"./app": deployment("app")}, interval="1h")
    stage.kustomization("app", interval="10m", timeout="5m", wait=True)
    story = play(stage, writes, 20 * MINUTE)
    assert REPO.kind in {write.kind for write in story.writes}
    assert at(story, 20 * MINUTE).keys() == {"GitRepository/repo"}

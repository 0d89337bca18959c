"""Stories that nobody made up: what happens to a small fleet is chance, and still nobody is told anything wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import pytest

from gotk_exporter.flux.blame import CONDITION_NOT_MET, PASSING, SUSPENDED
from gotk_exporter.simulator.fleet import steps
from gotk_exporter.simulator.fleet.fleet import Fleet
from gotk_exporter.simulator.fleet.objects import Key
from gotk_exporter.simulator.fleet.world import Manifests
from tests.flux.scenarios_follower import EPOCH, Exporter, Said, Story, shuffled
from tests.flux.scenarios_stories import (
    BROKEN,
    QUICK,
    REJECTED,
    REPO,
    breaks,
    kustomization,
    mends,
    push,
    release,
    with_charts,
)
from tests.flux.test_scenarios_retold import assert_no_lie, live_conditions, resembles
from tests.simulator.fleets import config

UNTIL = 900.0
OTHER_URL = "http://other.test/repo"
OTHER = Key("GitRepository", "apps", "other")
PROCESSES = ("source-controller", "kustomize-controller", "helm-controller")
SPECS: dict[str, dict[str, object]] = {
    "a": {},
    "b": {"dependsOn": [{"name": "a"}]},
    "c": {"dependsOn": [{"name": "b"}, {"name": "a"}]},
    "d": {"sourceRef": {"kind": "GitRepository", "name": "other"}, "dependsOn": [{"name": "c"}]},
    "child": {"dependsOn": [{"name": "a"}]},
    "parent": {"wait": True},
}


def parent(version: str) -> Manifests:
    return Manifests({"Kustomization/apps/child": "1", "Deployment/apps/web": version})


def tree() -> dict[str, Manifests]:
    return {**{name: config(name) for name in SPECS}, "parent": parent("1")}


def story_of_chance(seed: int, with_deaths: bool) -> Story:
    chance = random.Random(seed)
    stage, writes = with_charts()
    stage.world.rollouts["Deployment/apps/web"] = QUICK
    stage.repository({f"./{name}": manifests for name, manifests in tree().items()})
    stage.world.repository(OTHER_URL, {"./d": config("d")})

    def make_other(fleet: Fleet) -> None:
        if fleet.get(OTHER) is None:
            stage.create("GitRepository", "other", {"interval": "30s", "timeout": "20s", "url": OTHER_URL})

    def make(fleet: Fleet, name: str) -> None:
        if fleet.get(kustomization(name)) is None:
            stage.kustomization(name, **SPECS[name])

    def replace(fleet: Fleet, name: str, manifests: Manifests) -> None:
        push(f"commit at {fleet.schedule.now}", **{name: manifests})(fleet)

    def never_roll_out(fleet: Fleet) -> None:
        stage.world.rollouts["Deployment/apps/web"] = None
        replace(fleet, "parent", parent(str(fleet.schedule.now)))

    def let_roll_out(fleet: Fleet) -> None:
        stage.world.rollouts["Deployment/apps/web"] = QUICK
        replace(fleet, "parent", parent(str(fleet.schedule.now)))

    def revive(fleet: Fleet) -> None:
        for process in PROCESSES:
            if not fleet.processes[process].controllers[0].alive:
                fleet.restart(process)

    make_other(stage.fleet)
    for name in SPECS:
        make(stage.fleet, name)
    first = release(stage, "first", upgrade={"remediation": {"retries": 1}})
    release(stage, "second", dependsOn=[{"name": "first"}])

    def some() -> str:
        return chance.choice(list(SPECS))

    def host() -> str:
        return chance.choice(["git.test", "other.test"])

    acts: list[Callable[[Fleet], object]] = [
        lambda fleet: replace(fleet, some(), BROKEN),
        lambda fleet: replace(fleet, some(), REJECTED),
        lambda fleet: push(f"mend at {fleet.schedule.now}", **tree())(fleet),
        lambda fleet: push(f"mend all at {fleet.schedule.now}", **tree())(fleet),
        lambda fleet: steps.suspend(kustomization(some()))(fleet),
        lambda fleet: [steps.resume(kustomization(name))(fleet) for name in SPECS],
        lambda fleet: steps.delete(kustomization(some()))(fleet),
        lambda fleet: [make(fleet, name) for name in SPECS],
        lambda fleet: steps.refuse(host())(fleet),
        lambda fleet: steps.hang(host())(fleet),
        lambda fleet: [steps.restore(name)(fleet) for name in ("git.test", "other.test")],
        lambda fleet: steps.delete(OTHER)(fleet),
        make_other,
        never_roll_out,
        let_roll_out,
        lambda fleet: breaks(first)(fleet),
        lambda fleet: mends(first)(fleet),
        lambda fleet: steps.empty_storage()(fleet),
        lambda fleet: steps.request(REPO)(fleet),
    ]
    if with_deaths:
        acts += [lambda fleet: fleet.kill(chance.choice(PROCESSES)), revive, revive]
    at = 30.0
    while at < UNTIL - 60:
        stage.fleet.at(at, chance.choice(acts))
        at += chance.choice([0.02, 0.1, 1, 5, 20, 60])
    stage.fleet.run(UNTIL)
    return Story(writes, UNTIL)


@pytest.mark.parametrize("with_deaths", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_what_is_said_makes_sense_and_a_late_comer_does_not_lie(seed: int, with_deaths: bool) -> None:
    story = story_of_chance(seed, with_deaths)
    for at, page in story.pages:
        for name, said in page.items():
            assert said.failing is None or (said.status == "False" and (said.root or said.blocked)), (at, name, said)
            assert not said.uncertainty
            # Only where nobody is there to look again.
            assert said.root != CONDITION_NOT_MET or with_deaths, (at, name)
            for cause in said.blocked:
                root = page[cause]
                assert root.root, (at, name, cause)
                assert root.status != "True" or root.root in {*PASSING, SUSPENDED}, (at, name, cause)
    writes = story.writes
    known = _after_writes(story)
    for first in range(5, len(writes), max(1, len(writes) // 40)):
        late = Exporter()
        late.list(writes[: first + 1], writes[first].at)
        page = late.page()
        live = live_conditions(writes[: first + 1])
        for name, said in known[first].items():
            in_a_run = name in live and live[name] not in ("True", "False")
            assert_no_lie(said, page.get(name, Said()), in_a_run, (seed, writes[first].at, name))
    _assert_order_does_not_matter(story, seed)


def _after_writes(story: Story) -> list[Mapping[str, Said]]:
    """The pages less those between two writes."""
    exporter = Exporter()
    exporter.list((), 0.0)
    found = []
    for write in story.writes:
        exporter.receive(write)
        found.append(exporter.page())
    return found


def _assert_order_does_not_matter(story: Story, seed: int) -> None:
    late = Exporter()
    late.list((), 0.0)
    for at, write in shuffled(story.writes, seed):
        late.receive(write, at)
    for exporter in late, story.exporter:
        exporter.relations.advance(EPOCH + UNTIL + 2)
    assert resembles(late.page()) == resembles(story.exporter.page())

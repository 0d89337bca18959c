"""Driven as the recorded scenarios were, the fleet writes what the real controllers wrote.

The recorded jitter of intervals is taken as given: without it every run after the first would be at another time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest

from gotk_exporter.simulator.fleet.objects import Key
from gotk_exporter.simulator.fleet.world import Manifests
from tests.peers.presence import shared_data
from tests.simulator.fleet_traces import (
    Trace,
    comparable,
    conditions,
    history_times_that_break_the_rule,
    recorded,
    shape,
    transitions_that_break_the_rule,
)
from tests.simulator.fleets import URL, Stage

SEEN_LATE_SECONDS = 0.35
"""A recorded write is seen a moment after it was made."""


class RecordedJitter:
    """What each object made of its interval, run by run."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._ends: dict[Key, deque[tuple[float, float]]] = {}

    def __call__(self, key: Key, interval: float) -> float:
        delays = self._ends.get(key)
        if delays is None:
            delays = self._ends[key] = deque(self._delays(key, interval))
        return delays.popleft()[1] if delays else interval

    def _delays(self, key: Key, interval: float) -> list[tuple[float, float]]:
        """For every run that ended well, when that was and how long until the next, if nothing else began it."""
        delays = []
        ended = None
        writes = self._trace.writes.get(f"{key.kind}/{key.name}", [])
        before: dict[str, dict[str, str]] = {}
        for write in writes:
            now = conditions(write.status)
            ready = now.get("Ready", {}).get("status")
            if ended is not None and ready == "Unknown":
                # What the controller does between its waking and its first write is not part of the interval.
                delay = write.time - ended - 0.02
                delays.append((ended, delay if abs(delay - interval) < interval * 0.06 else interval))
                ended = None
            elif ended is not None and ready == "False":
                delays.append((ended, interval))
                ended = None
            elif (ready == "True" and before.get("Ready", {}).get("status") != "True") or ready == "True":
                ended = write.time
            before = now
        return delays


def perform_a(stage: Stage, trace: Trace) -> None:
    stage.kustomization("plain", interval="30s")
    stage.schedule.advance(trace.writes["Kustomization/waited"][0].time)
    stage.kustomization("waited", interval="30s", wait=True)
    stage.fleet.at(_time(trace, "Deployment web made healthy"), lambda _: stage.world.make_ready("Deployment/tr-a/web"))


def perform_b(stage: Stage, trace: Trace) -> None:
    stage.kustomization("stuck", wait=True)
    stage.schedule.advance(trace.writes["Kustomization/noretry"][0].time)
    stage.kustomization("noretry", interval="30s", retryInterval=None, wait=True)
    stage.schedule.advance(trace.writes["Kustomization/failfast"][0].time)
    stage.kustomization("failfast", wait=True)
    world, at = stage.world, stage.fleet.at
    at(_time(trace, "Deployment failfast reports"), lambda _: world.make_failed("Deployment/tr-b/failfast"))
    at(_time(trace, "Deployment stuck made healthy"), lambda _: world.make_ready("Deployment/tr-b/stuck"))
    at(_time(trace, "Deployment stuck made unready"), lambda _: world.make_unready("Deployment/tr-b/stuck"))
    at(_time(trace, "pushed d9ae2657"), _push(stage, "stuck", {"Deployment/tr-b/stuck": "2"}))


def perform_d(stage: Stage, trace: Trace) -> None:
    stage.kustomization("root", wait=True)
    stage.schedule.advance(trace.writes["Kustomization/mid"][0].time)
    stage.kustomization("mid", dependsOn=[{"name": "root"}])
    stage.schedule.advance(trace.writes["Kustomization/leaf"][0].time)
    stage.kustomization("leaf", dependsOn=[{"name": "mid"}])
    world, at = stage.world, stage.fleet.at
    root = "Deployment/tr-d/root"
    at(_time(trace, "Deployment root made healthy"), lambda _: world.make_ready(root))
    at(_time(trace, "pushed 805c6788"), _push(stage, "root", {root: "1", "ConfigMap/tr-d/extra": "1"}))
    at(_time(trace, "pushed d280f198"), _push(stage, "root", {root: "2", "ConfigMap/tr-d/extra": "1"}))
    at(_time(trace, "Deployment root made healthy again"), lambda _: world.make_ready(root))


def _push(stage: Stage, name: str, objects: dict[str, str]) -> Callable[[object], None]:
    def push(_: object) -> None:
        stage.world.push(URL, f"change {name} at {stage.schedule.now}", {f"./{name}": Manifests(objects)})
        stage.fleet.request(stage.key("repo", "GitRepository"), f"token-{stage.schedule.now}")

    return push


def _start(trace: Trace) -> float:
    """When the controllers began to see objects.

    Where they had only just been started, their first builds took a quarter of a second more than any later one.
    """
    first = min(writes[1].time for writes in trace.writes.values())
    return first + 0.25 if first > 0.5 else first


def _time(trace: Trace, step: str) -> float:
    found = [time for time, what in trace.steps if what.startswith(step)]
    return found[-1] if step.endswith("again") else found[0]


SCENARIOS: dict[str, tuple[Callable[[Stage, Trace], None], dict[str, Manifests]]] = {
    "a-healthy": (
        perform_a,
        {"./plain": Manifests({"ConfigMap/tr-a/plain": "1"}), "./waited": Manifests({"Deployment/tr-a/web": "1"})},
    ),
    "b-health-check-fails": (
        perform_b,
        {f"./{name}": Manifests({f"Deployment/tr-b/{name}": "1"}) for name in ("stuck", "noretry", "failfast")},
    ),
    "d-depends-on": (
        perform_d,
        {
            "./root": Manifests({"Deployment/tr-d/root": "1"}),
            "./mid": Manifests({"ConfigMap/tr-d/mid": "1"}),
            "./leaf": Manifests({"ConfigMap/tr-d/leaf": "1"}),
        },
    ),
}

OBJECTS = [
    ("a-healthy", "GitRepository/repo"),
    ("a-healthy", "Kustomization/plain"),
    ("a-healthy", "Kustomization/waited"),
    ("b-health-check-fails", "GitRepository/repo"),
    ("b-health-check-fails", "Kustomization/stuck"),
    ("b-health-check-fails", "Kustomization/noretry"),
    ("b-health-check-fails", "Kustomization/failfast"),
    ("d-depends-on", "GitRepository/repo"),
    ("d-depends-on", "Kustomization/root"),
    ("d-depends-on", "Kustomization/mid"),
    ("d-depends-on", "Kustomization/leaf"),
]


@pytest.fixture(scope="module")
def performances() -> Callable[[str], tuple[Trace, Trace]]:
    """What was recorded of a scenario, and what the fleet made of it."""
    done: dict[str, tuple[Trace, Trace]] = {}

    def perform(name: str) -> tuple[Trace, Trace]:
        if name not in done:
            trace = recorded(shared_data(f"traces/flux/{name}.jsonl"))
            stage = Stage(namespace=f"tr-{name[0]}", jitter=RecordedJitter(trace), epoch=trace.start)
            stage.fleet.at(_start(trace), lambda fleet: fleet.start())
            stage.schedule.advance(trace.writes["GitRepository/repo"][0].time)
            act, tree = SCENARIOS[name]
            stage.repository(tree)
            act(stage, trace)
            stage.schedule.advance(_time(trace, "end"))
            done[name] = trace, stage.trace
        return done[name]

    return perform


Performances = Callable[[str], tuple[Trace, Trace]]


@pytest.mark.parametrize(("scenario", "name"), OBJECTS)
def test_the_writes_are_the_recorded_ones_in_their_order(performances: Performances, scenario: str, name: str) -> None:
    real, ours = performances(scenario)
    assert list(comparable(ours.writes[name])) == list(comparable(real.writes[name]))


@pytest.mark.parametrize(("scenario", "name"), OBJECTS)
def test_the_events_are_the_recorded_ones_in_their_order(performances: Performances, scenario: str, name: str) -> None:
    real, ours = performances(scenario)
    ours_told, real_told = (
        [(severity, reason, _without_commit(shape(message))) for _, severity, reason, message in trace.events[name]]
        for trace in (ours, real)
    )
    assert ours_told == real_told


def _without_commit(message: str) -> str:
    return message.partition(" for commit ")[0]


@pytest.mark.parametrize(("scenario", "name"), OBJECTS)
def test_what_lies_between_two_writes_takes_as_long_as_recorded(
    performances: Performances, scenario: str, name: str
) -> None:
    """Within a tenth, or one and a half seconds where that is more."""
    real, ours = performances(scenario)
    gaps = [
        [after.time - before.time for before, after in zip(trace.writes[name], trace.writes[name][1:], strict=False)]
        for trace in (real, ours)
    ]
    off = [
        (index, expected, actual)
        for index, (expected, actual) in enumerate(zip(*gaps, strict=True))
        if abs(expected - actual) > max(0.1 * expected, 1.5)
    ]
    assert not off


@pytest.mark.parametrize(("scenario", "name"), OBJECTS)
def test_last_transition_time_moves_when_status_reason_or_message_changes(
    performances: Performances, scenario: str, name: str
) -> None:
    real, ours = performances(scenario)
    assert transitions_that_break_the_rule(real.writes[name], real.start, SEEN_LATE_SECONDS) == []
    assert transitions_that_break_the_rule(ours.writes[name], ours.start, 0.0) == []


@pytest.mark.parametrize(("scenario", "name"), OBJECTS)
def test_history_keeps_the_first_time_and_moves_the_last(performances: Performances, scenario: str, name: str) -> None:
    real, ours = performances(scenario)
    assert history_times_that_break_the_rule(real.writes[name], real.start, SEEN_LATE_SECONDS) == []
    assert history_times_that_break_the_rule(ours.writes[name], ours.start, 0.05) == []

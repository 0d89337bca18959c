"""The demo platform's incidents, for an hour and more each: who is to blame, and that nothing flickers.

Each incident has the roots that an operator would name; whatever else is named must be something that passes by itself.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import pytest

from gotk_exporter.flux.blame import PASSING
from gotk_exporter.flux.graph import Graph
from gotk_exporter.flux.nodes import Phase
from gotk_exporter.flux.references import Key
from gotk_exporter.simulator.fleet.incidents import begin, begin_story, incidents
from gotk_exporter.simulator.fleet.platform import SETTLED_MINUTES, new_platform
from tests.flux.scenarios_follower import EPOCH, Exporter, Write, record

HOUR = 3600.0
START = SETTLED_MINUTES * 60
TEAMS = ("catalog", "checkout", "identity", "notifications", "payments", "search")
WEB = {f"Kustomization/{team}/{name}": "ReconciliationFailed" for team in TEAMS for name in ("web", "gateway", "admin")}
OTHER_HOST = {f"GitRepository/{team}/deploy": "GitOperationFailed" for team in ("catalog", "notifications")}

ROOTS = {
    "failing-root": {"Kustomization/payments/database": "HealthCheckFailed"},
    "build-error": {"Kustomization/catalog/web": "BuildFailed"},
    "long-rollout": {},
    "admission-webhook": WEB,
    "source-outage": OTHER_HOST,
    "suspension": {"Kustomization/catalog/api": "Suspended"},
    "deletion": {},
    "killed-controller": {},
    "failing-upgrade": {"HelmRelease/edge/external-dns": "UpgradeFailed"},
}
WAITS_UNSEEN = 20 * 30.0 + 5.0
"""Seconds for which an object may wait for what is well and be nobody's fault: until nobody has looked for so long."""


@functools.cache
def lived(name: str, hours: float) -> list[Write]:
    """What is written at the platform while this happens to it; what was there comes first."""
    living = new_platform(EPOCH + START, 35)
    writes = record(living.storage, living.fleet.schedule)
    platform = living.platform
    if name == "story":
        begin_story(platform)
    elif name == "all at once":
        for incident in incidents(platform).values():
            begin(platform, incident)
    elif name != "quiet":
        begin(platform, incidents(platform)[name])
    living.fleet.run(hours * HOUR)
    return writes


def follow(writes: list[Write]) -> Iterator[tuple[float, Exporter]]:
    """An exporter that sees this, after each write and whenever it looks again by itself."""
    exporter = Exporter()
    before = [write for write in writes if write.at <= START]
    exporter.list(before, START)
    for write in writes[len(before) :]:
        while (due := exporter.relations.graph.next_due()) is not None and due < EPOCH + write.at:
            exporter.relations.advance(due)
            yield due - EPOCH, exporter
        exporter.receive(write)
        yield write.at, exporter


def paging(graph: Graph) -> dict[str, str]:
    """The root causes that somebody would have to look at."""
    found = {str(key): graph.answer(key).root_reason for key in graph.roots()}
    return {name: reason for name, reason in found.items() if reason not in PASSING}


def test_the_incidents_are_those_that_we_know_the_causes_of() -> None:
    assert set(incidents(new_platform(EPOCH, 35, past_minutes=0.5).platform)) == set(ROOTS)


@pytest.mark.parametrize("name", ROOTS)
def test_an_incident_has_the_causes_that_an_operator_would_name_and_none_flickers(name: str) -> None:
    seen: dict[str, str] = {}
    begun: Counter[str] = Counter()
    before: dict[str, str] = {}
    for _, exporter in follow(lived(name, 1.2)):
        now = paging(exporter.relations.graph)
        begun.update(now.keys() - before.keys())
        seen |= now
        before = now
    assert seen.items() <= ROOTS[name].items()
    assert bool(seen) == bool(ROOTS[name])
    assert name == "admission-webhook" or seen == ROOTS[name]
    # One that fails, then waits for what it depends on, and then runs, fails until that run has ended.
    assert max(begun.values(), default=0) <= (2 if name == "build-error" else 1)
    assert before == {}


@pytest.mark.parametrize("name", ["story", "all at once"])
def test_whoever_fails_has_a_cause_and_whoever_is_blocked_is_blocked_by_something(name: str) -> None:
    waits_unseen: dict[Key, float] = {}
    for at, exporter in follow(lived(name, 1.6)):
        graph = exporter.relations.graph
        for key in exporter.objects():
            node = graph.node(key)
            assert node is not None
            if node.terminating or node.phase not in (Phase.FAILING, Phase.WAITING):
                waits_unseen.pop(key, None)
                continue
            answer = graph.answer(key)
            if answer.root_reason or answer.blocked_by:
                waits_unseen.pop(key, None)
            else:
                assert node.phase is Phase.WAITING, (at, key)
                assert at - waits_unseen.setdefault(key, at) < WAITS_UNSEEN, (at, key)
            for cause, _ in answer.blocked_by:
                why, found = graph.answer(cause).root_reason, graph.node(cause)
                assert why, (at, key, cause)
                assert why in PASSING or found is None or found.unwell, (at, key, cause)


def count_below(graph: Graph, keys: Sequence[Key], key: Key) -> int:
    """How many are ready downstream of it, counted the long way."""
    dependents = defaultdict(set)
    for other in keys:
        node = graph.node(other)
        for edge in node.edges if node is not None else ():
            dependents[edge.target].add(other)
    found: set[Key] = set()
    queue = [key]
    while queue:
        fresh = dependents[queue.pop()] - found
        found |= fresh
        queue += fresh
    nodes = [graph.node(other) for other in found - {key}]
    return sum(1 for node in nodes if node is not None and node.phase is Phase.READY and not node.terminating)


@pytest.mark.parametrize("name", ["story", "all at once"])
def test_the_numbers_of_what_is_held_back_and_blocked_are_those_of_a_naive_count(name: str) -> None:
    counted = 0
    for number, (at, exporter) in enumerate(follow(lived(name, 1.6))):
        if number % 25:
            continue
        graph = exporter.relations.graph
        keys = exporter.objects()
        for key in keys:
            held = graph.answer(key).held_back
            node = graph.node(key)
            assert node is not None
            assert (held is not None) == (node.phase is Phase.FAILING and not node.terminating), (at, key)
            if held is not None:
                assert held == count_below(graph, keys, key), (at, key)
                counted += 1
        for root in graph.roots():
            blamed = [key for key in keys if root in [cause for cause, _ in graph.answer(key).blocked_by]]
            assert graph.answer(root).blocked == len(blamed), (at, root)
    assert counted > 50


def test_a_quiet_platform_has_no_causes_and_its_series_stay_the_same() -> None:
    at_first: set[str] = set()
    more: Counter[str] = Counter()
    for number, (_, exporter) in enumerate(follow(lived("quiet", 2.0))):
        assert exporter.relations.graph.roots() == ()
        if number % 60 == 0:
            labels = exporter.labels()
            at_first = at_first or labels
            more.update({label.partition("{")[0] for label in labels - at_first})
    assert set(more) <= {"gotk_resource_condition", "gotk_resource_progressing_since_timestamp_seconds"}

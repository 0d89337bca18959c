"""The graph of causes, kept step by step, is what one gets from looking at everything anew, in any order."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from gotk_exporter.flux.blame import CYCLE, Blame, blame_of
from gotk_exporter.flux.components import components
from gotk_exporter.flux.graph import Answer, Graph
from gotk_exporter.flux.nodes import Health, Node, Phase, Wait
from gotk_exporter.flux.references import Awaited, Edge, Key
from gotk_exporter.flux.rows import Via

KEYS = [
    *(Key("Kustomization", "apps", name) for name in "abcdef"),
    Key("GitRepository", "apps", "source"),
    Key("ExternalArtifact", "apps", "made"),
    Key("ArtifactGenerator", "apps", "maker"),
]
KINDS = sorted({key.kind for key in KEYS})
FLAG = st.sampled_from([False, False, False, True])
TIMES = st.sampled_from([0.0, 10.0, 50.0, 100.0])


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    key = draw(st.sampled_from(KEYS))
    others = [other for other in KEYS if other != key]
    edges = [
        Edge(draw(st.sampled_from([Via.DEPENDS_ON, Via.DEPENDS_ON, Via.SOURCE_REF])), target)
        for target in draw(st.lists(st.sampled_from(others), max_size=3, unique=True))
    ]
    phase = draw(st.sampled_from(Phase))
    children = tuple(sorted(draw(st.lists(st.sampled_from(others), max_size=3, unique=True))))
    wait = health = None
    if phase is Phase.WAITING:
        via = draw(st.sampled_from([Via.DEPENDS_ON, Via.SOURCE_REF]))
        wait = Wait(via, draw(TIMES), draw(st.none() | st.sampled_from(KEYS)), 30.0)
    if phase is Phase.FAILING and children and draw(st.booleans()):
        awaited = Awaited(children[: draw(st.integers(0, len(children)))], draw(st.booleans()))
        health = Health(draw(TIMES), draw(st.none() | st.just(awaited)))
    return Node(
        key,
        tuple(edges),
        phase,
        "BuildFailed" if phase is Phase.FAILING else "",
        draw(FLAG),
        draw(FLAG),
        draw(st.none() | TIMES),
        not draw(FLAG),
        draw(st.sampled_from(["", "1", "2"])),
        draw(TIMES),
        draw(st.none() | TIMES),
        wait,
        health,
        children,
        tuple(draw(st.lists(st.sampled_from(others), max_size=1))),
        (Key("ExternalArtifact", "apps", "made"),) if key.kind == "ArtifactGenerator" and draw(st.booleans()) else (),
    )


STEPS = st.lists(
    st.one_of(
        st.lists(nodes(), min_size=1, max_size=4),
        nodes(),
        st.sampled_from(KEYS),
        st.sampled_from(KINDS),
        st.just(60.0),
    ),
    max_size=40,
)


class Reference:
    """Everything looked at anew for every question; slow, and short enough to be believed."""

    def __init__(self, known: Mapping[Key, Node], listed: Iterable[str], now: float) -> None:
        self._nodes = known
        self._listed = set(listed)
        self.blames = {key: blame for key, node in known.items() if (blame := blame_of(node, self, now)) is not None}
        self.reached = {key: self._reached(key) for key in KEYS}

    def node(self, key: Key) -> Node | None:
        return self._nodes.get(key)

    def is_listed(self, key: Key) -> bool:
        return key.kind in self._listed

    def producer(self, key: Key) -> Key | None:
        return min((other for other, node in self._nodes.items() if key in node.produces), default=None)

    def _reached(self, key: Key) -> set[Key]:
        """What can be got to in one step or more."""
        found: set[Key] = set()
        queue = [key]
        while queue:
            for edge in self.blames.get(queue.pop(), Blame()).follows:
                if edge.target not in found:
                    found.add(edge.target)
                    queue.append(edge.target)
        return found

    def roots(self, key: Key) -> set[Key]:
        """What failed because of a child that has no cause itself, as it is about to look again, is blocked by that."""
        found = self._named(key)
        for member in {key, *self.reached[key]} if key in self.blames else ():
            for edge in self.blames.get(member, Blame()).follows:
                if edge.via is Via.HEALTH and not self._named(edge.target) and not self.roots(edge.target):
                    found.add(edge.target)
        return found

    def _named(self, key: Key) -> set[Key]:
        if key not in self.blames:
            return set()
        found = set()
        for member in {key, *self.reached[key]}:
            blame = self.blames.get(member, Blame())
            found |= {end.key for end in blame.ends} | ({member} if blame.own else set())
            circle = {other for other in self.reached[member] if member in self.reached[other]}
            if circle:
                found.add(min(circle))
        return found

    def held_back(self, key: Key) -> int | None:
        node = self._nodes.get(key)
        if node is None or node.phase is not Phase.FAILING or node.terminating:
            return None
        below: set[Key] = set()
        grown = True
        while grown:
            more = {
                other
                for other, found in self._nodes.items()
                if any(edge.target in {key, *below} for edge in found.edges)
            } - below
            below |= more
            grown = bool(more)
        return sum(1 for other in below - {key} if self._nodes[other].receives)


def agree(graph: Graph, known: Mapping[Key, Node], listed: Iterable[str], now: float) -> None:
    reference = Reference(known, listed, now)
    roots = {key: reference.roots(key) for key in KEYS}
    causes = set().union(*roots.values())
    assert set(graph.roots()) == causes
    for key in KEYS:
        answer = graph.answer(key)
        assert {root for root, _ in answer.blocked_by} == roots[key] - {key}
        assert bool(answer.root_reason) is (key in causes)
        assert answer.blocked == sum(1 for other in KEYS if key in roots[other] and other != key)
        assert answer.held_back == reference.held_back(key)
        claims = known[key].claims if key in known else ()
        assert answer.parents == tuple(owner for owner in claims if owner in known and key in known[owner].children)


@settings(deadline=None, max_examples=400)
@given(STEPS, st.randoms(use_true_random=False))
def test_the_graph_is_what_one_sees_who_looks_at_everything_anew(steps: list[object], chance: object) -> None:
    graph, known, listed, now = Graph(), dict[Key, Node](), set[str](), 20.0
    shown = {key: Answer() for key in KEYS}
    for step in steps:
        if isinstance(step, list):
            changes: dict[Key, Node | None] = {node.key: node for node in step}
            changed = graph.update(changes, now)
            known |= {node.key: node for node in step}
        elif isinstance(step, Node):
            changed = graph.update({step.key: step}, now)
            known[step.key] = step
        elif isinstance(step, Key):
            changed = graph.update({step: None}, now)
            known.pop(step, None)
        elif isinstance(step, str):
            changed = (graph.mark_unlisted if step in listed else graph.mark_listed)(step, None, now)
            listed ^= {step}
        else:
            assert isinstance(step, float)
            now += step
            changed = graph.advance(now)
        agree(graph, known, listed, now)
        # Whoever renders only what is reported as changed shows the same.
        shown |= {key: graph.answer(key) for key in changed}
        assert shown == {key: graph.answer(key) for key in KEYS}
    anew = Graph()
    order = list(known.values())
    chance.shuffle(order)  # type: ignore[attr-defined]
    for node in order:
        anew.update({node.key: node}, now)
    for kind in listed:
        anew.mark_listed(kind, None, now)
    anew.advance(now)
    assert {key: anew.answer(key) for key in KEYS} == {key: graph.answer(key) for key in KEYS}


@given(st.dictionaries(st.integers(0, 8), st.lists(st.integers(0, 8), max_size=4)))
def test_components_are_the_sets_of_nodes_that_reach_each_other(arrows: dict[int, list[int]]) -> None:
    successors = {node: arrows.get(node, []) for node in range(9)}

    def reached(start: int) -> set[int]:
        found, queue = {start}, [start]
        while queue:
            more = set(successors[queue.pop()]) - found
            found |= more
            queue += more
        return found

    found = [frozenset(component) for component in components(successors, successors)]
    assert sorted(node for component in found for node in component) == list(range(9))
    for component in found:
        for node in component:
            assert component == {other for other in reached(node) if node in reached(other)}
    # What a component leads to comes before it.
    place = {node: index for index, component in enumerate(found) for node in component}
    assert all(place[target] <= place[node] for node in successors for target in successors[node])


def test_a_chain_of_a_thousand_is_no_matter_of_depth() -> None:
    chain = [Key("Kustomization", "apps", f"k{number}") for number in range(1_000)]
    graph = Graph()
    waits = {
        key: Node(key, (Edge(Via.DEPENDS_ON, before),), Phase.WAITING, wait=Wait(Via.DEPENDS_ON, 0.0, before, 30.0))
        for before, key in itertools.pairwise(chain)
    }
    graph.update({chain[0]: Node(chain[0], phase=Phase.FAILING, reason="BuildFailed"), **waits}, 0.0)
    assert graph.answer(chain[0]).blocked == len(chain) - 1
    graph.update(
        {chain[0]: dataclasses.replace(waits[chain[1]], key=chain[0], edges=(Edge(Via.DEPENDS_ON, chain[-1]),))}, 1.0
    )
    assert graph.answer(chain[0]).root_reason == CYCLE

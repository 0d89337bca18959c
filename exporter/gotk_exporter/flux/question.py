"""Which object is meant, and what is said where there is none: from what a person writes to an explanation.

The same for a cluster that was listed once and for the running exporter: both hold collectors and a graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gotk_exporter.flux.blame import NOT_FOUND
from gotk_exporter.flux.collector import Collector, Tracked
from gotk_exporter.flux.explanation import Around, Explanation, NotKnown, Why, explanation_of
from gotk_exporter.flux.naming import MAX_CHARS, kind_called, kind_like, names_like
from gotk_exporter.flux.particulars import Details
from gotk_exporter.flux.references import Key
from gotk_exporter.flux.relations import Relations
from gotk_exporter.flux.rows import Kind
from gotk_exporter.flux.verdicts import Verdict

MAX_NAMESPACES = 5
"""Named where an object is in several."""
MAX_NEAR = 3


class NoAnswer(Exception):
    """With the remedy, in one line."""


class BadQuestion(NoAnswer):
    """What is asked for cannot be."""


class NoSuchObject(NoAnswer):
    """It is not there, or nothing is known of its kind."""


@dataclass(frozen=True, slots=True)
class Question:
    kind: Kind
    name: str
    namespace: str | None = None
    """None: where ``preferred`` has it, else where it is the only one of its name."""
    preferred: str | None = None


def question(kind: str, name: str, namespace: str | None, preferred: str | None = None) -> Question:
    """Raises BadQuestion."""
    known = kind_called(kind)
    if known is None:
        raise BadQuestion(f'"{_shown(kind)}" is no kind of Flux; {kind_like(kind)}')
    for what, text in ("name", name), ("namespace", namespace or ""):
        if len(text) > MAX_CHARS or not text.isprintable():
            raise BadQuestion(f'"{_shown(text)}" can be no {what}; at most {MAX_CHARS} printable characters')
    return Question(known, name, namespace, preferred)


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that is known of a cluster."""

    relations: Relations
    collectors: Sequence[Collector]
    not_known: Sequence[NotKnown] = ()
    absent: frozenset[str] = frozenset()
    """Kinds that the cluster does not serve."""

    @property
    def graph(self) -> Around:
        return self.relations.graph

    def verdict(self, key: Key) -> Verdict | None:
        tracked = self._tracked(key)
        return tracked.verdict if tracked is not None else None

    def details(self, key: Key) -> Details:
        tracked, facts = self._tracked(key), self.relations.facts(key)
        if tracked is None:
            return Details(facts=facts)
        failing = tracked.verdict is not None and tracked.verdict.failing
        diagnosis = tracked.diagnosis if failing else None
        return Details(diagnosis, tracked.runs, tracked.risks, facts, tracked.touched)

    def _tracked(self, key: Key) -> Tracked | None:
        found = (collector.find(key) for collector in self.collectors if collector.kind.name == key.kind)
        return next((tracked for tracked in found if tracked is not None), None)

    def keys(self, kind: Kind) -> Iterator[Key]:
        for collector in self.collectors:
            if collector.kind is kind:
                yield from collector.keys()


def answer(asked: Question, known: Known, now: float) -> Explanation:
    """Raises NoSuchObject, and BadQuestion where several objects have the name."""
    return explanation_of(_find(asked, known), known.graph, known.verdict, known.details, now, known.not_known)


def _find(asked: Question, known: Known) -> Key:
    kind = asked.kind.name
    for namespace in asked.namespace, asked.preferred if asked.namespace is None else None:
        key = Key(kind, namespace or "", asked.name)
        if namespace is not None and known.graph.node(key) is not None:
            return key
    namesakes = sorted(key for key in known.keys(asked.kind) if key.name == asked.name)
    if asked.namespace is None and len(namesakes) == 1:
        return namesakes[0]
    if asked.namespace is None and namesakes:
        raise BadQuestion(f"{kind} {asked.name} is in {_namespaces(namesakes)}; say which with -n")
    raise NoSuchObject(_apology(asked, namesakes, known))


def _apology(asked: Question, namesakes: Sequence[Key], known: Known) -> str:
    kind = asked.kind.name
    key = Key(kind, asked.namespace or asked.preferred or "", asked.name)
    if kind in known.absent:
        return f"the cluster does not serve {kind} ({asked.kind.resource}); is this the cluster you mean?"
    place = f"{asked.namespace}/" if asked.namespace is not None else ""
    gap = next((gap for gap in known.not_known if gap.kind == kind and gap.namespace in ("", asked.namespace)), None)
    if gap is not None and gap.why != "out_of_date" and not known.graph.is_listed(key):
        return f"nothing is known of {kind} {place}{asked.name}: {_REMEDIES[gap.why].format(asked.kind.resource)}"
    if not any(collector.kind is asked.kind for collector in known.collectors):
        return f"{kind} is not among watch.kinds of the settings; add it there"
    missing = f"there is no {kind} {place}{asked.name}"
    awaited = known.graph.answer(key)
    if awaited.root_reason == NOT_FOUND:
        missing += f" (and {_objects(awaited.blocked)} for it)"
    if namesakes:
        return f"{missing}; it is in {_namespaces(namesakes)}"
    return f"{missing}; {_near(asked, known)}"


_REMEDIES: dict[Why, str] = {
    "forbidden": "this account may not list {0}; grant it list, or ask as somebody who may",
    "not_listed_yet": "{0} is not listed yet; ask again in a moment",
    "unreachable": "the API server did not answer for {0}; ask again in a moment",
    "timed_out": "the API server took too long to list {0}; give it more with --timeout",
}


def _near(asked: Question, known: Known) -> str:
    """Names like it: in the namespace that is meant, and only where there is none, in all."""
    everywhere = list(known.keys(asked.kind))
    if not everywhere:
        return f"there is none of that kind{' that may be seen' if known.not_known else ' at all'}"
    here = [key for key in everywhere if key.namespace == (asked.namespace or asked.preferred)]
    for keys in here, everywhere:
        names = names_like(asked.name, (key.name for key in keys))
        alike = sorted((key for key in keys if key.name in names), key=lambda key: (names.index(key.name), key))
        if alike:
            return f"did you mean {' or '.join(f'{key.namespace}/{key.name}' for key in alike[:MAX_NEAR])}?"
    return f"{_others(len(everywhere))}; kubectl get {asked.kind.resource} -A lists them"


def _namespaces(keys: Sequence[Key]) -> str:
    names = [key.namespace for key in keys]
    more = f" and {len(names) - MAX_NAMESPACES} more" if len(names) > MAX_NAMESPACES else ""
    noun = "the namespace" if len(names) == 1 else "the namespaces"
    return f"{noun} {', '.join(names[:MAX_NAMESPACES])}{more}"


def _objects(count: int) -> str:
    return "one object waits" if count == 1 else f"{count} objects wait"


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:60])


def _others(count: int) -> str:
    return "there is one other" if count == 1 else f"there are {count} others"

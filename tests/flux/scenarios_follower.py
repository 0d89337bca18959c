"""What exporters make of a story that a simulated fleet has written: one that saw it all, and ones that came later.

A story is every write of a fleet, in order, with its time; it is told to collectors as a watch would tell it. What is
asserted is read from the page, so that it is what a scrape would show.
"""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.references import Key
from gotk_exporter.flux.relations import Relations
from gotk_exporter.flux.verdicts import Seen
from gotk_exporter.metrics.families import Profile, select
from gotk_exporter.metrics.store import Store
from gotk_exporter.simulator.fleet.schedule import Schedule
from gotk_exporter.simulator.state.objects import GroupResource, Stored
from gotk_exporter.simulator.storage import Storage
from tests.flux.examples import text_of
from tests.simulator.fleets import EPOCH

KINDS = (
    "GitRepository",
    "OCIRepository",
    "Bucket",
    "HelmRepository",
    "HelmChart",
    "Kustomization",
    "HelmRelease",
    "Alert",
    "Provider",
    "Receiver",
    "ExternalArtifact",
)


@dataclass(frozen=True)
class Write:
    """One write, as a watch tells it."""

    at: float
    """Seconds since the story began."""
    type: str
    kind: str
    path: str
    """namespace/name."""
    uid: str
    raw: bytes
    ready: str
    """The live condition."""

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.path.partition('/')[2]}"


@dataclass(frozen=True)
class Said:
    """What the page says of one object, and what it is to others. Times are seconds since the story began."""

    status: str = ""
    failing: float | None = None
    uncertainty: float | None = None
    waiting: float | None = None
    progressing: float | None = None
    blocked: frozenset[str] = frozenset()
    root: str = ""
    held: int | None = None


def record(storage: Storage, schedule: Schedule) -> list[Write]:
    """All that is there, and all that is written from now on; the list grows as the fleet lives."""
    writes: list[Write] = []

    def take(type_: str, stored: Stored) -> None:
        document = stored.document()
        if document["kind"] in BY_NAME:
            conditions = {one["type"]: one["status"] for one in document.get("status", {}).get("conditions", ())}
            ready = conditions.get("Ready", "")
            text = stored.json("v1")
            writes.append(Write(schedule.now, type_, document["kind"], stored.key, stored.uid, text, ready))

    for kind in KINDS:
        for stored in storage.list(GroupResource(BY_NAME[kind].group, BY_NAME[kind].plural)).objects:
            take("ADDED", stored)
    storage.subscribe(lambda event: take(event.type, event.object))
    return writes


_LINE = re.compile(r"(gotk_\w+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Exporter:
    """Collectors of some kinds, in all namespaces or in some, with what they put on the page."""

    def __init__(self, kinds: Sequence[str] = KINDS, namespaces: Sequence[str] | None = None) -> None:
        self.store = Store(select(Profile.FULL))
        self.relations = Relations(self.store)
        self._namespaces = namespaces
        self.collectors = {
            (kind, namespace): Collector(BY_NAME[kind], namespace, self.store, self.relations)
            for kind in kinds
            for namespace in (namespaces or [None])
        }

    def collector(self, kind: str, path: str) -> Collector | None:
        return self.collectors.get((kind, path.partition("/")[0] if self._namespaces else None))

    def list(self, writes: Sequence[Write], at: float, kinds: Sequence[str] = ()) -> None:
        """First sight of the objects as these writes left them; of all kinds, or of these, in this order."""
        present: dict[tuple[str, str], Write] = {}
        for write in writes:
            present.pop((write.kind, write.path), None)
            if write.type != "DELETED":
                present[write.kind, write.path] = write
        order = list(kinds) or list(dict.fromkeys(kind for kind, _ in self.collectors))
        for kind in order:
            for (own, namespace), collector in self.collectors.items():
                if own != kind:
                    continue
                listing = collector.begin_replacement("v1")
                for (other, path), write in present.items():
                    if other == kind and namespace in (None, path.partition("/")[0]):
                        listing.add(path, write.uid, str(write.at), write.raw, Seen(EPOCH + at))
                listing.commit()

    def receive(self, write: Write, at: float | None = None) -> None:
        """One event of a watch that is up to date."""
        now = EPOCH + (write.at if at is None else at)
        self.relations.advance(now)
        collector = self.collector(write.kind, write.path)
        if collector is None:
            return
        if write.type == "DELETED":
            collector.delete(write.path, write.uid)
        else:
            collector.upsert(write.path, write.raw, Seen.live(now))

    def page(self) -> Mapping[str, Said]:
        """By Kind/name; what is missing and a root cause is here too."""
        found: dict[str, dict[str, object]] = {}
        for line in text_of(self.store).splitlines():
            match = _LINE.fullmatch(line)
            if match is None or match[1] not in _ASPECTS:
                continue
            labels = dict(_LABEL.findall(match[2]))
            said = found.setdefault(f"{labels['kind']}/{labels['name']}", {})
            _ASPECTS[match[1]](said, labels, float(match[3]))
        return {name: Said(**said) for name, said in found.items()}  # type: ignore[arg-type]

    def objects(self) -> Sequence[Key]:
        """Of all objects that are there."""
        return [*itertools.chain.from_iterable(collector.keys() for collector in self.collectors.values())]

    def labels(self) -> set[str]:
        """Every series on the page, without its value."""
        return {line.rpartition(" ")[0] for line in text_of(self.store).splitlines()}


def _time(value: float) -> float:
    return round(value - EPOCH, 3)


def _condition(said: dict[str, object], labels: Mapping[str, str], value: float) -> None:
    if value:
        said["status"] = labels["status"]


def _setter(
    name: str, convert: Callable[[float], object]
) -> Callable[[dict[str, object], Mapping[str, str], float], None]:
    def take(said: dict[str, object], labels: Mapping[str, str], value: float) -> None:
        said[name] = convert(value)

    return take


def _blocked(said: dict[str, object], labels: Mapping[str, str], value: float) -> None:
    before = said.get("blocked", frozenset())
    assert isinstance(before, frozenset)
    said["blocked"] = before | {f"{labels['by_kind']}/{labels['by_name']}"}


def _root(said: dict[str, object], labels: Mapping[str, str], value: float) -> None:
    said["root"] = labels["reason"]


_ASPECTS: Mapping[str, Callable[[dict[str, object], Mapping[str, str], float], None]] = {
    "gotk_reconcile_condition": _condition,
    "gotk_resource_failing_since_timestamp_seconds": _setter("failing", _time),
    "gotk_resource_failing_since_uncertainty_seconds": _setter("uncertainty", float),
    "gotk_resource_waiting_since_timestamp_seconds": _setter("waiting", _time),
    "gotk_resource_progressing_since_timestamp_seconds": _setter("progressing", _time),
    "gotk_resource_blocked": _blocked,
    "gotk_root_cause_info": _root,
    "gotk_resource_held_back": _setter("held", int),
}


@dataclass
class Story:
    """What was written, and what the page of one that saw it all said after each write."""

    writes: list[Write]
    end: float
    exporter: Exporter = field(default_factory=Exporter)

    @functools.cached_property
    def pages(self) -> list[tuple[float, Mapping[str, Said]]]:
        self.exporter.list((), 0.0)
        pages = []
        for write in self.writes:
            due = self.exporter.relations.graph.next_due()
            while due is not None and due < EPOCH + write.at:
                self.exporter.relations.advance(due)
                pages.append((due - EPOCH, self.exporter.page()))
                due = self.exporter.relations.graph.next_due()
            self.exporter.receive(write)
            pages.append((write.at, self.exporter.page()))
        return pages

    def spans(self, name: str, aspect: str) -> list[tuple[float, object]]:
        """When the aspect of the object became what, from the story's beginning on."""
        found: list[tuple[float, object]] = []
        for at, page in self.pages:
            value = getattr(page.get(name, Said()), aspect)
            if isinstance(value, frozenset):
                value = " ".join(sorted(value)) or None
            if value == "":
                value = None
            if not found and value is None:
                continue
            if not found or found[-1][1] != value:
                found.append((at, value))
        return found

    def runs(self, name: str) -> list[tuple[float, float]]:
        """From when to when it was progressing, as the series said it."""
        spans = self.spans(name, "progressing")
        ends = [at for at, _ in spans[1:]] + [self.end]
        return [(value, end) for (_, value), end in zip(spans, ends, strict=True) if isinstance(value, float)]


SLACK = 0.3
"""A simulated controller takes this much more or less of a second for a step."""


def check(story: Story, name: str, **expected: Sequence[tuple[float, object]]) -> None:
    """Each keyword is an aspect of Said, with the moments at which it changes, and to what."""
    for aspect, changes in expected.items():
        found = story.spans(name, aspect)
        message = f"{name} {aspect}: {[(round(at, 1), value) for at, value in found]}"
        assert len(found) == len(changes), message
        for (at, value), (when, what) in zip(found, changes, strict=True):
            assert abs(at - when) <= SLACK, message
            if isinstance(what, float) and isinstance(value, float):
                assert abs(value - what) <= SLACK, message
            else:
                assert value == what, message


def long_runs(story: Story, name: str) -> list[tuple[int, int]]:
    """The runs of a second and more, in whole seconds."""
    return [(round(start), round(end)) for start, end in story.runs(name) if end - start >= 1]


# Other ways to learn the same story


def shuffled(writes: Sequence[Write], seed: int, late: float = 1.0) -> Iterator[tuple[float, Write]]:
    """As watches tell it that are not in step: each kind up to a second late, by itself in order."""
    chance = random.Random(seed)
    arrivals: list[tuple[float, int, Write]] = []
    delays: dict[str, float] = {}
    newest: dict[str, float] = {}
    for number, write in enumerate(writes):
        if chance.random() < 0.3 or write.kind not in delays:
            delays[write.kind] = chance.uniform(0, late)
        newest[write.kind] = max(newest.get(write.kind, 0.0), write.at + delays[write.kind])
        arrivals.append((newest[write.kind], number, write))
    for at, _, write in sorted(arrivals, key=lambda item: item[:2]):
        yield at, write


def quiet_moments(writes: Sequence[Write], seconds: float) -> list[int]:
    """Indexes of the writes after which nothing is written for so long."""
    return [
        index
        for index, (write, after) in enumerate(itertools.zip_longest(writes, writes[1:]))
        if after is None or after.at - write.at > seconds
    ]

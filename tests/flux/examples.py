"""Objects as their controllers write them, with the text that each becomes; and the way from the one to the other.

A file tests/data/<Kind>/<case>.yaml says in a comment what is the matter, and holds two YAML documents: the
object, and its lines in the profile full with OWNER_LABELS.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.kinds import BY_NAME, KINDS
from gotk_exporter.flux.objects import Defect
from gotk_exporter.flux.owner_labels import OwnerLabel
from gotk_exporter.flux.relations import Relations
from gotk_exporter.flux.verdicts import Seen
from gotk_exporter.metrics.exposition import Format
from gotk_exporter.metrics.families import Profile, select
from gotk_exporter.metrics.store import Store

DIRECTORY = Path(__file__).parents[1] / "data"
NOW = 1_795_165_200.0
"""2026-11-20T09:00:00Z: when the objects are first looked at, after all that happens in them."""
OWNER_LABELS = (OwnerLabel("team", "example.com/team"), OwnerLabel("tier", "app.kubernetes.io/tier"))


@dataclass(frozen=True)
class Example:
    name: str
    object: dict[str, Any]
    expected: str
    comment: str

    def __repr__(self) -> str:
        return self.name

    @property
    def kind(self) -> str:
        return str(self.object["kind"])

    @property
    def version(self) -> str:
        return str(self.object["apiVersion"]).partition("/")[2]

    def changed(self, *path: str | int, to: Any) -> dict[str, Any]:
        """A copy of the object with another value at the path."""
        document = copy.deepcopy(self.object)
        node: Any = document
        for step in path[:-1]:
            node = node.setdefault(step, {}) if isinstance(node, dict) else node[step]
        node[path[-1]] = to
        return document


def _load(path: Path) -> Example:
    text = path.read_text(encoding="utf-8")
    document, expected = yaml.safe_load_all(text)
    return Example(f"{path.parent.name}/{path.stem}", document, expected, text[: text.index("\napiVersion:")])


EXAMPLES = tuple(_load(path) for kind in sorted(BY_NAME) for path in sorted((DIRECTORY / kind).glob("*.yaml")))
EXAMPLE = {example.name: example for example in EXAMPLES}
"""By kind and case: "Kustomization/well"."""


def render(
    document: dict[str, Any] | bytes,
    kind: str,
    version: str = "v1",
    profile: Profile = Profile.FULL,
    owner_labels: Sequence[OwnerLabel] = (),
) -> tuple[str, tuple[Defect, ...]]:
    """What a scrape shows, without HELP and TYPE, of a cluster in which all kinds are followed and this is the only
    object; and what was unreadable in it."""
    store = Store(select(profile))
    causes = Relations(store)
    for row in KINDS:
        causes.mark_listed(row.name, None)
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    collector = Collector(BY_NAME[kind], None, store, causes, owner_labels=owner_labels)
    listing = collector.begin_replacement(version)
    defects = listing.add("namespace/name", "uid", "1", raw, Seen(NOW))
    listing.commit()
    return text_of(store), tuple(defects)


def json_bytes(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def text_of(store: Store) -> str:
    """What the store serves, without HELP and TYPE."""
    page = b"".join(store.snapshot().chunks(Format.TEXT)).decode()
    return "".join(line for line in lines_of(page) if not line.startswith("#"))


def lines_of(text: str) -> list[str]:
    """With their ends. splitlines() would also split where Python alone sees the end of a line, as in some labels."""
    return [f"{line}\n" for line in text.split("\n")[:-1]]


def sorted_lines(text: str) -> list[str]:
    """What a page says, whatever the order in which it says it: the graph keeps none."""
    return sorted(lines_of(text))


def by_family(text: str) -> dict[str, str]:
    """The lines of each family."""
    families: dict[str, str] = {}
    for line in lines_of(text):
        name = line.partition("{")[0]
        families[name] = families.get(name, "") + line
    return families

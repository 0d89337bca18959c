"""One realistic object per kind and shape, with the text that it becomes; and the way from the one to the other.

A file in tests/data/kinds holds two YAML documents: the object, and its lines in the profile full.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gotk_exporter.flux.collector import Collector
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.objects import Defect
from gotk_exporter.metrics.exposition import Format
from gotk_exporter.metrics.families import Profile, select
from gotk_exporter.metrics.store import Store

DIRECTORY = Path(__file__).parents[1] / "data" / "kinds"


@dataclass(frozen=True)
class Example:
    name: str
    object: dict[str, Any]
    expected: str

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
    document, expected = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return Example(path.stem, document, expected)


EXAMPLES = tuple(_load(path) for path in sorted(DIRECTORY.glob("*.yaml")))
BY_STEM = {example.name: example for example in EXAMPLES}


def render(document: dict[str, Any] | bytes, kind: str, version: str = "v1") -> tuple[str, tuple[Defect, ...]]:
    """The object's lines in the profile full, without HELP and TYPE, as a scrape sees them; and what was unreadable."""
    store = Store(select(Profile.FULL))
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    listing = Collector(BY_NAME[kind], "scope", store).begin_replacement(version)
    defects = listing.add("namespace/name", "uid", "1", raw, 0.0)
    listing.commit()
    return text_of(store), tuple(defects)


def text_of(store: Store) -> str:
    """What the store serves, without HELP and TYPE."""
    page = b"".join(store.snapshot().chunks(Format.TEXT)).decode()
    return "".join(line for line in lines_of(page) if not line.startswith("#"))


def lines_of(text: str) -> list[str]:
    """With their ends. splitlines() would also split where Python alone sees the end of a line, as in some labels."""
    return [f"{line}\n" for line in text.split("\n")[:-1]]


def by_family(text: str) -> dict[str, str]:
    """The lines of each family."""
    families: dict[str, str] = {}
    for line in lines_of(text):
        name = line.partition("{")[0]
        families[name] = families.get(name, "") + line
    return families

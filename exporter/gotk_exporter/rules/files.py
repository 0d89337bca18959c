"""Rule files as anybody writes them, native or as PrometheusRule objects: their groups and rules, with lines.

Judges no rule: promtool does. What it is to read of an object is the object's groups on the lines where they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from gotk_exporter.rules.nodes import (
    Entry,
    Reading,
    Unreadable,
    documents,
    first_line,
    is_null,
    last_line,
    read_text,
)

MAX_RULES = 20_000
"""In one file, rules and groups together: aliases can make millions of a few lines."""
SUFFIXES = (".yaml", ".yml")
_GROUP = "monitoring.coreos.com/"
_THANOS_ONLY = "partial_response_strategy"
"""The operator takes it out for Prometheus, and promtool knows no such field."""

Kind = Literal["alert", "record", ""]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where. Line 0: with the file as a whole; empty names: with no one group or rule."""

    file: Path
    line: int
    problem: str
    group: str = ""
    kind: Kind = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    kind: Kind
    name: str
    line: int
    last_line: int
    entries: Mapping[str, Entry]

    def text(self, key: str) -> str:
        entry = self.entries.get(key)
        return str(entry[1].value) if entry and isinstance(entry[1], yaml.ScalarNode) else ""


@dataclass(frozen=True, slots=True)
class Group:
    name: str
    line: int
    last_line: int
    entries: Mapping[str, Entry]
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """The groups of a native file, or of one object."""

    groups: tuple[Group, ...]
    text: str
    """A native rule file with the same groups: what promtool reads."""
    exact: bool = True
    """Whether they stand in ``text`` on the same lines as in the file."""


@dataclass(frozen=True, slots=True)
class RuleFile:
    path: Path
    documents: tuple[Document, ...] = ()
    problems: tuple[Problem, ...] = ()
    """Of the file itself; those of its rules are for promtool to find."""
    foreign: bool = False
    """It holds something else than rules."""

    @property
    def groups(self) -> tuple[Group, ...]:
        return tuple(group for document in self.documents for group in document.groups)

    @property
    def rules(self) -> int:
        return sum(len(group.rules) for group in self.groups)


def read(path: Path) -> RuleFile:
    """Whatever ``path`` is: what is wrong with it is in the answer."""
    reading = Reading()
    try:
        text = read_text(path)
        nodes = documents(text)
        objects = [found for node in nodes for found in _rule_objects(reading, node)]
        if objects:
            return RuleFile(path, tuple(_unwrapped(reading, text, spec) for spec in objects))
        if not nodes or any(_is_object(reading, node) for node in nodes):
            problem = "holds no rules: neither a list of groups nor a PrometheusRule object"
            return RuleFile(path, problems=(Problem(path, 0, problem),), foreign=True)
        groups = tuple(_groups(reading, reading.items(nodes[0], "groups")))
    except Unreadable as error:
        return RuleFile(path, problems=(Problem(path, error.line, error.problem),))
    problems = [
        Problem(path, first_line(node), "Prometheus reads the first document of a file only; move this to another file")
        for node in nodes[1:]
    ]
    foreign = "groups" not in reading.entries(nodes[0])
    return RuleFile(path, (Document(groups, text),), tuple(problems), foreign)


def below(folder: Path) -> list[Path]:
    """Every YAML file in a folder and its folders, hidden ones aside, in order."""
    found = (path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


# Objects


def _is_object(reading: Reading, node: yaml.Node) -> bool:
    return {"apiVersion", "kind"} <= reading.entries(node).keys()


def _rule_objects(reading: Reading, node: yaml.Node) -> Iterator[yaml.Node]:
    """The PrometheusRule objects in a document, which may be a list of them as kubectl prints it."""
    if not _is_object(reading, node):
        return
    kind = reading.text(node, "kind")
    if kind == "PrometheusRule" and reading.text(node, "apiVersion").startswith(_GROUP):
        yield node
    elif kind.endswith("List"):
        # A list in a list is none of kubectl's, and could hold itself.
        yield from (
            item
            for item in reading.items(node, "items")
            if reading.text(item, "kind") == "PrometheusRule" and reading.text(item, "apiVersion").startswith(_GROUP)
        )


def _unwrapped(reading: Reading, text: str, node: yaml.Node) -> Document:
    """Only ``groups`` of the object is left, in its place; where that does not work, it is written anew."""
    spec = reading.value(node, "spec")
    entry = reading.entries(spec).get("groups")
    if entry is None or is_null(entry[1]):
        return Document((), "groups: []\n")
    key, value = entry
    groups = tuple(_groups(reading, reading.items(spec, "groups")))
    thanos = [group.entries[_THANOS_ONLY] for group in groups if _THANOS_ONLY in group.entries]
    flow = isinstance(spec, yaml.CollectionNode) and bool(spec.flow_style)
    plain = _cut_out(text, (key, value), flow, thanos)
    try:
        again = documents(plain)
        same = len(again) == 1 and _names(Reading(), again[0]) == [group.name for group in groups]
    except Unreadable:
        same = False
    if same:
        return Document(groups, plain)
    for item in reading.items(spec, "groups"):
        if isinstance(item, yaml.MappingNode):
            item.value = [pair for pair in item.value if pair[0].value != _THANOS_ONLY]
    whole = yaml.MappingNode("tag:yaml.org,2002:map", [(key, value)])
    return Document(groups, str(yaml.serialize(whole, Dumper=yaml.SafeDumper, allow_unicode=True)), exact=False)


def _cut_out(text: str, entry: Entry, flow: bool, blanks: list[Entry]) -> str:
    """``text`` with nothing but the entry, on its lines, and with blanks in place of some entries inside."""
    begin, end = entry[0].start_mark, entry[1].end_mark
    kept = list(text[begin.index : end.index])
    for key, value in blanks:
        here, there = key.start_mark.index - begin.index, value.end_mark.index - begin.index
        if 0 <= here <= there <= len(kept):
            kept[here:there] = re.sub(r"[^\r\n]", " ", "".join(kept[here:there]))
    body = "".join(kept)
    lead = "\n" * begin.line
    if flow:
        return lead + " " * (begin.column - 1) + "{" + body + "}\n"
    return lead + " " * begin.column + body + "\n"


def _names(reading: Reading, node: yaml.Node) -> list[str]:
    return [reading.text(item, "name") for item in reading.items(node, "groups")]


# Groups


def _groups(reading: Reading, items: list[yaml.Node]) -> Iterator[Group]:
    """Those that are mappings; of others promtool has something to say."""
    left = MAX_RULES
    for item in items:
        rules = reading.items(item, "rules")
        left -= 1 + len(rules)
        if left < 0:
            raise Unreadable(f"has more than {MAX_RULES} rules; split it", first_line(item))
        yield Group(
            reading.text(item, "name"),
            first_line(item),
            last_line(item),
            reading.entries(item),
            tuple(_rule(reading, rule) for rule in rules),
        )


def _rule(reading: Reading, node: yaml.Node) -> Rule:
    alert, record = reading.text(node, "alert"), reading.text(node, "record")
    kind: Kind = "alert" if alert else "record" if record else ""
    return Rule(kind, alert or record, first_line(node), last_line(node), reading.entries(node))

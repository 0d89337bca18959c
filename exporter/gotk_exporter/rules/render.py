"""Rules as PrometheusRule objects for the operator, or as one native file.

Comments are lost; expressions are not touched.

Every value is written so that YAML 1.1 and 1.2 and Go's parsers between them read the same string: 1e3 and 0o17 are
numbers for some of them.
Reference: PrometheusRule, monitoring.coreos.com/v1; Kubernetes, "Object Names and IDs", "Labels and Selectors".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from gotk_exporter.rules.files import Group, Rule, RuleFile
from gotk_exporter.rules.nodes import is_null

GROUP_FIELDS = ("name", "interval", "query_offset", "limit", "labels", "partial_response_strategy")
RULE_FIELDS = ("record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations")
_MAPS = ("labels", "annotations")
MAX_NAME = 253
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class CannotRender(Exception):
    """What there is to render makes no valid object; with its place."""


@dataclass(frozen=True, slots=True)
class Metadata:
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""
    name_prefix: str = ""


def prometheus_rules(files: Sequence[tuple[str, RuleFile]], metadata: Metadata) -> str:
    """One object for each file, with its name. Raises CannotRender."""
    _refuse_repeated(files)
    names: dict[str, RuleFile] = {}
    objects = []
    for stem, file in files:
        name = object_name(metadata.name_prefix + stem)
        if not valid_name(name):
            raise CannotRender(f'{file.path}: "{name}" can name no object; rename the file, or see --name-prefix')
        if name in names:
            raise CannotRender(f"{file.path}: would be named {name}, as {names[name].path}; rename one of them")
        names[name] = file
        described: dict[str, Any] = {"name": name}
        if metadata.namespace:
            described["namespace"] = metadata.namespace
        for key, values in (("labels", metadata.labels), ("annotations", metadata.annotations)):
            if values:
                described[key] = dict(values)
        objects.append(
            {
                "apiVersion": "monitoring.coreos.com/v1",
                "kind": "PrometheusRule",
                "metadata": described,
                "spec": {"groups": [_group(file, group) for group in file.groups]},
            }
        )
    return "---\n".join(map(_yaml, objects))


def plain(files: Sequence[tuple[str, RuleFile]]) -> str:
    """One native rule file with all groups. Raises CannotRender."""
    _refuse_repeated(files)
    groups = [_group(file, group) for _, file in files for group in file.groups]
    for group in groups:
        # Prometheus knows no such field; Thanos reads it.
        group.pop("partial_response_strategy", None)
    return _yaml({"groups": groups})


def object_name(text: str) -> str:
    """The nearest name that Kubernetes takes."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")


def valid_name(name: str) -> bool:
    return len(name) <= MAX_NAME and _NAME.fullmatch(name) is not None


# Groups


def _refuse_repeated(files: Sequence[tuple[str, RuleFile]]) -> None:
    """Prometheus takes two groups of one name from two files; in one object or file they are an error."""
    places: dict[str, str] = {}
    for _, file in files:
        if not file.groups:
            raise CannotRender(f"{file.path}: holds no rule groups")
        for group in file.groups:
            place = f"{file.path}:{group.line}"
            if group.name in places:
                raise CannotRender(f'{place}: the group "{group.name}" is also at {places[group.name]}; rename one')
            places[group.name] = place


def _group(file: RuleFile, group: Group) -> dict[str, Any]:
    place = f"{file.path}:{group.line}: group"
    if not group.name:
        raise CannotRender(f"{place} has no name")
    written = _fields(place, group, GROUP_FIELDS, ("rules",))
    limit = written.get("limit")
    if limit is not None:
        if not re.fullmatch(r"[0-9]{1,9}", limit):
            raise CannotRender(f"{place}: limit {limit} is no whole number")
        written["limit"] = int(limit)
    # A copy for each, since YAML would write what is shared as an anchor.
    return {**written, "rules": [_rule(file, rule) for rule in group.rules]}


def _rule(file: RuleFile, rule: Rule) -> dict[str, Any]:
    place = f"{file.path}:{rule.line}: rule"
    written = _fields(place, rule, RULE_FIELDS)
    if ("alert" in written) == ("record" in written) or "expr" not in written:
        raise CannotRender(f"{place} has no expr, or not exactly one of alert and record; see rules check")
    return written


def _fields(place: str, owner: Group | Rule, known: Sequence[str], elsewhere: Sequence[str] = ()) -> dict[str, Any]:
    """In the order of ``known``, without what is empty."""
    strange = owner.entries.keys() - {*known, *elsewhere}
    if strange:
        raise CannotRender(f"{place} has a field that Prometheus does not know: {min(strange)}; see rules check")
    return {key: value for key in known if (value := _value(place, owner, key)) not in (None, {})}


def _value(place: str, owner: Group | Rule, key: str) -> str | dict[str, str] | None:
    entry = owner.entries.get(key)
    if entry is None or is_null(entry[1]):
        return None
    if key not in _MAPS:
        return _text(place, key, entry[1])
    if not isinstance(entry[1], yaml.MappingNode):
        raise CannotRender(f"{place}: {key} are no mapping; see rules check")
    return dict(_pairs(place, key, entry[1]))


def _pairs(place: str, key: str, node: yaml.MappingNode) -> Iterator[tuple[str, str]]:
    for name, value in node.value:
        if not is_null(value):
            yield _text(place, key, name), _text(place, key, value)


def _text(place: str, key: str, node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise CannotRender(f"{place}: {key} is no text; see rules check")
    return str(node.value)


# YAML


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        # Sequences indented below their key, as people write them.
        super().increase_indent(flow, False)


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style: str | None
    if not text.replace("\n", "").isprintable():
        # Line ends of Unicode among them, which would become a blank.
        style = '"'
    elif "\n" in text:
        style = "|"
    else:
        # What begins with a letter is safe, or PyYAML knows that it is not: true, no, null. So are durations.
        style = None if re.match(r"[A-Za-z_].|[0-9]+[smhdw]$", text) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent)


def _yaml(document: dict[str, Any]) -> str:
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**31))

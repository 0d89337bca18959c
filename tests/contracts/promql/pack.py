"""The rules pack as its tests read it: rules in their order, trees of their expressions, and which metrics there are.

Owns no judgement. What is asked of the rules stands in test_rule_quality and test_rule_annotations.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml

from gotk_exporter.metrics.families import OBJECT_FAMILIES, Family
from gotk_exporter.metrics.own_families import EXPORTER_FAMILIES

ROOT = Path(__file__).parents[3]
RULES = ROOT / "rules"
FAMILIES: Mapping[str, Family] = {family.name: family for family in (*OBJECT_FAMILIES, *EXPORTER_FAMILIES)}
ALERTS = "ALERTS"


@dataclass(frozen=True)
class Foreign:
    """A metric that the pack reads and we do not serve."""

    reason: str
    type: str
    labels: frozenset[str]


FOREIGN: Mapping[str, Foreign] = {
    ALERTS: Foreign(
        "Prometheus writes it; the labels of the alerts that a selector admits come with these",
        "gauge",
        frozenset({"alertname", "alertstate"}),
    ),
    "gotk_reconcile_duration_seconds_count": Foreign(
        "Flux's controllers count their runs; nobody else knows when a run ended of a kind whose objects do not say it",
        "counter",
        frozenset({"kind", "name", "namespace"}),
    ),
}


@dataclass(frozen=True)
class PackRule:
    file: str
    group: str
    place: int
    """In its group, where rules are evaluated one after the other."""
    definition: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.definition.get("alert") or self.definition["record"])

    @property
    def is_alert(self) -> bool:
        return "alert" in self.definition

    @functools.cached_property
    def expression(self) -> promql.Expr:
        return parsed(self.definition["expr"])

    @property
    def annotations(self) -> Mapping[str, str]:
        return dict(self.definition.get("annotations", {}))

    @property
    def labels(self) -> Mapping[str, str]:
        return dict(self.definition.get("labels", {}))


def rules_of(file: str, text: str) -> list[PackRule]:
    return [
        PackRule(file, group["name"], place, rule)
        for group in yaml.safe_load(text)["groups"]
        for place, rule in enumerate(group["rules"])
    ]


def shipped_rules() -> list[PackRule]:
    paths = sorted(path for folder in ("alerts", "recording") for path in (RULES / folder).glob("*.yaml"))
    return [rule for path in paths for rule in rules_of(path.name, path.read_text(encoding="utf-8"))]


# Trees


def parsed(text: str) -> promql.Expr:
    expression: promql.Expr = promql.parse(text)
    return expression


def nodes(expression: promql.Expr) -> list[promql.Expr]:
    """The expression and all in it, from the outside to the inside."""
    found: list[promql.Expr] = []
    # Its answer must be None: False would end the walk.
    promql.walk(expression, found.append)
    return found


def bare(expression: promql.Expr) -> promql.Expr:
    """Without the brackets around it."""
    while isinstance(expression, promql.ParenExpr):
        expression = expression.expr
    return expression


def selectors(expression: promql.Expr) -> list[promql.VectorSelector]:
    return [node for node in nodes(expression) if isinstance(node, promql.VectorSelector)]


def selectors_of_now(expression: promql.Expr) -> list[promql.VectorSelector]:
    """Those that ask for neither a range nor a moment in the past."""
    everywhere = nodes(expression)
    ranges = [isinstance(node, promql.MatrixSelector) for node in everywhere]
    # The selector of a range comes right after it.
    return [
        node
        for node, in_range in zip(everywhere, [False, *ranges], strict=False)
        if isinstance(node, promql.VectorSelector) and node.offset is None and not in_range
    ]


def short(expression: promql.Expr) -> str:
    """On one line, for a message."""
    return " ".join(str(expression).split())


def admits(matcher: promql.Matcher, value: str) -> bool:
    if matcher.op in (promql.MatchOp.Equal, promql.MatchOp.NotEqual):
        return (matcher.value == value) is (matcher.op == promql.MatchOp.Equal)
    return (re.fullmatch(matcher.value, value) is not None) is (matcher.op == promql.MatchOp.Re)


# Names of metrics


def names_asked(selector: promql.VectorSelector, there: Sequence[str]) -> list[str]:
    """The metrics that it reads: each that it writes out, or those of ``there`` that its expressions admit."""
    if selector.name is not None:
        return [selector.name]
    of_name = [matcher for matcher in selector.matchers.matchers if matcher.name == "__name__"]
    for matcher in of_name:
        if matcher.op in (promql.MatchOp.Equal, promql.MatchOp.Re) and (written := words(matcher.value)) is not None:
            return [name for name in written if all(admits(other, name) for other in of_name)]
    return [name for name in there if of_name and all(admits(matcher, name) for matcher in of_name)]


def words(pattern: str) -> list[str] | None:
    """Every word of a regular expression that is made of words, brackets and bars alone; of another one None."""
    tokens = re.findall(r"[\w:]+|[()|]", pattern)
    if "".join(tokens) != pattern:
        return None
    left = iter([*tokens, ")"])
    found = list(_alternatives(left))
    # Of an unbalanced one something is left over, or missing.
    return found if next(left, None) is None and pattern.count("(") == pattern.count(")") else None


def _alternatives(tokens: Iterator[str]) -> Iterator[str]:
    sequence: list[list[str]] = []
    for token in tokens:
        if token == "(":
            sequence.append(list(_alternatives(tokens)))
        elif token in "|)":
            yield from map("".join, itertools.product(*sequence))
            if token == ")":
                return
            sequence = []
        else:
            sequence.append([token])

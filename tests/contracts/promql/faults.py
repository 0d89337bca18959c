"""What is wrong with an expression of a rule: one function for each property, each fault with its remedy.

Owns the judgements. Which rules they are asked of, and which are excused, is test_rule_quality's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import promql_parser as promql
import yaml

from tests.contracts.promql.labels import Shapes, World, may_match, possible_in, shapes_of, shapes_of_metrics
from tests.contracts.promql.pack import (
    FAMILIES,
    FOREIGN,
    PackRule,
    bare,
    names_asked,
    nodes,
    parsed,
    selectors,
    selectors_of_now,
    short,
)
from tests.contracts.promql.templates import read
from tests.contracts.promql.values import COMPARISONS, Recorded, always, bounds_of, never

COUNTERS_ONLY = frozenset({"rate", "irate", "increase", "resets"})
GAUGES_ONLY = frozenset({"deriv", "delta", "idelta", "predict_linear"})
OBJECT_KEYS = (frozenset({"kind", "name", "namespace"}), frozenset({"by_kind", "by_name", "by_namespace"}))
OTHER_KEYS = frozenset({"controller", "customresource_kind"})
"""With these, name and namespace name something else, or only together with them."""
OF_KINDS = ("flux_kind:", "flux_exporter:")
"""Levels of recordings that have a kind and no object."""
NAME_FORM = re.compile(r"[a-z]+(_[a-z]+)*(:[a-z0-9]+(_[a-z0-9]+)*){2}")
"""level:metric:operations"""


def known_names(pack: Iterable[PackRule]) -> frozenset[str]:
    return frozenset({*FAMILIES, *FOREIGN, *(rule.name for rule in pack if not rule.is_alert)})


def unknown_metrics(expression: promql.Expr, known: frozenset[str]) -> list[str]:
    found = []
    for selector in selectors(expression):
        names = names_asked(selector, sorted(known))
        found += [f"nobody serves or records {name}: correct its name" for name in names if name not in known]
        if not names:
            found.append(f"{selector} admits no metric: correct its __name__")
    return found


def read_too_early(rule: PackRule, pack: Sequence[PackRule]) -> list[str]:
    """Of its own group, a rule sees in this evaluation only what stands above it; of itself it means the last one."""
    later = {r.name for r in pack if not r.is_alert and (r.file, r.group) == (rule.file, rule.group)}
    later -= {r.name for r in pack if (r.file, r.group) == (rule.file, rule.group) and r.place < rule.place}
    names = {name for s in selectors_of_now(rule.expression) for name in names_asked(s, sorted(later))}
    return [f"{name} is recorded below it: move that rule up" for name in sorted((names & later) - {rule.name})]


def unknown_labels(expression: promql.Expr, world: World) -> list[str]:
    """Where nothing is known of the series, nothing is found: unknown_metrics says so."""
    asked: list[tuple[Iterable[str], Shapes, object]] = []
    """Labels, the series that should have them, and the place to correct."""
    for node in nodes(expression):
        match node:
            case promql.VectorSelector():
                names = {matcher.name for matcher in node.matchers.matchers} - {"__name__"}
                asked.append((names, shapes_of_metrics(node, world), node))
            case promql.AggregateExpr(modifier=promql.AggModifier() as kept):
                asked.append((kept.labels, shapes_of(node.expr, world), kept))
            case promql.BinaryExpr(modifier=promql.BinModifier() as modifier) if modifier.matching is not None:
                sides = [shapes_of(side, world) for side in (node.lhs, node.rhs)]
                one = sides[0] if modifier.card == promql.VectorMatchCardinality.OneToMany else sides[1]
                asked.append((modifier.group_labels or (), one, modifier))
                asked += [(modifier.matching.labels, side, modifier) for side in sides]
            case promql.Call() if node.func.name == "label_replace":
                source = node.args[3].val
                asked.append(({source} - {""}, shapes_of(node.args[0], world), f'the source "{source}"'))
    return [
        f"no series there has {label}: correct {place}"
        for labels, shapes, place in asked
        if shapes
        for label in sorted({*labels} - possible_in(shapes))
    ]


def lost_clusters(expression: promql.Expr, on_nothing: str = "") -> list[str]:
    """``on_nothing``: the operator that may match with on ()."""
    found = []
    for node in nodes(expression):
        match node:
            case promql.AggregateExpr(modifier=None):
                found.append(f"{node.op} without by () mixes clusters: write {node.op} by (cluster)")
            case promql.AggregateExpr(modifier=promql.AggModifier() as modifier):
                if (modifier.type == promql.AggModifierType.By) is ("cluster" not in modifier.labels):
                    found.append(f"{node.op} {modifier} mixes clusters: keep cluster")
            case promql.BinaryExpr(modifier=promql.BinModifier(matching=promql.LabelModifier() as matching)):
                is_on = matching.type == promql.LabelModifierType.Include
                excused = str(node.op) == on_nothing and is_on and not matching.labels
                if is_on is ("cluster" not in matching.labels) and not excused:
                    found.append(f"{node.op} {node.modifier} matches across clusters: compare cluster too")
    return found


def halved_objects(expression: promql.Expr) -> list[str]:
    """Objects of one name in two namespaces, or of two kinds, would be one.

    What is recorded of a kind, and not of its objects, is compared with all of them.
    """
    asked: list[tuple[set[str], object]] = []
    for node in nodes(expression):
        match node:
            case promql.AggregateExpr(modifier=promql.AggModifier() as kept):
                asked.append(({*kept.labels} if kept.type == promql.AggModifierType.By else set(), kept))
            case promql.BinaryExpr(rhs=promql.Expr() as right) if _is_of_kinds(right):
                continue
            case promql.BinaryExpr(modifier=promql.BinModifier(matching=promql.LabelModifier() as compared)):
                asked.append(
                    ({*compared.labels} if compared.type == promql.LabelModifierType.Include else set(), compared)
                )
    return [
        f"{place} has only a part of what names an object: add {', '.join(sorted(key - labels))}"
        for labels, place in asked
        for key in OBJECT_KEYS
        if labels & key and not key <= labels and not labels & OTHER_KEYS
    ]


def _is_of_kinds(expression: promql.Expr) -> bool:
    return all((selector.name or "").startswith(OF_KINDS) for selector in selectors(expression))


def misused_functions(expression: promql.Expr) -> list[str]:
    found = []
    for node in nodes(expression):
        if not isinstance(node, promql.Call) or node.func.name not in COUNTERS_ONLY | GAUGES_ONLY:
            continue
        wanted = "counter" if node.func.name in COUNTERS_ONLY else "gauge"
        over = node.args[0]
        inner = over.vector_selector if isinstance(over, promql.MatrixSelector) else bare(over.expr)
        if not isinstance(inner, promql.VectorSelector):
            # What is calculated goes up and down.
            if wanted == "counter":
                found.append(f"{node.func.name}() of what is calculated: take it of the counter itself")
            continue
        for name in names_asked(inner, sorted({*FAMILIES, *FOREIGN})):
            actual = type_of(name)
            if actual != wanted:
                found.append(f"{node.func.name}() of {name}, a {actual}: it is for {wanted}s")
    return found


def type_of(name: str) -> str:
    """Whatever is recorded here is a gauge."""
    known = FAMILIES.get(name) or FOREIGN.get(name)
    return known.type if known is not None else "gauge"


def decided_comparisons(expression: promql.Expr, recorded: Recorded) -> list[str]:
    everywhere = nodes(expression)
    # timestamp() of a comparison is the time of the evaluation, and not the sample's: there it may always hold.
    timed = {str(bare(n.args[0])) for n in everywhere if isinstance(n, promql.Call) and n.func.name == "timestamp"}
    found = []
    for node in everywhere:
        if not isinstance(node, promql.BinaryExpr) or str(node.op) not in COMPARISONS:
            continue
        left, right = bounds_of(node.lhs, recorded), bounds_of(node.rhs, recorded)
        if left is None or right is None:
            continue
        if never(left, str(node.op), right):
            found.append(f"never true: {short(node)}; correct the threshold")
        elif always(left, str(node.op), right) and str(node) not in timed:
            found.append(f"always true: {short(node)}; leave the comparison out")
    return found


def joins_without_partner(expression: promql.Expr, world: World) -> list[str]:
    """Also of unless, which then leaves nothing out."""
    return [
        f"the two sides of {node.op} have different labels, and never match: {short(node)}; compare what both have"
        for node in nodes(expression)
        if isinstance(node, promql.BinaryExpr) and str(node.op) != "or"
        if all(shapes_of(side, world) for side in (node.lhs, node.rhs)) and not may_match(node, world)
    ]


def dead_recordings(pack: Sequence[PackRule]) -> list[str]:
    names = sorted(rule.name for rule in pack if not rule.is_alert)
    used = {
        name
        for rule in pack
        for expression in (rule.expression, *_queries(rule))
        for selector in selectors(expression)
        for name in names_asked(selector, names)
        if name != rule.name
    }
    return sorted(set(names) - used)


def _queries(rule: PackRule) -> list[promql.Expr]:
    return [parsed(query.text) for text in rule.annotations.values() for query in read(text).queries]


def group_surprises(text: str) -> list[str]:
    groups: list[dict[str, Any]] = yaml.safe_load(text)["groups"]
    surprises = [(group["name"], key) for group in groups for key in sorted({*group} - {"name", "rules"})]
    return [f"{name} has {key}: take it out" for name, key in surprises]

"""Which labels the series of an expression have: inferred from its tree, the catalogue and the pack's other rules.

A shape is what is known of some of the series of a result. ``or`` keeps the shapes of both sides apart, and two sides
match only where their shapes allow it: no shape at all means that there can be no series.
Reference: prometheus.io, "Vector matching"; resultMetric() in Prometheus' promql/engine.go.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import promql_parser as promql

from gotk_exporter.metrics.families import OWNER_INFO, RESOURCE_INFO
from gotk_exporter.rules.known_metrics import METRICS
from tests.contracts.promql.pack import ALERTS, FAMILIES, FOREIGN, PackRule, admits, names_asked

SCRAPED = frozenset({"job", "instance", "namespace", "exported_namespace", "pod", "cluster"})
"""What a scrape adds, or a Prometheus of several clusters; namespace moves ours to exported_namespace."""
SCRAPED_ALWAYS = frozenset({"job", "instance"})
MAY_BE_EMPTY = frozenset(
    # What one label more could tell is not always known; an empty label is none.
    {"upstream_host", "shared_cause", "watched_namespace", "child_namespace", "by_namespace", "reason"}
)
OWNER_LABELS = frozenset({"team"})
"""Labels that the setting metrics.ownerLabels gives gotk_resource_owner_info; the pack is written for these."""
ROUNDS = 50


@dataclass(frozen=True, slots=True)
class Shape:
    certain: frozenset[str]
    possible: frozenset[str]
    """The certain ones too."""

    def only(self, labels: Iterable[str]) -> Shape:
        return Shape(self.certain & set(labels), self.possible & set(labels))

    def without(self, labels: Iterable[str]) -> Shape:
        return Shape(self.certain - set(labels), self.possible - set(labels))

    def with_certain(self, labels: Iterable[str]) -> Shape:
        return Shape(self.certain | set(labels), self.possible | set(labels))


Shapes = frozenset[Shape]
NO_LABELS: Shapes = frozenset({Shape(frozenset(), frozenset())})
NO_SERIES: Shapes = frozenset()


@dataclass(frozen=True, slots=True)
class World:
    """What is known of the results of rules."""

    recorded: Mapping[str, Shapes] = field(default_factory=dict)
    alerts: Mapping[str, Shapes] = field(default_factory=dict)


def possible_in(shapes: Shapes) -> frozenset[str]:
    return frozenset().union(*(shape.possible for shape in shapes))


def world_of(rules: Iterable[PackRule]) -> World:
    """Rules read each other, some read themselves: what is known grows until it stays as it is."""
    rules, world = list(rules), World()
    for _ in range(ROUNDS):
        recorded: dict[str, Shapes] = {}
        alerts: dict[str, Shapes] = {}
        for rule in rules:
            found = frozenset(shape.with_certain(rule.labels) for shape in shapes_of(rule.expression, world))
            known = alerts if rule.is_alert else recorded
            known[rule.name] = known.get(rule.name, NO_SERIES) | found
        if (before := world) == (world := World(recorded, alerts)):
            return before
    raise AssertionError("the labels of the rules' results do not settle")


@functools.singledispatch
def shapes_of(expression: object, world: World) -> Shapes:
    """Of a number or a string it is that of a series without labels."""
    raise NotImplementedError(f"labels of {type(expression).__name__}")


@shapes_of.register(promql.NumberLiteral)
@shapes_of.register(promql.StringLiteral)
def _(expression: promql.Expr, world: World) -> Shapes:
    return NO_LABELS


@shapes_of.register(promql.ParenExpr)
@shapes_of.register(promql.UnaryExpr)
@shapes_of.register(promql.SubqueryExpr)
def _(expression: promql.ParenExpr, world: World) -> Shapes:
    return shapes_of(expression.expr, world)


@shapes_of.register
def _(expression: promql.MatrixSelector, world: World) -> Shapes:
    return shapes_of(expression.vector_selector, world)


# Selectors


@shapes_of.register
def _(expression: promql.VectorSelector, world: World) -> Shapes:
    found = shapes_of_metrics(expression, world)
    for matcher in expression.matchers.matchers:
        if matcher.name != "__name__":
            found = frozenset(_chosen(found, matcher))
    return found


def _chosen(shapes: Shapes, matcher: promql.Matcher) -> Iterable[Shape]:
    takes_empty = admits(matcher, "")
    takes_only_empty = matcher.op == promql.MatchOp.Equal and matcher.value == ""
    for shape in shapes:
        if takes_only_empty and matcher.name not in shape.certain:
            yield shape.without({matcher.name})
        elif takes_empty and not takes_only_empty:
            yield shape
        elif not takes_empty and matcher.name in shape.possible:
            yield shape.with_certain({matcher.name})


def shapes_of_metrics(selector: promql.VectorSelector, world: World) -> Shapes:
    """Before its matchers. Of a metric that nobody knows it says that there is no series."""
    names = names_asked(selector, [*FAMILIES, *world.recorded, *FOREIGN])
    return frozenset().union(*(_shapes_of_metric(name, selector, world) for name in names))


def _shapes_of_metric(name: str, selector: promql.VectorSelector, world: World) -> Shapes:
    foreign = FOREIGN[name].labels if name in FOREIGN else frozenset()
    if name == ALERTS:
        of_name = [matcher for matcher in selector.matchers.matchers if matcher.name == "alertname"]
        return frozenset(
            shape.with_certain(foreign)
            for alert, shapes in world.alerts.items()
            if all(admits(matcher, alert) for matcher in of_name)
            for shape in shapes
        )
    if foreign:
        return frozenset({Shape(foreign | SCRAPED_ALWAYS, foreign | SCRAPED)})
    if name in FAMILIES:
        ours = frozenset(FAMILIES[name].labels)
        sometimes = METRICS[name].labels | (OWNER_LABELS if name == OWNER_INFO.name else frozenset())
        certain = (ours - MAY_BE_EMPTY) | SCRAPED_ALWAYS
        if name == RESOURCE_INFO.name:
            # Left out for kinds that cannot have it.
            certain -= {"ready", "suspended"}
        return frozenset({Shape(certain, ours | sometimes | SCRAPED)})
    return world.recorded.get(name, NO_SERIES)


# Aggregations and functions


@shapes_of.register
def _(expression: promql.AggregateExpr, world: World) -> Shapes:
    found, operator, modifier = shapes_of(expression.expr, world), str(expression.op), expression.modifier
    if operator in ("topk", "bottomk", "limitk", "limit_ratio"):
        return found
    if modifier is None:
        kept = NO_LABELS if found else NO_SERIES
    elif modifier.type == promql.AggModifierType.By:
        kept = frozenset(shape.only(modifier.labels) for shape in found)
    else:
        kept = frozenset(shape.without(modifier.labels) for shape in found)
    if operator == "count_values" and expression.param is not None:
        return frozenset(shape.with_certain({expression.param.val}) for shape in kept)
    return kept


@shapes_of.register
def _(expression: promql.Call, world: World) -> Shapes:
    name, arguments = expression.func.name, expression.args
    match name:
        case "label_replace":
            return _replaced(shapes_of(arguments[0], world), *(argument.val for argument in arguments[1:]))
        case "label_join":
            target, _, *sources = (argument.val for argument in arguments[1:])
            found = shapes_of(arguments[0], world)
            return frozenset(
                shape.with_certain({target}) if shape.certain & set(sources) else _maybe(shape, target)
                for shape in found
            )
        case "absent" | "absent_over_time":
            return frozenset({Shape(*[_equalities(arguments[0])] * 2)})
        case "vector" | "scalar" | "time" | "pi":
            return NO_LABELS
        case "info":
            raise NotImplementedError("labels that info() adds")
    vectors = [a for a in arguments if not isinstance(a, promql.NumberLiteral | promql.StringLiteral)]
    found = shapes_of(vectors[0], world) if vectors else NO_LABELS
    # Of quantile_over_time and histogram_quantile a number comes first.
    return frozenset(shape.without({"le"}) for shape in found) if name == "histogram_quantile" else found


def _maybe(shape: Shape, label: str) -> Shape:
    return Shape(shape.certain - {label}, shape.possible | {label})


def _equalities(argument: promql.Expr) -> frozenset[str]:
    selector = argument.vector_selector if isinstance(argument, promql.MatrixSelector) else argument
    if not isinstance(selector, promql.VectorSelector):
        return frozenset()
    equal = [matcher for matcher in selector.matchers.matchers if matcher.op == promql.MatchOp.Equal and matcher.value]
    return frozenset(matcher.name for matcher in equal if matcher.name != "__name__")


def _replaced(shapes: Shapes, target: str, replacement: str, source: str, pattern: str) -> Shapes:
    """label_replace: where the source does not match, the target stays what it was."""
    found = set()
    for shape in shapes:
        ends = set()
        if source in shape.possible:
            ends |= {"set"} if re.fullmatch(r"\(?\.[+*]\)?", pattern) else {"set", "kept"}
        if source not in shape.certain:
            takes_empty = re.fullmatch(pattern, "") is not None
            written = re.sub(r"\$(\d+|\w+|\{\w+\})", "", replacement)
            ends |= {"kept"} if not takes_empty else {"set"} if written else {"gone"}
        if not replacement:
            ends = {"gone" if end == "set" else end for end in ends}
        is_certain = all(end == "set" or (end == "kept" and target in shape.certain) for end in ends)
        is_possible = "set" in ends or ("kept" in ends and target in shape.possible)
        rest = shape.without({target})
        found.add(rest.with_certain({target}) if is_certain else _maybe(rest, target) if is_possible else rest)
    return frozenset(found)


# Two sides


def is_number(expression: promql.Expr) -> bool:
    """A scalar: it has no series, and matches whatever there is."""
    match expression:
        case promql.NumberLiteral():
            return True
        case promql.ParenExpr() | promql.UnaryExpr():
            return is_number(expression.expr)
        case promql.BinaryExpr():
            return is_number(expression.lhs) and is_number(expression.rhs)
        case promql.Call():
            return expression.func.name in ("time", "scalar", "pi")
    return False


@shapes_of.register
def _(expression: promql.BinaryExpr, world: World) -> Shapes:
    left, right = shapes_of(expression.lhs, world), shapes_of(expression.rhs, world)
    if is_number(expression.lhs):
        return right
    operator = str(expression.op)
    if is_number(expression.rhs) or operator == "unless":
        return left
    if operator == "or":
        return left | right
    if expression.modifier is not None and expression.modifier.card == promql.VectorMatchCardinality.OneToMany:
        left, right = right, left
    return frozenset(
        _joined(many, one, expression) for many in left for one in right if _may_match(many, one, expression)
    )


def may_match(expression: promql.BinaryExpr, world: World) -> bool:
    """Whether a series of one side can have a partner on the other one."""
    if is_number(expression.lhs) or is_number(expression.rhs):
        return True
    left, right = shapes_of(expression.lhs, world), shapes_of(expression.rhs, world)
    return any(_may_match(many, one, expression) for many in left for one in right)


def compared_labels(many: Shape, one: Shape, expression: promql.BinaryExpr) -> frozenset[str]:
    modifier = expression.modifier
    if modifier is None or modifier.matching is None:
        return many.possible | one.possible
    if modifier.matching.type == promql.LabelModifierType.Include:
        return frozenset(modifier.matching.labels)
    return (many.possible | one.possible) - set(modifier.matching.labels)


def _may_match(many: Shape, one: Shape, expression: promql.BinaryExpr) -> bool:
    compared = compared_labels(many, one, expression)
    return not compared & ((many.certain - one.possible) | (one.certain - many.possible))


def _joined(many: Shape, one: Shape, expression: promql.BinaryExpr) -> Shape:
    compared, modifier = compared_labels(many, one, expression), expression.modifier
    impossible = compared - one.possible
    matched = many.without(impossible).with_certain(compared & one.certain)
    if str(expression.op) == "and" or modifier is None:
        return matched
    if modifier.card == promql.VectorMatchCardinality.OneToOne:
        return matched if modifier.matching is None else matched.only(compared)
    added = frozenset(modifier.group_labels or ())
    rest = matched.without(added)
    return Shape(rest.certain | (added & one.certain), rest.possible | (added & one.possible))

"""Which values an expression can have: bounds, inferred from its tree and from what the catalogue says of a family.

Only what is certain counts: of what is not followed here (trigonometry, powers) every value is possible.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import promql_parser as promql

from gotk_exporter.metrics import families as f
from gotk_exporter.metrics import own_families as own
from gotk_exporter.metrics.families import Family
from tests.contracts.promql.labels import is_number
from tests.contracts.promql.pack import ALERTS, FAMILIES, FOREIGN, PackRule, names_asked

INFINITY = math.inf
ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Bounds:
    low: float = -INFINITY
    high: float = INFINITY
    whole: bool = False
    """Nothing but integers."""

    def joined(self, other: Bounds) -> Bounds:
        return Bounds(min(self.low, other.low), max(self.high, other.high), self.whole and other.whole)


ANY = Bounds()
ONE = Bounds(1, 1, True)
ZERO_OR_ONE = Bounds(0, 1, True)
POSITIVE = Bounds(0)
COUNT = Bounds(1, INFINITY, True)

FLAGS: frozenset[str] = frozenset(
    family.name
    for family in (
        f.RECONCILE_CONDITION,
        f.SUSPEND_STATUS,
        f.HEALTH_CHECKED,
        f.VERSION_PINNED,
        f.IMAGE_AUTOMATION_PUSH_FOLLOWED,
        own.RESOURCE_STATE,
        own.RESOURCE_STALE,
    )
)
"""1 or 0. A test holds what the exporter serves against all that is said here."""


def of_family(family: Family) -> Bounds:
    if "always 1" in family.help or family is f.UNSERVED:
        return ONE
    if family.name in FLAGS:
        return ZERO_OR_ONE
    if "timestamp" in family.name and "0 where" not in family.help:
        # Nothing of Flux happened in 1970.
        return Bounds(1)
    return POSITIVE


Recorded = Mapping[str, Bounds]


def recorded_bounds(rules: Iterable[PackRule]) -> Recorded:
    """Rules read each other, some read themselves: bounds widen until they stay, or are given up."""
    recording, known = [rule for rule in rules if not rule.is_alert], dict[str, Bounds]()
    for turn in itertools.count():
        before = dict(known)
        for rule in recording:
            found = bounds_of(rule.expression, before)
            if found is not None:
                wider = found.joined(known[rule.name]) if rule.name in known else found
                given_up = turn > ROUNDS and wider != before.get(rule.name)
                known[rule.name] = ANY if given_up else wider
        if known == before:
            return known
    raise AssertionError


@functools.singledispatch
def bounds_of(expression: object, recorded: Recorded) -> Bounds | None:
    """None where there can be no series."""
    raise NotImplementedError(f"values of {type(expression).__name__}")


@bounds_of.register
def _(expression: promql.NumberLiteral, recorded: Recorded) -> Bounds | None:
    return Bounds(expression.val, expression.val, float(expression.val).is_integer())


@bounds_of.register(promql.ParenExpr)
@bounds_of.register(promql.SubqueryExpr)
def _(expression: promql.ParenExpr, recorded: Recorded) -> Bounds | None:
    return bounds_of(expression.expr, recorded)


@bounds_of.register
def _(expression: promql.MatrixSelector, recorded: Recorded) -> Bounds | None:
    return bounds_of(expression.vector_selector, recorded)


@bounds_of.register
def _(expression: promql.UnaryExpr, recorded: Recorded) -> Bounds | None:
    inner = bounds_of(expression.expr, recorded)
    return inner and Bounds(-inner.high, -inner.low, inner.whole)


@bounds_of.register
def _(expression: promql.VectorSelector, recorded: Recorded) -> Bounds | None:
    known: dict[str, Bounds] = {**{name: of_family(family) for name, family in FAMILIES.items()}, **recorded}
    known |= {name: ONE if name == ALERTS else POSITIVE for name in FOREIGN}
    found = [known[name] for name in names_asked(expression, list(known)) if name in known]
    return functools.reduce(Bounds.joined, found) if found else None


@bounds_of.register
def _(expression: promql.AggregateExpr, recorded: Recorded) -> Bounds | None:
    inner = bounds_of(expression.expr, recorded)
    if inner is None:
        return None
    return _aggregated(str(expression.op), inner)


def _aggregated(operator: str, inner: Bounds) -> Bounds:
    match operator:
        case "count" | "count_values":
            return COUNT
        case "group" | "present":
            return ONE
        case "sum":
            # One of them at least is there.
            low = inner.low if inner.low >= 0 else -INFINITY
            return Bounds(low, inner.high if inner.high <= 0 else INFINITY, inner.whole)
        case "avg" | "quantile":
            return Bounds(inner.low, inner.high)
        case "stddev" | "stdvar":
            return POSITIVE
        case "max" | "min" | "last" | "first" | "topk" | "bottomk" | "limitk":
            return inner
    return ANY


_NEVER_NEGATIVE = frozenset({"rate", "irate", "increase", "timestamp", "time", "abs"})
_WHOLE_COUNTS = frozenset({"changes", "resets"})
_SAME = frozenset({"label_replace", "label_join", "sort", "sort_desc", "scalar", "vector"})


@bounds_of.register
def _(expression: promql.Call, recorded: Recorded) -> Bounds | None:
    name = expression.func.name
    numbers = [a for a in expression.args if not isinstance(a, promql.StringLiteral)]
    inner = [bounds_of(argument, recorded) for argument in numbers]
    if name in ("absent", "absent_over_time"):
        return ONE
    if None in inner:
        return None
    known = [bounds for bounds in inner if bounds is not None]
    if name in _SAME:
        return known[0]
    if name.endswith("_over_time"):
        return _aggregated(name.removesuffix("_over_time"), known[-1])
    if name in _NEVER_NEGATIVE:
        return POSITIVE
    if name in _WHOLE_COUNTS:
        return Bounds(0, INFINITY, True)
    if name in ("clamp", "clamp_min", "clamp_max"):
        return _clamped(name, *known)
    return ANY


def _clamped(name: str, inner: Bounds, *limits: Bounds) -> Bounds:
    low = limits[0] if name != "clamp_max" else Bounds(-INFINITY, -INFINITY, True)
    high = limits[-1] if name != "clamp_min" else Bounds(INFINITY, INFINITY, True)
    return Bounds(
        min(max(inner.low, low.low), high.low),
        min(max(inner.high, low.high), high.high),
        inner.whole and all(limit.whole for limit in limits),
    )


# Two sides


@bounds_of.register
def _(expression: promql.BinaryExpr, recorded: Recorded) -> Bounds | None:
    left, right = bounds_of(expression.lhs, recorded), bounds_of(expression.rhs, recorded)
    operator = str(expression.op)
    if operator == "or":
        return left.joined(right) if left and right else left or right
    if left is None or operator == "unless":
        return left
    if right is None:
        return None
    if operator == "and":
        return left
    if operator in COMPARISONS:
        if expression.modifier is not None and expression.modifier.return_bool:
            return ZERO_OR_ONE
        if is_number(expression.lhs):
            return narrowed(right, MIRRORED[operator], left)
        return narrowed(left, operator, right)
    return _calculated(left, operator, right)


MIRRORED = {">": "<", "<": ">", ">=": "<=", "<=": ">=", "==": "==", "!=": "!="}
COMPARISONS = frozenset(MIRRORED)


def always(left: Bounds, operator: str, right: Bounds) -> bool:
    """Whether the comparison holds whatever the values are."""
    return never(left, {">": "<=", "<": ">=", ">=": "<", "<=": ">", "==": "!=", "!=": "=="}[operator], right)


def never(left: Bounds, operator: str, right: Bounds) -> bool:
    """Whether the comparison holds for no values. Bounds that are infinite are not reached."""
    apart = left.high < right.low or right.high < left.low
    both_one = left.low == left.high == right.low == right.high
    match operator:
        case ">":
            return left.high <= right.low and left.high != INFINITY
        case "<":
            return left.low >= right.high and left.low != -INFINITY
        case ">=":
            return left.high < right.low
        case "<=":
            return left.low > right.high
        case "==":
            off = left.whole and right.low == right.high and not float(right.low).is_integer()
            return apart or off
    return both_one


def narrowed(left: Bounds, operator: str, right: Bounds) -> Bounds | None:
    """What the comparison lets through."""
    if never(left, operator, right):
        return None
    low, high = left.low, left.high
    if operator in (">", ">=", "=="):
        low = max(low, _beside(right.low, INFINITY, left.whole) if operator == ">" else right.low)
    if operator in ("<", "<=", "=="):
        high = min(high, _beside(right.high, -INFINITY, left.whole) if operator == "<" else right.high)
    if left.whole:
        low, high = (float(math.ceil(low)) if math.isfinite(low) else low), high
        high = float(math.floor(high)) if math.isfinite(high) else high
    return Bounds(low, high, left.whole)


def _beside(limit: float, towards: float, whole: bool) -> float:
    """The next value that may be: the limit itself is none."""
    if whole and math.isfinite(limit) and limit.is_integer():
        return limit + math.copysign(1, towards)
    return math.nextafter(limit, towards) if math.isfinite(limit) else limit


def _calculated(left: Bounds, operator: str, right: Bounds) -> Bounds:
    whole = left.whole and right.whole
    match operator:
        case "+":
            return Bounds(left.low + right.low, left.high + right.high, whole)
        case "-":
            return Bounds(left.low - right.high, left.high - right.low, whole)
        case "*":
            return Bounds(*_corners(left, right), whole)
        case "/" if right.low > 0 or right.high < 0:
            reciprocal = Bounds(1 / right.high, 1 / right.low)
            return Bounds(*_corners(left, reciprocal))
    return ANY


def _corners(left: Bounds, right: Bounds) -> tuple[float, float]:
    pairs = itertools.product((left.low, left.high), (right.low, right.high))
    # Nothing times however much is nothing: infinite bounds are not reached.
    products = [0.0 if 0 in pair else math.prod(pair) for pair in pairs]
    return min(products), max(products)

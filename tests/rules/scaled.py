"""A rule file in which everything goes N times as fast, and a Prometheus as fast as that; performs no I/O.

It knows no rule by name: text in, text out. Divided are ranges, offsets, `for`, `keep_firing_for` and intervals of
groups, and of the bare numbers in expressions those that are seconds. Which these are follows from what they stand
beside: names of metrics end in their unit, as Prometheus has them, and a number that is added to seconds, or compared
with them, is seconds. Counts, shares and factors stay as they are. What this cannot tell is an error, and so is a
record whose name does not have its expression's unit. Annotations are not touched: their queries have no ranges.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Final

import promql_parser as promql
import yaml


class NotScalable(Exception):
    """It cannot be told what is a duration there; names the rule and, where it is one, the number."""


class Unit(Enum):
    SECONDS = "seconds"
    MOMENT = "a point in time"
    NUMBER = "a mere number"
    MIXED = "of no one unit"
    """Such as ``or`` of two units: fit for counting, and for when it was seen."""


class Bare:
    """A number whose unit what is beside it will tell."""

    def __init__(self, position: int) -> None:
        self.position = position


_GROUP_DURATIONS: Final = frozenset({"interval", "query_offset"})
_GROUP_KEYS: Final = frozenset({"name", "limit", "labels", "rules"})
_RULE_DURATIONS: Final = frozenset({"for", "keep_firing_for"})
_RULE_KEYS: Final = frozenset({"alert", "record", "expr", "labels", "annotations"})

_KEEPS_UNIT: Final = frozenset(
    {"max_over_time", "min_over_time", "last_over_time", "avg_over_time", "label_replace", "label_join", "abs", "round"}
)
_MAKES_NUMBER: Final = frozenset(
    {"absent", "absent_over_time", "present_over_time", "count_over_time", "changes", "resets", "increase", "vector"}
)
_MAKES_MOMENT: Final = frozenset({"time", "timestamp"})
_CLAMPS: Final = frozenset({"clamp", "clamp_min", "clamp_max"})
_COUNTS: Final = frozenset({"count", "group", "count_values"})
_COMPARISONS: Final = frozenset({"==", "!=", ">", "<", ">=", "<="})
_SETS: Final = frozenset({"and", "or", "unless"})

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0, "ms": 0.001}
_ONE_DURATION: Final = re.compile(r"(\d+)(ms|[smhdwy])")
_TOKEN: Final = re.compile(
    r"""
    (?P<kept>\#[^\n]* | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | `[^`]*` | [a-zA-Z_:][\w:]* )
    | (?P<range>\[[^]]*\])
    | (?P<duration>(?:\d+(?:ms|[smhdwy]))+)
    | (?P<number>0[xX][\da-fA-F]+ | (?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
    """,
    re.VERBOSE,
)


def scaled(text: str, speed: float) -> str:
    """The rule file ``text`` for a world that goes ``speed`` times as fast.

    Raises:
        NotScalable: names what cannot be told to be a duration or not to be one.
    """
    document = yaml.safe_load(text)
    groups = []
    for group in document["groups"]:
        _only_known(group, _GROUP_DURATIONS | _GROUP_KEYS, f"group {group['name']}")
        rules = [_rule(rule, speed) for rule in group["rules"]]
        groups.append({**_divided(group, _GROUP_DURATIONS, speed), "rules": rules})
    return yaml.safe_dump({"groups": groups}, sort_keys=False, width=1_000_000, allow_unicode=True)


def scaled_duration(text: str, speed: float) -> str:
    """ "10m" at speed 30 is "20000ms".

    Raises:
        NotScalable: it is no duration, or would have to be told in less than milliseconds.
    """
    if not re.fullmatch(rf"(?:{_ONE_DURATION.pattern})+", text):
        raise NotScalable(f'"{text}" is no duration')
    seconds = sum(int(count) * _UNITS[unit] for count, unit in _ONE_DURATION.findall(text))
    milliseconds = seconds * 1000 / speed
    if abs(milliseconds - round(milliseconds)) > 1e-6:
        raise NotScalable(f'"{text}" divided by {speed:g} is no whole number of milliseconds')
    return f"{round(milliseconds)}ms"


_INTERVAL: Final = "30s"
_FLAGS: Final = {
    "query.lookback-delta": "5m",
    "rules.alert.for-grace-period": "10m",
    "rules.alert.for-outage-tolerance": "1h",
    "rules.alert.resend-delay": "1m",
}
"""Of Prometheus, with their defaults."""


def scaled_configuration(
    rule_files: Iterable[Path], jobs: Sequence[Mapping[str, Any]], speed: float, alertmanager: str | None = None
) -> str:
    """Scrape and evaluate every thirty seconds, divided. A scrape may take all of its interval: a slow machine's is no
    faster."""
    interval = scaled_duration(_INTERVAL, speed)
    configuration = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [str(path) for path in rule_files],
        "scrape_configs": list(jobs),
    }
    if alertmanager is not None:
        configuration["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
    return json.dumps(configuration)


def scaled_flags(speed: float) -> list[str]:
    return [f"--{name}={scaled_duration(default, speed)}" for name, default in _FLAGS.items()]


def spans(times: Iterable[float], step: float) -> list[tuple[float, float]]:
    """From when to when there was a sample at each ``step``."""
    found: list[tuple[float, float]] = []
    for time in times:
        if found and time - found[-1][1] < 1.5 * step:
            found[-1] = (found[-1][0], time)
        else:
            found.append((time, time))
    return found


def _rule(rule: Mapping[str, Any], speed: float) -> dict[str, Any]:
    name = rule.get("alert") or rule.get("record") or "?"
    _only_known(rule, _RULE_DURATIONS | _RULE_KEYS, f"rule {name}")
    expression = _Expression(str(rule["expr"]), name)
    if "record" in rule and expression.unit is not (stated := _unit_of_metric(name)):
        raise NotScalable(f"rule {name}: its name says {stated.value}, its expression is {expression.unit.value}")
    return {**_divided(rule, _RULE_DURATIONS, speed), "expr": expression.scaled(speed)}


def _only_known(mapping: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    if unknown := mapping.keys() - known:
        raise NotScalable(f"{where}: whether {', '.join(sorted(unknown))} is a duration is not known")


def _divided(mapping: Mapping[str, Any], durations: frozenset[str], speed: float) -> dict[str, Any]:
    return {key: scaled_duration(str(value), speed) if key in durations else value for key, value in mapping.items()}


def _unit_of_metric(name: str | None) -> Unit:
    """By its name; a recording rule's has the metric between colons."""
    if name is None:
        return Unit.MIXED
    units = {_unit_of_part(part) for part in name.split(":")} - {Unit.NUMBER}
    return units.pop() if len(units) == 1 else Unit.MIXED if units else Unit.NUMBER


def _unit_of_part(part: str) -> Unit:
    if part.endswith("_timestamp_seconds") or part == "ALERTS_FOR_STATE":
        return Unit.MOMENT
    # Of seconds that are summed up, or counted in buckets, nothing here is made.
    summed = re.search(r"_seconds_(total|sum|bucket)$", part)
    return Unit.SECONDS if part.endswith("_seconds") else Unit.MIXED if summed else Unit.NUMBER


class _Expression:
    """One expression, and which of its numbers are seconds, in the order of the text."""

    def __init__(self, text: str, rule: str) -> None:
        self._text = text
        self._rule = rule
        self._values: list[float] = []
        self._is_duration: list[bool | None] = []
        try:
            tree = promql.parse(text)
        except ValueError as error:
            raise NotScalable(f"rule {rule}: {error}") from None
        self.unit = self._settled(self._visit(tree), Unit.MIXED)

    def scaled(self, speed: float) -> str:
        numbers = iter(zip(self._values, self._is_duration, strict=True))
        previous = ""

        def replaced(token: re.Match[str]) -> str:
            nonlocal previous
            before, previous = previous, token[0]
            if token["range"]:
                return _ONE_OR_MORE.sub(lambda found: scaled_duration(found[0], speed), token[0])
            if token["duration"]:
                if before.lower() != "offset":
                    raise self._error(f"{token[0]} is neither a range nor an offset")
                return scaled_duration(token[0], speed)
            if token["number"]:
                value, is_duration = next(numbers, (None, None))
                if value is None or float(int(token[0], 0) if "x" in token[0].lower() else token[0]) != abs(value):
                    raise self._error(f"{token[0]} is not among the numbers that were parsed")
                assert is_duration is not None, f"rule {self._rule}: {token[0]} was seen, and not judged"
                return f"{abs(value) / speed:.12g}" if is_duration else token[0]
            return token[0]

        text = _TOKEN.sub(replaced, self._text)
        if (missed := next(numbers, None)) is not None:
            raise self._error(f"{missed[0]:g} was not found in its text")
        return text

    # What each part is. Parts are visited in the order of the text, so that the numbers come in it too.

    def _visit(self, node: Any) -> Unit | Bare:
        match node:
            case promql.NumberLiteral():
                self._values.append(node.val)
                self._is_duration.append(None)
                return Bare(len(self._values) - 1)
            case promql.StringLiteral():
                return Unit.MIXED
            case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
                return self._visit(node.expr)
            case promql.VectorSelector():
                return _unit_of_metric(node.name or _name_matched(node))
            case promql.MatrixSelector():
                return self._visit(node.vector_selector)
            case promql.AggregateExpr():
                return self._aggregate(node)
            case promql.Call():
                return self._call(node)
            case promql.BinaryExpr():
                return self._binary(node)
        raise self._error(f"what {type(node).__name__} is is not known")

    def _aggregate(self, node: Any) -> Unit | Bare:
        if node.param is not None:
            self._settled(self._visit(node.param), Unit.NUMBER)
        unit = self._visit(node.expr)
        name = str(node.op)
        return Unit.NUMBER if name in _COUNTS else unit

    def _call(self, node: Any) -> Unit | Bare:
        name = node.func.name
        if name in _CLAMPS:
            return self._clamp(node)
        arguments = [self._visit(argument) for argument in node.args]
        if name in _KEEPS_UNIT and not any(isinstance(one, Bare) for one in arguments):
            return arguments[0]
        if name in _MAKES_NUMBER or name in _MAKES_MOMENT:
            for argument in arguments:
                self._settled(argument, Unit.NUMBER)
            return Unit.MOMENT if name in _MAKES_MOMENT else Unit.NUMBER
        raise self._error(f"what {name}() makes of a unit is not known")

    def _clamp(self, node: Any) -> Unit:
        """Bounds have the unit of what they bound. A point in time, bound by a number, is there to be replaced."""
        unit, *bounds = [self._visit(argument) for argument in node.args]
        if isinstance(unit, Bare):
            raise self._error(f"{self._values[unit.position]:g} is clamped")
        becomes = Unit.NUMBER if unit is Unit.MOMENT and all(isinstance(one, Bare) for one in bounds) else unit
        for bound in bounds:
            if self._settled(bound, becomes) is not becomes:
                raise self._error(f"{unit.value} has a bound that is {self._settled(bound, becomes).value}")
        return becomes

    def _binary(self, node: Any) -> Unit | Bare:
        left, right, operator = self._visit(node.lhs), self._visit(node.rhs), _operator(node)
        if operator in _SETS:
            left, right = self._settled(left, Unit.MIXED), self._settled(right, Unit.MIXED)
            return left if operator != "or" or left is right else Unit.MIXED
        if isinstance(left, Bare) and isinstance(right, Bare):
            # Write the one number that they make.
            raise self._error(f"{self._values[left.position]:g} {operator} {self._values[right.position]:g}")
        if operator in ("*", "/"):
            left, right = self._settled(left, Unit.NUMBER), self._settled(right, Unit.NUMBER)
            found = _PRODUCTS.get((left, right)) if operator == "*" else _QUOTIENTS.get((left, right))
        else:
            left, right = self._beside(left, right, operator), self._beside(right, left, operator)
            known = _SUMS if operator == "+" else _DIFFERENCES if operator == "-" else {}
            found = left if operator in _COMPARISONS and left is right else known.get((left, right))
        if found is None:
            raise self._error(f"{left.value} {operator} {right.value}")
        return found

    def _beside(self, one: Unit | Bare, other: Unit | Bare, operator: str) -> Unit:
        """What a number is that is added to something, or compared with it."""
        if isinstance(one, Unit) or isinstance(other, Bare):
            return self._settled(one, Unit.MIXED)
        if operator in ("+", "-") and other is Unit.MOMENT:
            return self._settled(one, Unit.SECONDS)
        return self._settled(one, other)

    def _settled(self, part: Unit | Bare, unit: Unit) -> Unit:
        """The unit of a part; where it is a number whose unit was open, it is ``unit``."""
        if isinstance(part, Unit):
            return part
        value = self._values[part.position]
        if unit not in (Unit.SECONDS, Unit.NUMBER) and value != 0:
            raise self._error(f"{value:g} stands beside what is {unit.value}")
        self._is_duration[part.position] = unit is Unit.SECONDS
        return unit

    def _error(self, problem: str) -> NotScalable:
        return NotScalable(f"rule {self._rule}: {problem}; seconds or not? Teach tests/rules/scaled.py")


_ONE_OR_MORE: Final = re.compile(rf"(?:{_ONE_DURATION.pattern})+")
_S, _M, _N, _X = Unit.SECONDS, Unit.MOMENT, Unit.NUMBER, Unit.MIXED
_SUMS: Final = {(_S, _S): _S, (_N, _N): _N, (_M, _S): _M, (_S, _M): _M}
_DIFFERENCES: Final = {(_S, _S): _S, (_N, _N): _N, (_M, _S): _M, (_M, _M): _S}
_PRODUCTS: Final = {(_N, unit): unit for unit in Unit} | {(unit, _N): unit for unit in Unit}
_QUOTIENTS: Final = {(unit, _N): unit for unit in Unit} | {(_S, _S): _N}


def _name_matched(selector: Any) -> str | None:
    """Of a selector such as {__name__="up"}."""
    names = [
        one.value for one in selector.matchers.matchers if one.name == "__name__" and one.op == promql.MatchOp.Equal
    ]
    return names[0] if names else None


def _operator(node: Any) -> str:
    return str(node.op).lower()

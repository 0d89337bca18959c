"""What a PromQL expression needs so that it can ever give a result, as a formula over its selectors. Performs no I/O.

Only what is certain counts as a need: of whatever this does not follow (functions of numbers, labels that match on both
sides, values) it says that a result is possible. Whether a selector has series is for others to find out.
Reference: prometheus.io, "Operators" and "Query functions".
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import promql_parser as promql

NAME = "__name__"
MAX_CHARS = 20_000
MAX_NESTED = 400
"""Operators and brackets in one expression. promql-parser's time grows with the square of their nesting, and some ten
thousand end the process (measured with 0.12)."""

MatchOperator = Literal["=", "!=", "=~", "!~"]


class NotReadable(Exception):
    """The expression is not one that promql-parser takes."""


@dataclass(frozen=True, slots=True, order=True)
class Matcher:
    label: str
    operator: MatchOperator
    value: str

    def __str__(self) -> str:
        label = self.label if re.fullmatch(r"[a-zA-Z_]\w*", self.label, re.ASCII) else _quoted(self.label)
        return f"{label}{self.operator}{_quoted(self.value)}"


@dataclass(frozen=True, slots=True)
class Selector:
    """The series of one vector or range selector. Equal ones ask for the same series, however they were written."""

    matchers: tuple[Matcher, ...]
    """Sorted, each once."""
    reach: float = 0.0
    """How many seconds further into the past it looks than is covered anyhow: offsets, ranges, subqueries around it."""

    @property
    def metric(self) -> str | None:
        """The name of the metric, where it is one name."""
        names = [matcher.value for matcher in self.matchers if matcher.label == NAME and matcher.operator == "="]
        return names[0] if names else None

    @property
    def named(self) -> Selector:
        """All series of that metric (or of those metrics), whatever their labels."""
        return self.only(matcher for matcher in self.matchers if matcher.label == NAME)

    @property
    def labels(self) -> tuple[Matcher, ...]:
        return tuple(matcher for matcher in self.matchers if matcher.label != NAME)

    def only(self, matchers: Iterator[Matcher]) -> Selector:
        return selector(*matchers, reach=self.reach)

    def __str__(self) -> str:
        """As PromQL that every Prometheus takes, less offsets and ranges."""
        name, rest = self.metric, [matcher for matcher in self.matchers if matcher.label != NAME]
        is_plain = name is not None and len(self.matchers) == len(rest) + 1 and not _KEYWORD.fullmatch(name)
        if name is None or not is_plain or not re.fullmatch(r"[a-zA-Z_:][\w:]*", name, re.ASCII):
            return f"{{{','.join(map(str, self.matchers))}}}"
        return f"{name}{{{','.join(map(str, rest))}}}" if rest else name


_KEYWORD = re.compile(
    "and|or|unless|atan2|by|without|on|ignoring|group_(left|right)|fill(_left|_right)?|bool|offset|smoothed|anchored|"
    "start|end|step|inf|nan|sum|avg|count|min|max|group|std(dev|var)|topk|bottomk|count_values|quantile|limit(k|_ratio)",
    re.IGNORECASE,
)


def selector(*matchers: Matcher, reach: float = 0.0) -> Selector:
    return Selector(tuple(sorted(set(matchers))), reach)


def of_metric(name: str, *matchers: Matcher) -> Selector:
    return selector(Matcher(NAME, "=", name), *matchers)


def _quoted(text: str) -> str:
    # JSON's escapes are a part of Go's.
    return json.dumps(text, ensure_ascii=False)


# The formula


@dataclass(frozen=True, slots=True)
class Always:
    """A number, a time, an absence: nothing is needed."""


@dataclass(frozen=True, slots=True)
class Series:
    selector: Selector


@dataclass(frozen=True, slots=True)
class Every:
    parts: tuple[Need, ...]


@dataclass(frozen=True, slots=True)
class Either:
    parts: tuple[Need, ...]


Need = Always | Series | Every | Either
ALWAYS = Always()


def selectors(need: Need) -> frozenset[Selector]:
    """Those that a result may depend on; not those under absent(), or on the right of unless."""
    match need:
        case Series():
            return frozenset({need.selector})
        case Every() | Either():
            return frozenset().union(*map(selectors, need.parts))
    return frozenset()


def unmet(need: Need, has_series: Callable[[Selector], bool]) -> frozenset[Selector]:
    """The selectors without series because of which no result is possible; none where one is."""
    match need:
        case Series():
            return frozenset() if has_series(need.selector) else frozenset({need.selector})
        case Every():
            return frozenset().union(*(unmet(part, has_series) for part in need.parts))
        case Either():
            missing = [unmet(part, has_series) for part in need.parts]
            return frozenset().union(*missing) if all(missing) else frozenset()
    return frozenset()


def _every(*parts: Need) -> Need:
    left = tuple(dict.fromkeys(part for part in parts if part != ALWAYS))
    return left[0] if len(left) == 1 else Every(left) if left else ALWAYS


def _either(*parts: Need) -> Need:
    if ALWAYS in parts:
        return ALWAYS
    left = tuple(dict.fromkeys(parts))
    return left[0] if len(left) == 1 else Either(left)


# From an expression to its formula


def read(expression: str, covered: float = 0.0) -> Need:
    """What the expression needs so that it can give a result.

    ``covered``: seconds of the past in which series will be looked for in any case.

    Raises:
        NotReadable: it is no PromQL, or of a kind that promql-parser does not know.
    """
    plain = _WORDS.sub(_plainly, expression[: MAX_CHARS + 1])
    if len(plain) > MAX_CHARS or len(_NESTING.findall(_WORDS.sub("", plain))) > MAX_NESTED:
        raise NotReadable("the expression is too long to be judged")
    try:
        return _needs(promql.parse(plain), -covered).result
    except ValueError as error:
        raise NotReadable(" ".join(str(error).split())[:200]) from None
    except RecursionError:
        raise NotReadable("the expression is nested too deeply to be judged") from None


_WORDS = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`|\#[^\n]*""", re.DOTALL)
"""Strings and comments."""
_NESTING = re.compile(r"[(\[+*/%^<>=!-]|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)


def _plainly(word: re.Match[str]) -> str:
    """promql-parser reads escapes in raw strings, too."""
    text = word[0]
    if text.startswith("#"):
        return ""
    return _quoted(text[1:-1]) if text.startswith("`") else text


@dataclass(frozen=True, slots=True)
class _Needs:
    """What it takes to have any result, and to have one that is a number: scalar() of nothing is NaN, and every
    comparison with NaN but != is false."""

    result: Need
    number: Need


_NOTHING_NEEDED = _Needs(ALWAYS, ALWAYS)


def _as_number(need: Need) -> _Needs:
    return _Needs(need, need)


@functools.singledispatch
def _needs(expression: object, reach: float) -> _Needs:
    """``reach``: seconds that the selectors in it look back because of what stands around it, less what is covered."""
    raise NotReadable(f"{type(expression).__name__} is not known here")


@_needs.register
def _(expression: promql.NumberLiteral, reach: float) -> _Needs:
    return _NOTHING_NEEDED


@_needs.register
def _(expression: promql.StringLiteral, reach: float) -> _Needs:
    return _NOTHING_NEEDED


@_needs.register
def _(expression: promql.ParenExpr, reach: float) -> _Needs:
    return _needs(expression.expr, reach)


@_needs.register
def _(expression: promql.UnaryExpr, reach: float) -> _Needs:
    return _needs(expression.expr, reach)


@_needs.register
def _(expression: promql.VectorSelector, reach: float) -> _Needs:
    if expression.matchers.or_matchers:
        raise NotReadable('"or" between matchers is not known to Prometheus')
    if expression.at is not None:
        # It looks at one moment, which may be long ago.
        return _NOTHING_NEEDED
    matchers = [Matcher(m.name, _OPERATORS[str(m.op)], m.value) for m in expression.matchers.matchers]
    if expression.name is not None:
        matchers.append(Matcher(NAME, "=", expression.name))
    offset = expression.offset.total_seconds() if expression.offset else 0.0
    return _as_number(Series(selector(*matchers, reach=max(0.0, reach + offset))))


_OPERATORS: dict[str, MatchOperator] = {
    "MatchOp.Equal": "=",
    "MatchOp.NotEqual": "!=",
    "MatchOp.Re": "=~",
    "MatchOp.NotRe": "!~",
}


@_needs.register
def _(expression: promql.MatrixSelector, reach: float) -> _Needs:
    return _needs(expression.vector_selector, reach + expression.range.total_seconds())


@_needs.register
def _(expression: promql.SubqueryExpr, reach: float) -> _Needs:
    if expression.at is not None:
        return _NOTHING_NEEDED
    further = sum(span.total_seconds() for span in (expression.range, expression.offset) if span is not None)
    return _needs(expression.expr, reach + further)


@_needs.register
def _(expression: promql.AggregateExpr, reach: float) -> _Needs:
    return _as_number(_needs(expression.expr, reach).result)


@_needs.register
def _(expression: promql.Call, reach: float) -> _Needs:
    name = expression.func.name
    if name in ("absent", "absent_over_time"):
        return _NOTHING_NEEDED
    # The second argument of info() says which labels to add, where there are any.
    arguments = [_needs(argument, reach) for argument in (expression.args[:1] if name == "info" else expression.args)]
    result = _every(*(argument.result for argument in arguments))
    if name == "scalar":
        return _Needs(ALWAYS, result)
    if name == "vector":
        return arguments[0]
    return _as_number(result)


@_needs.register
def _(expression: promql.BinaryExpr, reach: float) -> _Needs:
    operator = str(expression.op)
    left, right = _needs(expression.lhs, reach), _needs(expression.rhs, reach)
    both = _every(left.result, right.result)
    modifier = expression.modifier
    match operator:
        case "and":
            return _Needs(both, _every(left.number, right.result))
        case "or":
            return _Needs(_either(left.result, right.result), _either(left.number, right.number))
        case "unless":
            return left
    if modifier is not None and (filled := _filled(modifier, left, right)) is not None:
        return _as_number(filled)
    if operator in _COMPARISONS:
        if modifier is not None and modifier.return_bool:
            return _as_number(both)
        if operator == "!=":
            return _Needs(both, _every(left.number, right.result))
        return _as_number(_every(left.number, right.number))
    if operator == "^":
        # NaN ^ 0 is 1, and so is 1 ^ NaN.
        return _as_number(both)
    return _Needs(both, _every(left.number, right.number))


_COMPARISONS = frozenset({"==", "!=", ">", "<", ">=", "<="})


def _filled(modifier: promql.BinModifier, left: _Needs, right: _Needs) -> Need | None:
    """With fill() a side that has no partner gets one."""
    values = modifier.fill_values
    if values is None or (values.lhs is None and values.rhs is None):
        return None
    if values.lhs is not None and values.rhs is not None:
        return _either(left.result, right.result)
    return right.result if values.lhs is not None else left.result

"""What an expression needs, held against a table and against what a real Prometheus answers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from gotk_exporter.rules.expressions import (
    MAX_CHARS,
    Matcher,
    NotReadable,
    Selector,
    of_metric,
    read,
    selector,
    selectors,
    unmet,
)
from gotk_exporter.rules.known_metrics import admits
from tests.peers.processes import PeerFailed
from tests.peers.prometheus import RunningPrometheus, Version

StartPrometheus = Callable[..., Awaitable[RunningPrometheus]]

CREATED_SECONDS = 60

HELD: tuple[dict[str, str], ...] = (
    {"__name__": "a", "x": "1"},
    {"__name__": "a", "x": "2", "y": "q\\w"},
    {"__name__": "b", "x": "1"},
    {"__name__": "c", "le": "+Inf"},
)
"""Series that are there; no_* and others never were."""


def is_held(asked: Selector) -> bool:
    return any(all(admits(matcher, series.get(matcher.label, "")) for matcher in asked.matchers) for series in HELD)


def guilty(expression: str) -> set[str]:
    return {str(asked) for asked in unmet(read(expression), is_held)}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # Selectors
        ("a", set()),
        ("no_1", {"no_1"}),
        ('a{x="9"}', {'a{x="9"}'}),
        ('a{x=~"8|9"}', {'a{x=~"8|9"}'}),
        ('a{x=~"1|9"}', set()),
        ('{__name__="a"}', set()),
        ('{__name__=~"no_.*"}', {'{__name__=~"no_.*"}'}),
        ('a{y=""}', set()),
        ('a{z!=""}', {'a{z!=""}'}),
        # Both sides of what pairs them, one of what joins them, the left of what takes away.
        ("a + no_1", {"no_1"}),
        ("no_1 / no_2", {"no_1", "no_2"}),
        ("a and on() no_1", {"no_1"}),
        ("a or no_1", set()),
        ("no_1 or no_2", {"no_1", "no_2"}),
        ("a unless no_1", set()),
        ("no_1 unless a", {"no_1"}),
        ("(a or no_1) and on() no_2", {"no_2"}),
        ("no_1 or vector(0)", set()),
        ("a > on() group_left() no_1", {"no_1"}),
        # The legacy rule.
        ('max(a{x="1"}) by (x) + on(x) (max(a{x="9"}) by (x)) * 2 == 1', {'a{x="9"}'}),
        # What is there although nothing is selected.
        ("absent(no_1)", set()),
        ("absent_over_time(no_1[5m])", set()),
        ("absent(no_1) and on() no_2", {"no_2"}),
        ("vector(1)", set()),
        ("time() > bool 5", set()),
        ("1", set()),
        ("hour() > 8", set()),
        # What hands on.
        ("sum by (x) (rate(no_1[5m])) > 0", {"no_1"}),
        ("count(no_1) == 0", {"no_1"}),
        ("-no_1", {"no_1"}),
        ("topk(3, no_1)", {"no_1"}),
        ("histogram_quantile(0.9, rate(no_1[5m]))", {"no_1"}),
        ('label_replace(no_1, "x", "$1", "y", "(.*)")', {"no_1"}),
        ("max_over_time((no_1 > 0)[1h:1m])", {"no_1"}),
        ("time() - no_1 > 900", {"no_1"}),
        ("1 > bool no_1", {"no_1"}),
        ("timestamp(no_1)", {"no_1"}),
        # scalar() of nothing is NaN, and NaN is no more, no less and not the same, but different.
        ("scalar(no_1)", set()),
        ("a > scalar(no_1)", {"no_1"}),
        ("a / scalar(no_1) > 0.5", {"no_1"}),
        ("a * scalar(no_1)", set()),
        ("a != scalar(no_1)", set()),
        ("a > bool scalar(no_1)", set()),
        ("vector(scalar(no_1)) >= 0", {"no_1"}),
        ("a > scalar(no_1) ^ 0", set()),
        # Of one moment in the past nothing is known.
        ("no_1 @ 1700000000", set()),
        ("max_over_time(no_1[5m:1m] @ 1700000000)", set()),
        # Of 3.x
        ("no_1 + fill(0) a", set()),
        ("no_1 + fill(0) no_2", {"no_1", "no_2"}),
        ("no_1 + fill_left(0) a", set()),
        ("a + fill_left(0) no_1", {"no_1"}),
        ("info(a, {no=~'.+'})", set()),
    ],
)
def test_who_is_guilty(expression: str, expected: set[str]) -> None:
    assert guilty(expression) == expected


def test_only_what_a_result_may_depend_on_is_asked_for() -> None:
    need = read("(a and b) unless c or absent(d)")
    assert selectors(need) == frozenset()
    need = read("rate(a[5m]) > 0 or (b unless on() c)", covered=3_600)
    assert selectors(need) == {of_metric("a"), of_metric("b")}


def test_the_same_selector_is_the_same_however_it_is_written() -> None:
    ways = ['a{x="1",y=`q\\w`}', "a{y='q\\\\w', x=\"1\",}", '{__name__="a",x="1",y="q\\\\w"} # a comment, it\'s "here"']
    assert len({selectors(read(way)) for way in ways}) == 1


@pytest.mark.parametrize(
    ("expression", "reach"),
    [
        ("a", 0),
        ("a offset 1h", 0),
        ("a offset 1d", 86_400 - 3_600),
        ("rate(a[2h])", 3_600),
        ("rate(a[2h] offset 1h)", 7_200),
        ("max_over_time((a offset 1h)[1h:1m] offset 1h)", 7_200),
        ("a offset -1d", 0),
    ],
)
def test_how_far_back_a_selector_looks_beyond_what_is_covered(expression: str, reach: float) -> None:
    (asked,) = selectors(read(expression, covered=3_600))
    assert asked.reach == reach


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "a >",
        "rate(a[$__rate_interval])",
        "rate(a[5m] smoothed)",
        "holt_winters(a[5m], 0.5, 0.5)",
        'a{x="1" or y="2"}',
        "a" * (MAX_CHARS + 1),
        # Thousands of these take promql-parser seconds, and more end the process.
        "-" * 9_000 + "a",
        "(" * 9_000 + "a" + ")" * 9_000,
        "abs(" * 500 + "a" + ")" * 500,
        "a + " * 2_000 + "a",
    ],
)
def test_what_cannot_be_read_is_said_to_be_so(expression: str) -> None:
    with pytest.raises(NotReadable) as refusal:
        read(expression)
    assert 0 < len(str(refusal.value)) <= 200


@given(st.text(st.sampled_from("ab{}[]()\"'`\\=~!,:5m +-*/%^<>@#\n\x00é") | st.characters(), max_size=60))
def test_nothing_that_anybody_writes_does_harm(expression: str) -> None:
    with contextlib.suppress(NotReadable):
        read(expression)


# Against a real Prometheus


@pytest.fixture
async def prometheus(
    request: pytest.FixtureRequest,
    start_prometheus: StartPrometheus,
    require_peer: Callable[[str], Path],
    tmp_path: Path,
) -> tuple[RunningPrometheus, float]:
    """One that has scraped nothing and holds these series, and the time at which it holds them."""
    version: Version = getattr(request, "param", "3")
    end = time.time() // 60 * 60 - 7200
    lines = ["# TYPE a gauge"]
    for number, series in enumerate(HELD):
        labels = ",".join(f"{name}={_escaped(value)}" for name, value in series.items() if name != "__name__")
        # Numbers that are in some comparisons more, in some less, and in some the same.
        lines += [
            f"{series['__name__']}{{{labels}}} {(number + step) % 3} {end - 60 * step}" for step in range(60, -1, -1)
        ]
    text = tmp_path / "series.txt"
    text.write_text("\n".join([*lines, "# EOF", ""]))
    data = tmp_path / "prometheus-1" / "data"
    data.mkdir(parents=True)
    creating = await asyncio.create_subprocess_exec(
        *(require_peer("promtool-3"), "tsdb", "create-blocks-from", "openmetrics", text, data),
        stdout=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(CREATED_SECONDS):
        assert await creating.wait() == 0
    flags = ["--enable-feature=promql-experimental-functions"] if version == "3" else []
    return await start_prometheus("scrape_configs: []", version, flags=flags), end


def _escaped(value: str) -> str:
    return '"' + value.replace("\\", r"\\").replace('"', r"\"") + '"'


_matchers = st.lists(
    st.builds(
        Matcher,
        st.sampled_from(["x", "y", "z"]),
        st.sampled_from(["=", "!=", "=~", "!~"]),
        st.sampled_from(["1", "2", "9", "", "1|2", ".+", ".*", "q\\w", "[12]", "q.w"]),
    ),
    max_size=2,
)
_selectors = st.builds(
    lambda name, matchers: str(of_metric(name, *matchers)), st.sampled_from(["a", "b", "c", "no_1", "no_2"]), _matchers
)
_ON = ["", " on()", " on(x)", " ignoring(y)", " on(x) group_left()", " on(x) group_right()"]
_numbers = st.sampled_from(["0", "1", "2", "-1", "NaN", "time()", "pi()"])


def _of(vectors: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def form(text: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.tuples(*parts).map(lambda chosen: text.format(*chosen))

    scalars = _numbers | form("scalar({})", vectors)
    arithmetic = st.sampled_from(["+", "-", "*", "/", "%", "^", "atan2"])
    comparison = st.sampled_from(["==", "!=", ">", "<", ">=", "<="])
    either = arithmetic | comparison | comparison.map(lambda operator: f"{operator} bool")
    together = st.sampled_from(["and", "or", "unless"])
    windows = st.sampled_from(["5m", "30m", "1h"])
    return st.one_of(
        form("({}) {}{} ({})", vectors, either, st.sampled_from(_ON), vectors),
        form("({}) {}{} ({})", vectors, together, st.sampled_from(_ON[:4]), vectors),
        form("({}) {} ({})", vectors, either, scalars),
        form("({}) {} ({})", scalars, either, vectors),
        form("{} by (x) ({})", st.sampled_from(["sum", "max", "count", "group", "avg", "stddev"]), vectors),
        form("{} without (x) ({})", st.sampled_from(["sum", "min"]), vectors),
        form("topk(1, {})", vectors),
        form("quantile(0.5, {})", vectors),
        form('count_values("v", {})', vectors),
        form("{}({})", st.sampled_from(["abs", "absent", "timestamp", "sort", "sgn", "-", "hour", "exp"]), vectors),
        form("clamp_max({}, {})", vectors, scalars),
        form("histogram_quantile(0.9, {})", vectors),
        form('label_replace({}, "x", "1", "y", "(.*)")', vectors),
        form("vector({})", scalars),
        form(
            "{}(({})[{}:1m])",
            st.sampled_from(["max_over_time", "absent_over_time", "count_over_time"]),
            vectors,
            windows,
        ),
        form(
            "{}({}[{}])",
            st.sampled_from(["rate", "delta", "last_over_time", "absent_over_time", "present_over_time"]),
            _selectors,
            windows,
        ),
        form("{} offset {}", _selectors, windows),
    )


_expressions = st.recursive(_selectors, _of, max_leaves=6)


@pytest.mark.parametrize("prometheus", ["2", "3"], indirect=True)
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(expression=_expressions)
async def test_what_gives_a_result_is_never_called_dead(
    prometheus: tuple[RunningPrometheus, float], expression: str
) -> None:
    server, at = prometheus
    missing = guilty(expression)
    try:
        answer = await server.query(expression, at)
    except PeerFailed:
        # Labels that match twice, most often; promql-parser has taken it.
        event("refused")
        return
    event("gives a result" if answer else "called dead" if missing else "gives nothing, not called dead")
    assert not answer or not missing, f"{expression} gives {answer}, but needs {missing}"


@pytest.mark.parametrize("prometheus", ["2", "3"], indirect=True)
async def test_selectors_are_asked_for_in_words_that_prometheus_takes(
    prometheus: tuple[RunningPrometheus, float],
) -> None:
    server, at = prometheus
    labels = itertools.product(
        ["x", "y"], ["=", "!=", "=~", "!~"], ["1", "", "q\\w", "q.w", 'a"b', "new\nline", "\x01é"]
    )
    for label, operator, value in labels:
        asked = selector(Matcher("__name__", "=~", "a|b"), Matcher(label, operator, value))  # type: ignore[arg-type]
        if operator.endswith("~") and value == "q\\w":
            continue
        found = await server.query(f"count({asked})", at)
        assert bool(found) == is_held(asked), str(asked)

"""Durations as Go's time.ParseDuration reads them. The table and 300,000 random texts were checked against Go 1.26."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gotk_exporter.flux.durations import parse_duration

TABLE: list[tuple[str, float | None]] = [
    ("0", 0),
    ("+0", 0),
    ("-0", 0),
    ("0s", 0),
    ("5s", 5),
    ("+5s", 5),
    ("-1m", -60),
    ("1.5h", 5400),
    ("1h30m", 5400),
    ("1h30m0s", 5400),
    ("1h1h", 7200),
    ("30s1m", 90),
    ("-1m30s", -90),
    ("3000m", 180_000),
    (".5s", 0.5),
    ("5.s", 5),
    ("-.5s", -0.5),
    ("1.0000000000000000000000000001s", 1),
    ("100ms", 0.1),
    ("7us", 7e-6),
    ("7\N{MICRO SIGN}s", 7e-6),
    ("7\N{GREEK SMALL LETTER MU}s", 7e-6),
    ("1ns", 1e-9),
    ("0.3ns", 0),
    ("0.3333333333333333333h", 1200),
    ("0.9223372036854775807h", 3320.413933267),
    ("000000000000000000000000000001s", 1),
    ("9223372036s", 9223372036),
    ("9223372036854775807ns", 9223372036.854775807),
    ("9223372036.854775807s", 9223372036.854775807),
    ("-9223372036854775808ns", -9223372036.854775808),
    # What it refuses.
    ("", None),
    ("-", None),
    ("+", None),
    ("++5s", None),
    ("+-5s", None),
    ("00", None),
    ("5", None),
    (".", None),
    (".s", None),
    ("s", None),
    ("1d", None),
    ("1w", None),
    ("1S", None),
    ("1hm", None),
    ("1 s", None),
    (" 1s", None),
    ("1s ", None),
    ("1s\n", None),
    ("1e3s", None),
    ("1_000s", None),
    ("0x10s", None),
    ("1.2.3s", None),
    ("1,5s", None),
    ("\N{FULLWIDTH DIGIT ONE}s", None),
    ("\N{ARABIC-INDIC DIGIT ONE}s", None),
    ("soon", None),
    ("9223372037s", None),
    ("9223372036854775808ns", None),
    ("-9223372036854775809ns", None),
    ("9223372036.854775808s", None),
    ("2562048h", None),
    ("9223372036s1s", None),
    ("9" * 5_000 + "s", None),
]


@pytest.mark.parametrize(("text", "seconds"), TABLE, ids=[repr(text[:40]) for text, _ in TABLE])
def test_a_text_means_what_go_takes_it_for(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


UNITS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
terms = st.tuples(st.integers(0, 200_000), st.sampled_from(sorted(UNITS)))


@settings(deadline=None)
@given(st.sampled_from(["", "+", "-"]), st.lists(terms, min_size=1, max_size=8))
def test_a_written_sum_is_the_sum_of_its_terms(sign: str, terms: list[tuple[int, str]]) -> None:
    total = sum(amount * UNITS[unit] for amount, unit in terms)
    text = sign + "".join(f"{amount}{unit}" for amount, unit in terms)
    assert parse_duration(text) == (-total if sign == "-" else total) / 10**9


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**9 - 1), st.integers(0, 20))
def test_decimals_of_a_second_are_nanoseconds(whole: int, nanoseconds: int, zeros: int) -> None:
    text = f"{whole}.{nanoseconds:09d}{'0' * zeros}s"
    # Go computes decimals in floating point and cuts, so more zeros may cost the last nanosecond.
    seconds = parse_duration(text)
    assert seconds is not None
    assert round(seconds * 10**9) - (whole * 10**9 + nanoseconds) in ((0,) if zeros == 0 else (-1, 0))


@settings(deadline=None)
@given(st.text(alphabet="0123456789.+-hmsnuµμ d", max_size=15) | st.text(max_size=15))
def test_any_other_text_is_refused_and_never_raises(text: str) -> None:
    seconds = parse_duration(text)
    assert seconds is None or abs(seconds) <= 2**63 / 10**9


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0" * 250_000 + "x", None),
        ("1." + "1" * 250_000 + "x", None),
        ("." * 250_000, None),
        ("1s" * 100_000, 100_000),
        ("1." + "1" * 250_000 + "s", 1.111111111),
        ("0." + "0" * 250_000 + "1s", 0),
    ],
    ids=["digits", "decimals", "points", "terms", "long decimals", "small decimals"],
)
def test_a_text_as_long_as_an_annotation_may_be_is_read_at_once(text: str, seconds: float | None) -> None:
    # Would run for minutes if the expression backtracked or the numbers grew.
    assert parse_duration(text) == seconds

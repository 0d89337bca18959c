"""Times of Kubernetes objects, against what the standard library makes of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gotk_exporter.flux.timestamps import parse_timestamp

offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
# Not the first and last days of all: there an offset leads out of the calendar.
moments = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31))


@given(moments, st.sampled_from(["Z", "z"]), st.sampled_from(["T", "t"]))
def test_a_time_in_utc_is_what_the_standard_library_says(moment: datetime, zone: str, separator: str) -> None:
    whole = moment.replace(microsecond=0)
    text = whole.isoformat().replace("T", separator) + zone
    assert parse_timestamp(text) == whole.replace(tzinfo=UTC).timestamp()


@given(moments, offsets)
def test_fractions_and_offsets_are_what_the_standard_library_says(moment: datetime, zone: timezone) -> None:
    text = moment.replace(tzinfo=zone).isoformat()
    parsed = parse_timestamp(text)
    assert parsed is not None
    # A float holds microseconds in our centuries, and a little less in others.
    assert parsed == pytest.approx(datetime.fromisoformat(text).timestamp(), rel=0, abs=1e-4)


def test_nanoseconds_are_read_and_what_is_finer_is_left_out() -> None:
    assert parse_timestamp("1970-01-01T00:00:01.250000000Z") == 1.25
    assert parse_timestamp("1970-01-01T00:00:01.25000000000000000000Z") == 1.25


def test_a_leap_second_is_the_second_after() -> None:
    assert parse_timestamp("2016-12-31T23:59:60Z") == parse_timestamp("2017-01-01T00:00:00Z")


NONE = [
    None,
    "",
    "soon",
    "2026-11-20",
    "2026-11-20T08:15:03",
    "2026-11-20 08:15:03Z",
    "2026-11-20T08:15Z",
    "0000-11-20T08:15:03Z",
    "2026-13-20T08:15:03Z",
    "2026-00-20T08:15:03Z",
    "2026-11-31T08:15:03Z",
    "2026-11-00T08:15:03Z",
    "2026-11-20T24:00:00Z",
    "2026-11-20T08:60:03Z",
    "2026-11-20T08:15:61Z",
    "2026-11-20T08:15:03.Z",
    "2026-11-20T08:15:03+0100",
    "2026-11-20T08:15:03Z\n",
    " 2026-11-20T08:15:03Z",
    "٢٠٢٦-11-20T08:15:03Z",
    "12026-11-20T08:15:03Z",
    "-026-11-20T08:15:03Z",
]


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_time_is_none(text: str | None) -> None:
    assert parse_timestamp(text) is None


@given(st.text(alphabet="0123456789-:.TZ+ tz٣", max_size=30))
def test_no_text_makes_it_raise(text: str) -> None:
    parse_timestamp(text)


@given(st.from_regex(r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)\Z"))
def test_what_has_the_form_of_a_time_is_one_where_the_standard_library_says_so(text: str) -> None:
    try:
        expected = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        # It may know better (a leap second, the 29th of February in any year), but it must not raise.
        parse_timestamp(text)
    else:
        assert parse_timestamp(text) == pytest.approx(expected, rel=0, abs=1e-4)

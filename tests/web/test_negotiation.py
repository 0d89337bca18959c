"""Which Accept headers get which format, and who gets gzip."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gotk_exporter.metrics.exposition import Format
from gotk_exporter.web.negotiation import accepts_gzip, choose_format

TEXT, OPENMETRICS = Format.TEXT, Format.OPENMETRICS

# Recorded from the real ones.
PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_TEXT_0_0_4 = "text/plain;version=0.0.4;q=0.6,*/*;q=0.5"
PROMETHEUS_3_TEXT_1_0_0 = "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,*/*;q=0.5"
# From their documentation and source.
PROMETHEUS_3_PROTOBUF_FIRST = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6," + PROMETHEUS_3
)
PROMETHEUS_BEFORE_2_34 = "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
VMAGENT = "text/plain;version=0.0.4;q=1,*/*;q=0.1"
CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
CURL = "*/*"
JAVA = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"


@pytest.mark.parametrize(
    ("accept", "fmt"),
    [
        (PROMETHEUS_2_42, OPENMETRICS),
        (PROMETHEUS_3, OPENMETRICS),
        (PROMETHEUS_3_TEXT_0_0_4, TEXT),
        (PROMETHEUS_3_TEXT_1_0_0, TEXT),
        (PROMETHEUS_3_PROTOBUF_FIRST, OPENMETRICS),
        (PROMETHEUS_BEFORE_2_34, OPENMETRICS),
        (VMAGENT, TEXT),
        (CHROMIUM, TEXT),
        (CURL, TEXT),
        (JAVA, TEXT),
        # Nothing, nonsense, or nothing that we have: a page that a person can read.
        ("", TEXT),
        (" , ;;,", TEXT),
        ("openmetrics", TEXT),
        ("application/json", TEXT),
        ("text/html", TEXT),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily", TEXT),
        ("application/*", TEXT),
        # Versions.
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0", OPENMETRICS),
        ('application/openmetrics-text; version="1.0.0"; charset=utf-8', OPENMETRICS),
        ("Application/OpenMetrics-Text;Version=1.0.0", OPENMETRICS),
        ("application/openmetrics-text;version=2.0.0", TEXT),
        ("application/openmetrics-text;version=2.0.0,application/openmetrics-text;version=1.0.0;q=0.1", OPENMETRICS),
        ("text/plain;version=9,application/openmetrics-text;q=0.1", OPENMETRICS),
        # Qualities decide, whatever the order; among equals it is the first.
        ("text/plain;q=0.4,application/openmetrics-text;q=0.5", OPENMETRICS),
        ("application/openmetrics-text;q=0.4,text/plain;q=0.5", TEXT),
        ("application/openmetrics-text;q=0.4,text/*;q=0.5", TEXT),
        ("application/openmetrics-text,text/plain", OPENMETRICS),
        ("text/plain,application/openmetrics-text", TEXT),
        ("application/openmetrics-text,*/*", OPENMETRICS),
        ("text/plain;q=0.1,application/openmetrics-text;version=1.0.0;q=0.2,text/plain;version=0.0.4;q=0.3", TEXT),
        # The most specific range that names the text format says how much it is wanted (RFC 9110, 12.5.1).
        ("*/*,text/plain;q=0.1,application/openmetrics-text;q=0.2", OPENMETRICS),
        ("text/*;q=0.1,*/*,application/openmetrics-text;q=0.2", OPENMETRICS),
        # Refused.
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=0,text/plain;q=0", TEXT),
        ("text/plain;q=0,application/openmetrics-text;q=0.001", OPENMETRICS),
        # Qualities that are none: not wanted.
        ("application/openmetrics-text;q=high", TEXT),
        ("application/openmetrics-text;q=nan", TEXT),
        ("application/openmetrics-text;q=inf", TEXT),
        ("application/openmetrics-text;q=-1", TEXT),
        ("application/openmetrics-text;q=2", TEXT),
        ("application/openmetrics-text;q=1_0", TEXT),
        ("application/openmetrics-text;q=", TEXT),
        ("application/openmetrics-text; q = 1.000", OPENMETRICS),
        ("application/openmetrics-text;q=0.,text/plain;q=.5", TEXT),
    ],
)
def test_format_is_what_the_scraper_prefers(accept: str, fmt: Format) -> None:
    assert choose_format(accept) is fmt


@pytest.mark.parametrize(
    ("accept_encoding", "accepted"),
    [
        ("gzip", True),  # Prometheus
        ("gzip, deflate, br, zstd", True),  # browsers
        ("GZIP", True),
        ("x-gzip", True),
        ("*", True),
        ("*;q=0.1", True),
        ("identity;q=0, *", True),
        ("deflate, gzip;q=0.5", True),
        ("gzip;q=0.5, identity;q=0.5", True),
        ("gzip;q=1, identity;q=0.5", True),
        ("", False),
        ("identity", False),
        ("deflate, br", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("gzip;q=0.5, identity", False),
        ("*;q=0.5, identity", False),
        ("gzip;q=nonsense", False),
        ("gzipped", False),
    ],
)
def test_gzip_is_for_those_who_take_it(accept_encoding: str, accepted: bool) -> None:
    assert accepts_gzip(accept_encoding) is accepted


header_text = st.text() | st.lists(
    st.sampled_from(
        [
            "application/openmetrics-text",
            "text/plain",
            "*/*",
            "gzip",
            ";q=",
            "0.5",
            "nan",
            ";version=",
            "1.0.0",
            ",",
            " ",
        ]
    )
).map("".join)


@settings(deadline=None)
@given(header=header_text)
@example("application/openmetrics-text;q=nan,text/plain;q=nan")
def test_no_header_breaks_the_choice_and_openmetrics_is_for_those_who_name_it(header: str) -> None:
    assert isinstance(accepts_gzip(header), bool)
    if "application/openmetrics-text" not in header.lower():
        assert choose_format(header) is TEXT


qualities = st.sampled_from(["0", "0.1", "0.25", "0.5", "1"])


@settings(deadline=None)
@given(openmetrics=qualities, text=qualities, openmetrics_first=st.booleans())
def test_higher_quality_wins_in_either_order(openmetrics: str, text: str, openmetrics_first: bool) -> None:
    ranges = [f"application/openmetrics-text;version=1.0.0;q={openmetrics}", f"text/plain;version=0.0.4;q={text}"]
    chosen = choose_format(",".join(ranges if openmetrics_first else ranges[::-1]))
    if float(openmetrics) != float(text):
        assert chosen is (OPENMETRICS if float(openmetrics) > float(text) else TEXT)
    else:
        assert chosen is (OPENMETRICS if openmetrics_first and float(openmetrics) > 0 else TEXT)

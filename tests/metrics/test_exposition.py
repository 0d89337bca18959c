"""Whatever a label value, a number or a help text holds, readers that are not ours get it back from the page."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gotk_exporter.metrics.exposition import MAX_LABEL_VALUE_CHARS, Format, format_value, header, label_text, line
from gotk_exporter.metrics.families import RESOURCE_CONDITION, SUSPEND_STATUS, Family
from tests.metrics.hostile import HOSTILE_JSON, HOSTILE_VALUES, REPLACEMENT
from tests.metrics.pages import families_of, page, promtool_check, series_of

FORMATS = pytest.mark.parametrize("fmt", Format, ids=lambda fmt: fmt.name.lower())
PROMTOOLS = pytest.mark.parametrize("promtool", ["promtool-2", "promtool-3"])

hostile_text = st.text(
    st.one_of(st.sampled_from('"\\\n\r\0{},= #\u2028\ud800\udfff'), st.characters(exclude_categories=())),
    max_size=40,
)


def read_back(value: str, fmt: Format) -> str:
    """The one label value on a page that holds nothing else."""
    ((_, labels, _),) = series_of(page(SUSPEND_STATUS, [({"name": value}, 1)], fmt), fmt)
    return labels["name"]


@FORMATS
@pytest.mark.parametrize("value", HOSTILE_VALUES, ids=ascii)
def test_hostile_value_is_read_back_as_it_was(value: str, fmt: Format) -> None:
    assert read_back(value, fmt) == value


@FORMATS
@pytest.mark.parametrize(("text", "readable"), HOSTILE_JSON)
def test_lone_surrogate_from_json_becomes_a_replacement_character(text: str, readable: str, fmt: Format) -> None:
    assert read_back(json.loads(text), fmt) == readable


@FORMATS
@settings(deadline=None)
@given(values=st.tuples(hostile_text, hostile_text, hostile_text))
def test_no_value_changes_another_label_or_the_number_behind_it(values: tuple[str, str, str], fmt: Format) -> None:
    labels = dict(zip(("kind", "name", "namespace"), values, strict=True))
    readable = {
        name: "".join(REPLACEMENT if "\ud800" <= char <= "\udfff" else char for char in value)
        for name, value in labels.items()
    }
    text = page(SUSPEND_STATUS, [(labels, 0), ({"name": "neighbour"}, 1)], fmt)
    assert text.encode()  # a lone surrogate would raise
    assert series_of(text, fmt) == [(SUSPEND_STATUS.name, readable, 0), (SUSPEND_STATUS.name, {"name": "neighbour"}, 1)]


@settings(deadline=None)
@given(value=hostile_text)
def test_a_label_value_with_a_newline_stays_one_line(value: str) -> None:
    assert line("up", label_text([("name", f"{value}\n{value}")]), 1).count("\n") == 1


@FORMATS
@pytest.mark.parametrize("char", ["x", "é", "😀", '"', "\n", "\ud800"], ids=ascii)
def test_only_values_longer_than_the_bound_are_cut(char: str, fmt: Format) -> None:
    shown = REPLACEMENT if char == "\ud800" else char
    assert read_back(char * MAX_LABEL_VALUE_CHARS, fmt) == shown * MAX_LABEL_VALUE_CHARS
    cut = read_back(char * (MAX_LABEL_VALUE_CHARS + 1), fmt)
    assert cut == shown * (MAX_LABEL_VALUE_CHARS - 1) + "…"
    assert read_back(char * 1_000_000, fmt) == cut


@FORMATS
@settings(deadline=None)
@given(value=st.floats() | st.integers(-(2**1023), 2**1023) | st.booleans())
def test_number_is_read_back_as_the_same_float(value: float, fmt: Format) -> None:
    ((_, _, read),) = series_of(page(SUSPEND_STATUS, [({"name": "n"}, value)], fmt), fmt)
    assert float(read).hex() == float(value).hex()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1"),
        (True, "1"),
        (-1, "-1"),
        (1.0, "1.0"),
        (0.1, "0.1"),
        (1e300, "1e+300"),
        (1_763_740_800, "1763740800"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_number_is_written_as_both_formats_spell_it(value: float, text: str) -> None:
    assert format_value(value) == text


@FORMATS
@pytest.mark.parametrize("help_text", ["plain.", 'with "quotes".', "with \\ and \\n.", "two\nlines.", "é 漢字 😀."])
def test_help_and_type_are_read_back(help_text: str, fmt: Format) -> None:
    family = Family("gotk_example", "gauge", help_text, ("name",))
    (read,) = families_of(page(family, [({"name": "n"}, 1)], fmt), fmt)
    assert (read.name, read.type, read.documentation) == ("gotk_example", "gauge", help_text)


@FORMATS
def test_a_counter_is_read_back_as_one(fmt: Format) -> None:
    """Its family has another name in OpenMetrics; its samples have the same."""
    family = Family("gotk_example_total", "counter", "Help.", ("name",))
    (read,) = families_of(page(family, [({"name": "n"}, 3)], fmt), fmt)
    assert read.type == "counter"
    assert [(sample.name, sample.value) for sample in read.samples] == [("gotk_example_total", 3)]


def test_help_is_escaped_as_each_format_wants_it() -> None:
    family = Family("gotk_example", "gauge", 'a "quoted" \\ word\nand a line.', ())
    assert [header(family, fmt).decode().splitlines()[0] for fmt in (Format.TEXT, Format.OPENMETRICS)] == [
        r'# HELP gotk_example a "quoted" \\ word\nand a line.',
        r"# HELP gotk_example a \"quoted\" \\ word\nand a line.",
    ]


def test_sample_line_is_the_same_in_both_formats() -> None:
    text, openmetrics = (page(RESOURCE_CONDITION, [({"name": v}, 1.5) for v in HOSTILE_VALUES], fmt) for fmt in Format)
    lines = [[row for row in shown.split("\n") if not row.startswith("# ")] for shown in (text, openmetrics)]
    assert lines[0] == lines[1]
    assert len(lines[0]) == len(HOSTILE_VALUES) + 1


@PROMTOOLS
def test_promtool_accepts_a_page_of_hostile_values(promtool: str, require_peer: Callable[[str], Path]) -> None:
    values = [*HOSTILE_VALUES, *(json.loads(text) for text, _ in HOSTILE_JSON), "x" * 5000, "\U0010ffff" * 5000]
    series = [({"kind": f"Case{n}", "name": v, "namespace": v}, n) for n, v in enumerate(values)]
    text = page(SUSPEND_STATUS, series, Format.TEXT)
    assert promtool_check(require_peer(promtool), text) == (0, "")


@PROMTOOLS
@pytest.mark.parametrize("raw", ['"', "\\", "\n"], ids=ascii)
def test_promtool_would_notice_a_value_that_is_not_escaped(
    raw: str, promtool: str, require_peer: Callable[[str], Path]
) -> None:
    text = page(SUSPEND_STATUS, [({"name": "VALUE"}, 1)], Format.TEXT).replace("VALUE", raw)
    code, complaint = promtool_check(require_peer(promtool), text)
    assert (code, "parsing error" in complaint) == (1, True), complaint

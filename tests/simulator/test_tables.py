"""Cells of tables: ages and the JSONPaths of printer columns, in kubectl's words."""

from __future__ import annotations

from typing import Any

import pytest

from gotk_exporter.simulator.http.tables import cells, human_duration
from gotk_exporter.simulator.state.served import AGE, Column


# From the tests of k8s.io/apimachinery, pkg/util/duration.
@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-1, "0s"),
        (-2, "<invalid>"),
        (70, "70s"),
        (119, "119s"),
        (120, "2m"),
        (190, "3m10s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 180, "3h3m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (49 * 3600, "2d1h"),
        (9 * 86400, "9d"),
        (400 * 86400, "400d"),
        (730 * 86400, "2y"),
        (830 * 86400, "2y100d"),
        (3000 * 86400, "8y"),
    ],
)
def test_an_age_is_the_coarser_the_longer_it_is(seconds: int, text: str) -> None:
    assert human_duration(seconds) == text


@pytest.mark.parametrize(
    ("path", "type_", "cell"),
    [
        (".spec.size", "integer", 3),
        (".spec.size", "string", "3"),
        (".spec.on", "boolean", True),
        (".spec.on", "string", "true"),
        (".spec.missing.below", "string", None),
        (".spec.parts[0]", "string", "x"),
        (".spec.parts[7]", "string", None),
        (".spec.parts[*]", "string", "x,y"),
        ('.status.conditions[?(@.type=="Ready")].status', "string", "True"),
        (".status.conditions[?(@.type == 'Stalled')].status", "string", None),
        (".metadata.annotations.a\\.b/c", "string", "dotted"),
        (".spec.null", "string", None),
        (".spec.bad", "date", "<invalid>"),
    ],
)
def test_a_cell_is_what_the_columns_path_finds(path: str, type_: str, cell: Any) -> None:
    document = {
        "metadata": {"name": "one", "annotations": {"a.b/c": "dotted"}},
        "spec": {"size": 3, "on": True, "parts": ["x", "y"], "null": None, "bad": "yesterday"},
        "status": {"conditions": [{"type": "Other", "status": "?"}, {"type": "Ready", "status": "True"}]},
    }
    assert cells(document, [Column("Any", path, type_)], 0) == ["one", cell]


def test_age_is_counted_from_creation_to_now() -> None:
    document = {"metadata": {"name": "one", "creationTimestamp": "1970-01-01T00:01:00Z"}}
    assert cells(document, [AGE], 60 + 7200) == ["one", "120m"]

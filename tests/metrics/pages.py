"""Pages as text, and the outside readers that take them apart again. Knows nothing of the store."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from gotk_exporter.metrics.exposition import Format, header, label_text, line
from gotk_exporter.metrics.families import Family

PROMTOOL_SECONDS = 30

_PARSERS: Mapping[Format, Callable[[str], Iterable[Metric]]] = {
    Format.TEXT: parse_text,
    Format.OPENMETRICS: parse_openmetrics,
}


def page(family: Family, series: Iterable[tuple[Mapping[str, str], float]], fmt: Format) -> str:
    """One family with these series: labels and value."""
    lines = "".join(line(family.name, label_text(labels.items()), value) for labels, value in series)
    return header(family, fmt).decode() + lines + end_mark(fmt)


def end_mark(fmt: Format) -> str:
    return "# EOF\n" if fmt is Format.OPENMETRICS else ""


def families_of(text: str, fmt: Format) -> list[Metric]:
    """What prometheus_client's parser of this format reads."""
    return list(_PARSERS[fmt](text))


def series_of(text: str, fmt: Format) -> list[tuple[str, dict[str, str], float]]:
    """Every sample on the page: name, labels, value."""
    return [
        (sample.name, sample.labels, sample.value) for family in families_of(text, fmt) for sample in family.samples
    ]


def promtool_check(promtool: Path, text: str) -> tuple[int, str]:
    """Exit code and complaints of ``promtool check metrics``: 0 accepted, 1 unreadable, 3 against the conventions."""
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text.encode(), capture_output=True, timeout=PROMTOOL_SECONDS, check=False
    )
    return done.returncode, (done.stdout + done.stderr).decode()

"""How samples are written: text format 0.0.4 and OpenMetrics 1.0.

A sample's bytes are the same in both formats, so that a store renders each object once and serves either; only the
lines around them (HELP, TYPE, the end mark) differ. Everything exported from objects is a gauge or a counter for that
reason: the samples of an info family have other names in OpenMetrics than in the text format.

References: prometheus.io, "Exposition formats"; OpenMetrics 1.0 (prometheus/docs, specs/om).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable

from gotk_exporter.metrics.families import Family

MAX_LABEL_VALUE_CHARS = 1024
"""Longer label values are cut: nothing in Kubernetes that is worth a label is longer (a name has at most 253), and one
absurd field must not make the whole page absurd."""

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Format(enum.Enum):
    """A format that can be asked for, with the Content-Type that announces it."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

    @property
    def content_type(self) -> str:
        return self.value


_ESCAPES = {
    ord("\\"): r"\\",
    ord('"'): r"\"",
    ord("\n"): r"\n",
    # Lone surrogates, which JSON can carry, have no UTF-8 form: one of them would cost the user the whole page. Every
    # other character goes through as it is, control characters and NUL too (read back from Prometheus 2.42 and 3.x).
    **dict.fromkeys(range(0xD800, 0xE000), REPLACEMENT),
}


def escape_label_value(value: str) -> str:
    """``value`` as it stands between the quotes: bounded, escaped, and always encodable as UTF-8."""
    if len(value) > MAX_LABEL_VALUE_CHARS:
        value = value[: MAX_LABEL_VALUE_CHARS - 1] + "…"
    # Nearly all values; a line end or a lone surrogate is not printable.
    if value.isprintable() and '"' not in value and "\\" not in value:
        return value
    return value.translate(_ESCAPES)


def label_text(labels: Iterable[tuple[str, str]]) -> str:
    """The text between the braces. Label names are ours and need no check; values are anybody's."""
    return ",".join(f'{name}="{escape_label_value(value)}"' for name, value in labels)


def format_value(value: float) -> str:
    """A sample value that both formats read back as the same float64."""
    if isinstance(value, int):
        return str(int(value))  # a bool is an int whose str() is no number
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def line(name: str, labels: str, value: float) -> str:
    """One sample line; ``labels`` is what ``label_text`` gave."""
    return f"{name}{{{labels}}} {format_value(value)}\n"


def header(family: Family, fmt: Format) -> bytes:
    """The HELP and TYPE lines before a family's samples."""
    name, help_text = family.name, family.help.replace("\\", r"\\").replace("\n", r"\n")
    if fmt is Format.OPENMETRICS:
        # There a counter's family is called without what its samples end in.
        name = name.removesuffix("_total") if family.type == "counter" else name
        help_text = help_text.replace('"', r"\"")
    return f"# HELP {name} {help_text}\n# TYPE {name} {family.type}\n".encode()

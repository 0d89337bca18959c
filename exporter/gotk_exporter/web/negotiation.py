"""Which format and encoding does a scraper want? Headers in, a choice out; no I/O.

References: RFC 9110, sections 12.4.2, 12.5.1 and 12.5.3; prometheus.io, "Content negotiation".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gotk_exporter.metrics.exposition import Format

_OPENMETRICS = "application/openmetrics-text"
_TEXT = ("text/plain", "text/*", "*/*")
"""The ranges that the text format falls into, the most specific first. OpenMetrics has none but its own name: who does
not name it does not know it."""

_VERSIONS: dict[str, tuple[str, ...]] = {
    # 0.0.1 is what Prometheus before 2.34 asked for, and reads as 1.0.0.
    _OPENMETRICS: ("1.0.0", "0.0.1"),
    # 1.0.0 is 0.0.4 plus quoted names, which we never need.
    "text/plain": ("0.0.4", "1.0.0"),
}
"""The versions that we can serve. Without a version we may choose one."""


def choose_format(accept: str) -> Format:
    """OpenMetrics 1.0 where the scraper prefers it, the text format otherwise (also for an Accept that we cannot serve:
    a page that a person can read beats a 406)."""
    # By media range, how much it is wanted: its quality, and of equals the one that comes first.
    wanted: dict[str, tuple[float, int]] = {}
    for position, (media_range, parameters, quality) in enumerate(_preferences(accept)):
        version = parameters.get("version")
        if version is None or version in _VERSIONS.get(media_range, ()):
            wanted[media_range] = max((quality, -position), wanted.get(media_range, (0.0, -position)))
    openmetrics = wanted.get(_OPENMETRICS, (0.0, 0))
    text = next((wanted[media_range] for media_range in _TEXT if media_range in wanted), (0.0, 0))
    return Format.OPENMETRICS if openmetrics[0] > 0 and openmetrics > text else Format.TEXT


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether the client takes gzip, and does not like the plain body better."""
    qualities = {coding: quality for coding, _, quality in _preferences(accept_encoding)}
    gzip = next((qualities[coding] for coding in ("gzip", "x-gzip", "*") if coding in qualities), 0.0)
    return gzip > 0 and gzip >= qualities.get("identity", 0.0)


def _preferences(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for part in header.split(","):
        name, *rest = (piece.strip() for piece in part.split(";"))
        pairs = (piece.partition("=") for piece in rest)
        parameters = {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}
        if name:
            yield name.lower(), parameters, _quality(parameters.get("q", "1"))


_QUALITY = re.compile(r"0?\.\d+|0\.?|1(\.0*)?", re.ASCII)
"""As RFC 9110 has it, but for Java's ".2". float() alone would take "nan" and "1_0"."""


def _quality(text: str) -> float:
    """What cannot be read is not wanted."""
    return float(text) if _QUALITY.fullmatch(text) else 0.0

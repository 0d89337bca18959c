"""Go durations ("1h30m0s") in seconds. Nothing else: dates and Kubernetes quantities are other languages.

Reference: pkg.go.dev/time, ParseDuration.
"""

from __future__ import annotations

import functools
import re

_UNIT_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "\N{MICRO SIGN}s": 10**3,
    "\N{GREEK SMALL LETTER MU}s": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_TERM = re.compile(rf"(?=\.?[0-9])([0-9]*)(?:\.([0-9]*))?({'|'.join(_UNIT_NANOSECONDS)})")
_MAX_NANOSECONDS = 2**63 - 1
"""Go holds a duration in 64 bits: about 292 years."""


def parse_duration(text: str) -> float | None:
    """Seconds, or None where Go would refuse the text."""
    return _parse(text) if len(text) <= _USUAL_CHARS else _parse.__wrapped__(text)


_USUAL_CHARS = 32
"""What is longer nobody writes twice, and it is not remembered."""


@functools.lru_cache(maxsize=2048)
def _parse(text: str) -> float | None:
    negative = text.startswith("-")
    body = text[1:] if text[:1] in ("-", "+") else text
    if body == "0":
        return 0.0
    total, position = 0, 0
    while position < len(body):
        term = _TERM.match(body, position)
        if term is None:
            return None
        total += _nanoseconds(*term.groups(""))
        position = term.end()
    if position == 0 or total > _MAX_NANOSECONDS + negative:
        return None
    return (-total if negative else total) / 10**9


def _nanoseconds(whole: str, fraction: str, unit: str) -> int:
    scale = _UNIT_NANOSECONDS[unit]
    # Numbers of more digits are out of range in any unit, and Python refuses to read the very long ones.
    nanoseconds = scale * int((whole.lstrip("0") or "0")[:20])
    # As Go does it: as many digits as 64 bits hold, then binary floating point, then cut.
    numerator, denominator = 0, 1.0
    for digit in fraction:
        longer = 10 * numerator + int(digit)
        if longer > _MAX_NANOSECONDS:
            break
        numerator, denominator = longer, denominator * 10
    return nanoseconds + int(numerator * (scale / denominator))

"""Kubernetes timestamps (RFC 3339, "2026-11-20T08:15:03Z") in Unix seconds. It reads no clock."""

from __future__ import annotations

import calendar
import functools
import re

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(\.\d{1,9})?\d*(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def parse_timestamp(text: str | None) -> float | None:
    """Unix seconds, or None where there is no text or the text is no timestamp."""
    # As Kubernetes writes nearly all of them, of which each object has a dozen.
    if text is not None and len(text) == 20 and text[10] == "T" and text[13] == text[16] == ":" and text[19] == "Z":
        midnight, clock = _midnight(text[:10]), text[11:13] + text[14:16] + text[17:19]
        if midnight is not None and clock.isascii() and clock.isdigit():
            hour, minute, second = int(clock[:2]), int(clock[2:4]), int(clock[4:])
            if hour < 24 and minute < 60 and second < 60:
                return midnight + 3600.0 * hour + 60.0 * minute + second
    return _parse(text)


@functools.lru_cache(maxsize=512)
def _midnight(date: str) -> float | None:
    """Of a day in UTC; fleets are made and reconciled in few of them."""
    return _parse(f"{date}T00:00:00Z")


def _parse(text: str | None) -> float | None:
    match = _RFC3339.fullmatch(text) if text else None
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.group(1, 2, 3, 4, 5, 6))
    if not (year and 1 <= month <= 12 and 1 <= day <= _MONTH_DAYS[month - 1]):
        return None
    # A leap second is one too many for any clock of ours, but no reason to forget the whole time.
    if not (hour < 24 and minute < 60 and second <= 60):
        return None
    seconds = float(calendar.timegm((year, month, day, hour, minute, second)))
    fraction, sign, offset_hours, offset_minutes = match.group(7, 8, 9, 10)
    if fraction:
        seconds += float(fraction)
    if sign:
        offset = 3600 * int(offset_hours) + 60 * int(offset_minutes)
        seconds += -offset if sign == "+" else offset
    return seconds

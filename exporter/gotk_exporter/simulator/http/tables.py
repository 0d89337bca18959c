"""Tables as kubectl prints them: columns and cells of objects, by the JSONPaths of the kind's printer columns.

Reference: kubernetes.io, API concepts, "Receiving resources as Tables"; k8s.io/apimachinery, pkg/util/duration.
"""

from __future__ import annotations

import calendar
import functools
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

from gotk_exporter.simulator.state.objects import Document
from gotk_exporter.simulator.state.served import Column

_NAME = {"name": "Name", "type": "string", "format": "name", "description": "Name of the object", "priority": 0}


def definitions(columns: Iterable[Column]) -> list[dict[str, Any]]:
    """columnDefinitions: the name's, and those of the kind."""
    return [
        _NAME,
        *(
            {
                "name": column.name,
                "type": column.type,
                "format": "",
                "description": column.description,
                "priority": column.priority,
            }
            for column in columns
        ),
    ]


def cells(document: Document, columns: Iterable[Column], now: float) -> list[Any]:
    """One row, the name first. ``now``: Unix time, for ages."""
    return [document["metadata"]["name"], *(_cell(document, column, now) for column in columns)]


def _cell(document: Document, column: Column, now: float) -> Any:
    found = _find(document, column.path)
    if not found:
        return None
    if column.type == "date":
        return _age(found[0], now)
    if column.type == "string":
        return ",".join(one if isinstance(one, str) else _plain(one) for one in found)
    return found[0]


def _plain(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


_STEP = re.compile(
    r"""\.(?P<name>(?:\\.|[^.\[\]\\])+)
    |\[\?\(@\.(?P<key>[\w.]+)\s*==\s*(?P<quote>["'])(?P<value>.*?)(?P=quote)\)]
    |\['(?P<quoted>[^']+)']
    |\[(?P<index>\d+)]
    |\[(?P<all>\*)]""",
    re.VERBOSE,
)


@functools.lru_cache(maxsize=256)
def _steps(path: str) -> Sequence[re.Match[str]]:
    return tuple(_STEP.finditer(path))


def _find(document: Any, path: str) -> list[Any]:
    """All values at ``path``, of the JSONPath that printer columns use: names, indexes, [*] and [?(@.x=="y")]."""
    found = [document]
    for step in _steps(path):
        found = [below for value in found for below in _below(value, step)]
    return [value for value in found if value is not None]


def _below(value: Any, step: re.Match[str]) -> Iterable[Any]:
    part = step.groupdict()
    if (name := part["name"] or part["quoted"]) is not None:
        name = name.replace("\\", "")
        return [value[name]] if isinstance(value, dict) and name in value else []
    if not isinstance(value, list):
        return []
    if part["all"]:
        return value
    if part["index"] is not None:
        index = int(part["index"])
        return value[index : index + 1]
    return [one for one in value if isinstance(one, dict) and str(one.get(part["key"])) == part["value"]]


def _age(value: Any, now: float) -> str:
    try:
        then = calendar.timegm(time.strptime(str(value).partition(".")[0].rstrip("Z"), "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return "<invalid>"
    return human_duration(now - then)


_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365 * 86400
_UNITS: tuple[tuple[float, int, str, int, str], ...] = (
    (2 * _MINUTE, 1, "s", 0, ""),
    (10 * _MINUTE, _MINUTE, "m", 1, "s"),
    (3 * _HOUR, _MINUTE, "m", 0, ""),
    (8 * _HOUR, _HOUR, "h", _MINUTE, "m"),
    (2 * _DAY, _HOUR, "h", 0, ""),
    (8 * _DAY, _DAY, "d", _HOUR, "h"),
    (2 * _YEAR, _DAY, "d", 0, ""),
    (8 * _YEAR, _YEAR, "y", _DAY, "d"),
    (float("inf"), _YEAR, "y", 0, ""),
)
"""Below how many seconds, in which unit, and with which smaller one (0: none)."""


def human_duration(seconds: float) -> str:
    """As kubectl writes an age: the coarser, the longer it is."""
    whole = int(seconds)
    if whole < 0:
        # Clocks differ by a little; by more, something is wrong.
        return "0s" if whole >= -1 else "<invalid>"
    for below, unit, name, small_unit, small_name in _UNITS:
        if whole < below:
            rest = whole % unit // small_unit if small_unit else 0
            return f"{whole // unit}{name}" + (f"{rest}{small_name}" if rest else "")
    raise AssertionError("the last row has no bound")

"""Figures as rows, whoever measured them: told as a table while they come, and kept for JSON.

A measurement adds rows to a Report and knows neither of the two forms; see MEASUREMENTS in __main__.py for a new one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """A bound that the figure is held against."""

    limit: float
    at_least: bool = False

    def __str__(self) -> str:
        return f"at {'least' if self.at_least else 'most'} {self.limit:g}"

    def met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Row:
    """One figure."""

    name: str
    value: float
    unit: str = ""
    """As the value is meant: s, ms, us, MB (10^6 bytes), kB; empty for a count."""
    target: Target | None = None
    """Of the ratio, where there is one."""
    ratio_of: str | None = None
    """What the value is divided by: an earlier row of the same report, by name, of the same unit."""
    note: str = ""


class Report:
    """The rows of one run under one set of conditions."""

    def __init__(self, title: str, conditions: Mapping[str, Any], tell: Callable[[str], None] = print) -> None:
        self.conditions = dict(conditions)
        self.rows: dict[str, Row] = {}
        self.notes: list[str] = []
        self._title = title
        self._tell = tell
        tell(f"\n{title}")

    def add(self, row: Row) -> None:
        """Tell the row and keep it.

        Raises:
            ValueError: there is one of that name already, or what it is divided by is of another unit.
            KeyError: what it is divided by is not there.
        """
        if row.name in self.rows:
            raise ValueError(f"two rows are named {row.name!r}; name what is different about them")
        if row.ratio_of is not None and self.rows[row.ratio_of].unit != row.unit:
            raise ValueError(f"{row.name!r} is in {row.unit!r}, and {row.ratio_of!r} is not")
        self.rows[row.name] = row
        self._tell(self._line(row))

    def condition(self, name: str, value: Any) -> None:
        """Something about the run that is no figure of it."""
        self.conditions[name] = value
        self._tell(f"  {name}: {value}")

    def note(self, text: str) -> None:
        """What a reader of the figures must know: something that was not measured, or not as usual."""
        self.notes.append(text)
        self._tell(f"  note: {text}")

    def ratio(self, row: Row) -> float | None:
        return None if row.ratio_of is None else row.value / self.rows[row.ratio_of].value

    def met(self, row: Row) -> bool | None:
        """Whether the target is met; None where there is none."""
        if row.target is None:
            return None
        ratio = self.ratio(row)
        return row.target.met(row.value if ratio is None else ratio)

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "title": self._title,
            "conditions": self.conditions,
            "notes": self.notes,
            "rows": [
                {
                    "name": row.name,
                    "value": row.value,
                    "unit": row.unit,
                    "ratio": self.ratio(row),
                    "ratio_of": row.ratio_of,
                    "target": None if row.target is None else str(row.target),
                    "met": self.met(row),
                    "note": row.note,
                }
                for row in self.rows.values()
            ],
        }

    def _line(self, row: Row) -> str:
        ratio = self.ratio(row)
        more = [
            "" if ratio is None else f"{significant(ratio)} x {row.ratio_of}",
            "" if row.target is None else f"target: {row.target}{'' if self.met(row) else ', MISSED'}",
            row.note,
        ]
        return f"  {row.name:<54} {significant(row.value):>9} {row.unit:<3}  {'; '.join(filter(None, more))}".rstrip()


def significant(value: float) -> str:
    """Three digits that mean something, and no exponent: 0.0123, 1.23, 123, 12345."""
    if not value:
        return "0"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"

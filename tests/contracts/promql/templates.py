"""What an annotation reads: labels of its alert, and queries with the labels of their results.

Follows the part of Go's templates that the pack uses; of anything else it says so.
Reference: prometheus.io, "Template reference".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_STRING = r'"((?:\\.|[^"\\])*)"'
_PRINTF = re.compile(rf"printf\s+{_STRING}((?:\s+\$[\w.]+)*)")
_LABEL = re.compile(r"\$labels\.(\w+)")
_OPENING = {"if", "with", "range"}
PLACEHOLDER = "any"

Dot = Literal["", "series", "labels"]
"""What the dot is: series of a query (or one of them), the labels of one, or something else."""


class NotFollowed(Exception):
    """The template uses what this module does not know."""


@dataclass(frozen=True, slots=True)
class Use:
    """Of a label of the alert."""

    label: str
    present: frozenset[str] = frozenset()
    """Labels that a with or an if around it has found."""
    absent: frozenset[str] = frozenset()
    printed: bool = True
    """Otherwise it is asked for by a with or an if, or is the value of a matcher: none fits there too."""


@dataclass(slots=True)
class Query:
    text: str
    labels: set[str] = field(default_factory=set)
    """What is read of its results."""


@dataclass(slots=True)
class Template:
    uses: list[Use] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)


@dataclass(slots=True)
class _Block:
    word: str
    guard: str | None
    query: Query | None
    dot: Dot
    in_else: bool = False


def read(text: str) -> Template:
    """Raises NotFollowed."""
    reading = _Reading()
    for action in _ACTION.findall(text):
        reading.take(action)
    if reading.blocks:
        raise NotFollowed("a block without its end")
    return reading.template


class _Reading:
    def __init__(self) -> None:
        self.template = Template()
        self.blocks: list[_Block] = []
        self._variables: dict[str, str] = {}

    def take(self, action: str) -> None:
        word, _, rest = action.partition(" ")
        if word == "end":
            self.blocks.pop()
        elif word == "else":
            if rest:
                raise NotFollowed(f"else {rest}")
            self.blocks[-1].in_else = True
        elif word in _OPENING:
            self._labels(rest, guards=True)
            self.blocks.append(self._block(word, rest))
        elif word in ("define", "template", "block"):
            raise NotFollowed(word)
        else:
            self._assigned(action)
            self._labels(action, guards=False)
            self._query(action)

    def _block(self, word: str, rest: str) -> _Block:
        found = _LABEL.fullmatch(rest)
        query = self._query(rest)
        around = self._dot()
        dot: Dot = ""
        if query is not None and word != "if":
            dot = "series"
        elif around[0] is not None and re.fullmatch(r"(\(first \.\))?\.Labels", rest):
            query, dot = around[0], "labels"
        elif word == "if":
            query, dot = around
        return _Block(word, found[1] if found else None, query, dot)

    def _dot(self) -> tuple[Query | None, Dot]:
        # The else of a with leaves the dot as it was.
        inner = [block for block in self.blocks if not block.in_else]
        return (inner[-1].query, inner[-1].dot) if inner else (None, "")

    def _assigned(self, action: str) -> None:
        if found := re.match(r"(\$\w+)\s*:?=\s*(.*)", action, re.DOTALL):
            self._variables[found[1]] = self._printed(found[2])

    def _printed(self, pipeline: str) -> str:
        """What printf makes of it, with a placeholder for each label."""
        found = _PRINTF.search(pipeline)
        if found is None:
            plain = re.match(_STRING, pipeline) or re.match(rf"query\s+{_STRING}", pipeline)
            if plain is None:
                raise NotFollowed(pipeline)
            return plain[1]
        values = [self._variables.get(argument, PLACEHOLDER) for argument in found[2].split()]
        try:
            return found[1].replace('\\"', '"') % tuple(values)
        except (TypeError, ValueError):
            raise NotFollowed(pipeline) from None

    def _query(self, pipeline: str) -> Query | None:
        if not re.search(r"\bquery\b", re.sub(_STRING, "", pipeline)):
            return None
        query = Query(self._printed(pipeline))
        self.template.queries.append(query)
        return query

    def _labels(self, pipeline: str, *, guards: bool) -> None:
        present = frozenset(b.guard for b in self.blocks if b.guard is not None and not b.in_else)
        absent = frozenset(b.guard for b in self.blocks if b.guard is not None and b.in_else)
        for found in _LABEL.finditer(pipeline):
            is_matched = any(
                part.start() < found.start() < part.end() and "='%s'" in part[1] for part in _PRINTF.finditer(pipeline)
            )
            is_guard = guards and found[0] == pipeline
            self.template.uses.append(Use(found[1], present, absent, not (is_matched or is_guard)))
        query, dot = self._dot()
        # What $labels has is no label of the dot.
        rest = re.sub(_STRING, "", _LABEL.sub("", pipeline))
        if query is not None and dot == "series":
            query.labels |= set(re.findall(r"\.Labels\.(\w+)", rest))
        elif query is not None and dot == "labels":
            query.labels |= set(re.findall(r"(?<![\w)])\.(\w+)", rest))

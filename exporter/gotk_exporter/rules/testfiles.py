"""Files of rule unit tests: the rule files that they name, and the line of each case. Judges none: promtool does."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from gotk_exporter.rules.complaints import DeviationKind
from gotk_exporter.rules.nodes import Reading, Unreadable, documents, first_line, read_text

_DURATION = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")
_MILLISECONDS = (365 * 86_400_000, 7 * 86_400_000, 86_400_000, 3_600_000, 60_000, 1_000, 1)
_SEQUENCE, _STRING = "tag:yaml.org,2002:seq", "tag:yaml.org,2002:str"
MAX_FILES = 2_000
"""Rule files of one test."""


@dataclass(frozen=True, slots=True)
class Test:
    """A group of cases, with series of its own."""

    name: str
    """Or "number 2" where it has none."""
    line: int
    node: yaml.Node


@dataclass(frozen=True, slots=True)
class Case:
    number: int
    """Of its test, from 1."""
    line: int
    subject: str
    kind: DeviationKind
    at: int | None
    """Milliseconds."""


@dataclass(frozen=True, slots=True)
class TestFile:
    path: Path
    text: str
    root: yaml.Node
    tests: tuple[Test, ...]
    cases: tuple[Case, ...]
    patterns: tuple[tuple[str, int], ...]
    """What it says of its rule files, and on which line."""
    span: tuple[int, int]
    """Where in ``text`` it says so, from the end of the key on; (0, 0) where it does not."""

    def rule_files(self, pattern: str) -> list[Path]:
        """In the order in which promtool takes them: relative to the test file, with * and ? as in a shell."""
        joined = os.path.join(glob.escape(str(self.path.parent)), pattern)
        return [Path(found) for found in sorted(glob.glob(joined, include_hidden=True))[:MAX_FILES]]

    def naming(self, rule_files: Sequence[str]) -> str:
        """The test file with these in place of its rule files, and every other line where it is."""
        start, end = self.span
        if not end:
            return self.text
        # A block ends where the next key begins.
        lines = self.text.count("\n", start, end)
        return f"{self.text[:start]}: {json.dumps(list(rule_files))}" + "\n" * lines + self.text[end:]

    def alone(self, number: int, rule_files: Sequence[str]) -> str:
        """With one test only, on whatever lines."""
        assert isinstance(self.root, yaml.MappingNode)
        kept = [pair for pair in self.root.value if pair[0].value not in ("tests", "rule_files")]
        tests = yaml.SequenceNode(_SEQUENCE, [self.tests[number - 1].node])
        names = yaml.SequenceNode(_SEQUENCE, [yaml.ScalarNode(_STRING, name) for name in rule_files])
        pairs = [*kept, (yaml.ScalarNode(_STRING, "rule_files"), names), (yaml.ScalarNode(_STRING, "tests"), tests)]
        whole = yaml.MappingNode("tag:yaml.org,2002:map", pairs)
        return str(yaml.serialize(whole, Dumper=yaml.SafeDumper, allow_unicode=True))


def read(path: Path) -> TestFile:
    """Raises Unreadable."""
    text = read_text(path)
    nodes = documents(text)
    if not nodes:
        raise Unreadable("holds no tests")
    reading, node = Reading(), nodes[0]
    span = (0, 0)
    entry = reading.entries(node).get("rule_files")
    if entry is not None:
        span = (entry[0].end_mark.index, entry[1].end_mark.index)
    patterns = [
        (str(item.value), first_line(item))
        for item in reading.items(node, "rule_files")
        if isinstance(item, yaml.ScalarNode)
    ]
    tests = tuple(
        Test(reading.text(test, "name") or f"number {number}", first_line(test), test)
        for number, test in enumerate(reading.items(node, "tests"), 1)
    )
    if not tests and isinstance(node, yaml.MappingNode):
        raise Unreadable("holds no tests")
    cases = [case for number, test in enumerate(tests, 1) for case in _cases(reading, test.node, number)]
    return TestFile(path, text, node, tests, tuple(cases), tuple(patterns), span)


def _cases(reading: Reading, test: yaml.Node, number: int) -> list[Case]:
    lists: tuple[tuple[str, str, DeviationKind], ...] = (
        ("alert_rule_test", "alertname", "alert"),
        ("promql_expr_test", "expr", "expression"),
    )
    return [
        Case(number, first_line(case), reading.text(case, key), kind, milliseconds(reading.text(case, "eval_time")))
        for items, key, kind in lists
        for case in reading.items(test, items)
    ]


def milliseconds(duration: str) -> int | None:
    """A duration as Prometheus writes it ("1h30m"); None where it would refuse it. An absent one is 0."""
    match = _DURATION.fullmatch(duration if duration != "0" else "")
    if match is None or len(duration) > 40:
        return None
    return sum(int(digits or 0) * unit for digits, unit in zip(match.groups(), _MILLISECONDS, strict=True))

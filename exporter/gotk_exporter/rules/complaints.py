"""What promtool writes on standard error, as data. Knows the words of promtool 2.37 to 3.x; starts nothing.

What it does not recognise it keeps, line by line: a complaint that nobody understands is still a complaint.
Reference: cmd/promtool and model/rulefmt in github.com/prometheus/prometheus.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

MAX_TEXT = 1_000
"""Characters of one complaint; the longest that we saw has 150."""
_STRING = r'"(?:[^"\\]|\\.)*"'
_RULE = re.compile(rf"(?:(\d{{1,9}}):\d+: )?(?:\d+:\d+: )?group ({_STRING}), rule (\d{{1,9}}), {_STRING}: (.*)")
_PLACE = re.compile(r"(\d{1,9}):\d+: (.*)")
_YAML_LINE = re.compile(r"(?:yaml: )?line (\d{1,9}): (.*)")
_UNKNOWN_FIELD = re.compile(r"field (.+) not found in type \S+")
_EXPRESSION = re.compile(r"could not parse expression: (\d{1,9}):\d+: ")
_LINT = re.compile(r"lint error \d+ duplicate rule\(s\) found\.")
_NAME = re.compile(r"    name: (.*),")
_ALERT = re.compile(r"    alertname: (.*), time: ([0-9a-z]+), ?")
_EXPR = re.compile(rf"    (expr|rule): ({_STRING}|.*), time: ([0-9a-z]+),(?: err: (.*))?")
_NOISE = re.compile(r"\s*|  FAILED:|time=\S+ level=WARN .*Multiple document yaml.*")
_FILE = re.compile(r"([\w-]+\.yaml): (.*)")
"""promtool is started beside the files, whose names we chose."""
_DECODING = "yaml: unmarshal errors:"
"""The head of a list of mistakes, which are indented, and of which only the head names the file."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """Of a rule or test file. Numbers are 0, and texts empty, where promtool says nothing."""

    file: str
    """As promtool was given it; empty: the file that it was to check or test."""
    line: int
    text: str
    group: str = ""
    rule: int = 0
    """Its number in the group, from 1."""
    expression_line: int = 0
    """The line within the expression that cannot be parsed."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Two rules that write the same series."""

    name: str
    labels: Mapping[str, str]


DeviationKind = Literal["alert", "expression", "rule"]
"""What was expected of an alert or of an expression, or a rule that could not be evaluated at all."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """One case of a unit test, whose outcome is not what the test says."""

    subject: str
    """The alert's name, the expression, or the rule's name."""
    kind: DeviationKind
    at: str
    """A duration as Prometheus writes it."""
    test: str
    """The name of its group of cases, which promtool gives for alerts only."""
    expected: str
    got: str
    text: str
    """In place of both: why it has no outcome."""


Said = Complaint | Duplicate | Deviation


def read(written: str) -> list[Said]:
    """Each thing once, although promtool decodes a file twice and may say it twice."""
    lines = written.split("\n")
    said: list[Said] = []
    seen: set[str] = set()
    position = 0
    while position < len(lines):
        position, found = _next(lines, position)
        for item in found:
            key = repr(item).lower() if isinstance(item, Complaint) else ""
            if key not in seen or not key:
                said.append(item)
            seen.add(key)
    return said


def _next(lines: list[str], position: int) -> tuple[int, list[Said]]:
    """What begins at ``position``, and where the next thing begins."""
    line = lines[position]
    if _NOISE.fullmatch(line):
        return position + 1, []
    file, text = _file(line)
    if text == _DECODING:
        end = position + 1
        while end < len(lines) and lines[end].startswith("  line "):
            end += 1
        return end, [_complaint(text, file) for text in lines[position + 1 : end]]
    if _LINT.fullmatch(line):
        end = _until(lines, position + 1, "Might cause ")
        return end + 1, list(_duplicates(lines[position + 1 : end]))
    name, after = "", position
    named = _NAME.fullmatch(line)
    if named is not None and position + 1 < len(lines):
        name, after = named[1], position + 1
    alert = _ALERT.fullmatch(lines[after])
    if alert is not None:
        end, expected, got = _outcome(lines, after + 1)
        return end, [Deviation(alert[1], "alert", alert[2], name, expected, got, "")]
    expression = _EXPR.fullmatch(lines[after])
    if expression is not None:
        end, expected, got = _outcome(lines, after + 1)
        kind: DeviationKind = "rule" if expression[1] == "rule" else "expression"
        why = _plain(expression[4] or "")
        return end, [Deviation(_unquoted(expression[2]), kind, expression[3], name, expected, got, why)]
    return position + 1, [_complaint(text, file)]


def _outcome(lines: list[str], position: int) -> tuple[int, str, str]:
    """The lines after a deviation's head, which are indented more deeply: what it expected and got."""
    end = position
    while end < len(lines) and lines[end].startswith("        "):
        end += 1
    block = [line[8:].rstrip() for line in lines[position:end]]
    starts = [number for number, line in enumerate(block) if line.startswith("got:")]
    half = starts[0] if starts else len(block)
    return end, _side(block[:half], "exp:"), _side(block[half:], "got:")


def _side(block: list[str], head: str) -> str:
    text = "\n".join(block).removeprefix(head).strip().removesuffix(",")
    if text in ("[]", "nil"):
        return "nothing"
    # Alerts come in brackets of several lines.
    return textwrap.dedent(text[2:-1]).strip() if text.startswith("[\n") and text.endswith("]") else text


def _duplicates(lines: list[str]) -> Iterator[Duplicate]:
    name, labels = "", dict[str, str]()
    for line in lines:
        if line.startswith("Metric: "):
            if name:
                yield Duplicate(name, labels)
            name, labels = line.removeprefix("Metric: "), {}
        elif line.startswith("\t"):
            key, _, value = line[1:].partition(": ")
            labels[key] = value
    if name:
        yield Duplicate(name, labels)


def _complaint(text: str, file: str) -> Complaint:
    rule = _RULE.fullmatch(text)
    if rule is not None:
        expression = _EXPRESSION.match(rule[4])
        return Complaint(
            file,
            int(rule[1] or 0),
            _plain(rule[4]),
            _unquoted(rule[2]),
            int(rule[3]),
            int(expression[1]) if expression else 0,
        )
    # Without a file in front, such numbers count in an expression or a series.
    place = _PLACE.fullmatch(text) if file else None
    place = place or _YAML_LINE.fullmatch(text.strip())
    if place is not None:
        return Complaint(file, int(place[1]), _plain(place[2]))
    return Complaint(file, 0, _plain(text))


def _file(line: str) -> tuple[str, str]:
    match = _FILE.match(line)
    return (match[1], match[2]) if match else ("", line)


def _plain(text: str) -> str:
    """In words that are the same in every version, and mention no Go."""
    text = text.strip()
    text = text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
    unknown = _UNKNOWN_FIELD.fullmatch(text)
    if unknown is not None:
        return f'unknown field "{unknown[1]}"'
    return re.sub(r" into (?:rulefmt|main)\.\w+$", "", text)


def _unquoted(text: str) -> str:
    """Go's quoting is Python's, as far as it is used here."""
    try:
        return str(ast.literal_eval(text)) if text.startswith('"') else text
    except (SyntaxError, ValueError):
        return text


def _until(lines: list[str], position: int, prefix: str) -> int:
    while position < len(lines) and not lines[position].startswith(prefix):
        position += 1
    return position

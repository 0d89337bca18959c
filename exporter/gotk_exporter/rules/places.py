"""Where in the user's file that is, of which promtool complains in the copy that it was given. Pure."""

from __future__ import annotations

import re
from pathlib import Path

from gotk_exporter.rules.complaints import Complaint, Deviation, Duplicate, Said
from gotk_exporter.rules.files import Document, Group, Problem, Rule
from gotk_exporter.rules.testfiles import Case, TestFile, milliseconds


def problems(path: Path, document: Document, said: Said) -> list[Problem]:
    if isinstance(said, Duplicate):
        return _repeated(path, document, said)
    if isinstance(said, Deviation):
        return []
    line = said.line if document.exact else 0
    if said.rule:
        found = _numbered(document, said.group, said.rule, line)
        if found is None:
            return [Problem(path, line, said.text, said.group)]
        group, rule = found
        return [Problem(path, _line_of(rule, line, said), said.text, group.name, rule.kind, rule.name)]
    repeated = re.fullmatch(r'groupname: "(.*)" is repeated in the same file', said.text)
    if repeated is not None:
        again = [group for group in document.groups if group.name == repeated[1]][1:]
        return [Problem(path, again[0].line if again else line, said.text, repeated[1])]
    if not line:
        line = _line_of_duration(document, said.text)
    return [_placed(path, document, line, said.text)]


def _numbered(document: Document, name: str, number: int, line: int) -> tuple[Group, Rule] | None:
    groups = [group for group in document.groups if group.name == name and len(group.rules) >= number]
    # Of two with one name, the one around that line.
    around = [group for group in groups if group.line <= line <= group.last_line]
    for group in around or groups:
        return group, group.rules[number - 1]
    return None


def _line_of(rule: Rule, line: int, said: Complaint) -> int:
    """Into a literal block where the expression is one, since its lines stand below each other in the file."""
    entry = rule.entries.get("expr")
    if said.expression_line and entry is not None:
        node = entry[1]
        return int(node.start_mark.line) + 1 + (said.expression_line if getattr(node, "style", "") == "|" else 0)
    return line or rule.line


def _placed(path: Path, document: Document, line: int, text: str) -> Problem:
    """With the group and the rule that stand on that line."""
    for group in document.groups:
        if group.line <= line <= group.last_line:
            for rule in group.rules:
                if rule.line <= line <= rule.last_line:
                    return Problem(path, line, text, group.name, rule.kind, rule.name)
            return Problem(path, line, text, group.name)
    return Problem(path, line, text)


def _line_of_duration(document: Document, text: str) -> int:
    """promtool quotes a duration that it does not understand, and does not say where it stands."""
    quoted = re.search(r'duration(?: string:)? "(.*)"$', text)
    if quoted is None:
        return 0
    for group in document.groups:
        for entries in (group.entries, *(rule.entries for rule in group.rules)):
            for key in ("interval", "query_offset", "for", "keep_firing_for"):
                entry = entries.get(key)
                if entry is not None and entry[1].value == quoted[1]:
                    return int(entry[1].start_mark.line) + 1
    return 0


def _repeated(path: Path, document: Document, said: Duplicate) -> list[Problem]:
    """Each of the rules but the first, which each of them names."""
    same = [
        (group, rule)
        for group in document.groups
        for rule in group.rules
        if rule.name == said.name and _labels(group) | _labels(rule) == dict(said.labels)
    ]
    if len(same) < 2:
        return [Problem(path, 0, f'"{said.name}" is there more than once with the same labels', name=said.name)]
    text = f"the same name and labels as the rule on line {same[0][1].line}"
    return [Problem(path, rule.line, text, group.name, rule.kind, rule.name) for group, rule in same[1:]]


def _labels(owner: Group | Rule) -> dict[str, str]:
    entry = owner.entries.get("labels")
    pairs = entry[1].value if entry is not None and isinstance(entry[1].value, list) else []
    # Prometheus drops empty labels.
    return {str(key.value): str(value.value) for key, value in pairs if value.value}


def cases(file: TestFile, said: Deviation) -> list[Case]:
    """Those that it may be: promtool names the test of an alert, and of an expression it does not."""
    at = milliseconds(said.at)
    return [
        case
        for case in file.cases
        if (case.kind, case.subject, case.at) == (said.kind, said.subject, at)
        and said.test in ("", file.tests[case.number - 1].name)
    ]


def unclear(file: TestFile, said: Deviation) -> bool:
    """Whether it may be of several tests, or of any."""
    return len(file.tests) > 1 and len({case.number for case in cases(file, said)}) != 1

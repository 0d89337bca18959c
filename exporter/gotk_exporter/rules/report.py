"""What a check and a test found, in words for a person or as JSON for a program."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gotk_exporter.rules.files import Problem
from gotk_exporter.rules.promtool import Checked, Failure, Promtool, Tested

MAX_SUBJECT = 160
"""Characters of an expression in a headline."""


def checked_text(results: Sequence[Checked], left_out: Sequence[Path], tool: Promtool) -> str:
    """One line for each problem, as compilers write them, and a summary."""
    lines = [_problem(problem) for result in results for problem in result.problems]
    count = len(lines)
    rules = sum(result.rules for result in results)
    bad = sum(bool(result.problems) for result in results)
    where = f" in {bad} of them" if len(results) > 1 else ""
    if left_out:
        lines.append(f"No rules in {', '.join(map(shown, left_out))}.")
    verdict = f"{_count(count, 'problem')}{where}" if count else "no problem"
    scope = f"{_count(rules, 'rule')} in {_count(len(results), 'file')}"
    lines.append(f"{scope}: {verdict} (promtool {tool.version}{_lint(tool)}).")
    return _printable(lines)


def checked_json(results: Sequence[Checked], left_out: Sequence[Path], tool: Promtool) -> str:
    files = [
        {
            "file": shown(result.file),
            "groups": result.groups,
            "rules": result.rules,
            "problems": [
                {
                    "line": problem.line or None,
                    "group": problem.group,
                    "kind": problem.kind,
                    "name": problem.name,
                    "problem": problem.problem,
                }
                for problem in result.problems
            ],
        }
        for result in results
    ]
    problems = sum(len(result.problems) for result in results)
    return _json(
        {
            "promtool": {"path": str(tool.path), "version": tool.version, "lint": tool.lints},
            "files": files,
            "left_out": [shown(path) for path in left_out],
            "problems": problems,
        }
    )


def tested_text(results: Sequence[Tested], tool: Promtool) -> str:
    """Each failure with what was expected and what came, and a summary."""
    failures = [failure for result in results for failure in result.failures]
    lines = [line for failure in failures for line in _failure(failure)]
    bad = sum(bool(result.failures) for result in results)
    scope = f"{_count(sum(result.cases for result in results), 'case')} in {_count(len(results), 'file')}"
    where = f" in {bad} of them" if len(results) > 1 else ""
    verdict = f"{_count(len(failures), 'failure')}{where}" if failures else "all as expected"
    lines.append(f"{scope}: {verdict} (promtool {tool.version}).")
    return _printable(lines)


def tested_json(results: Sequence[Tested], tool: Promtool) -> str:
    files = [
        {
            "file": shown(result.file),
            "cases": result.cases,
            "failures": [
                {
                    "file": shown(failure.file),
                    "line": failure.line or None,
                    "test": failure.test,
                    "kind": failure.kind,
                    "subject": failure.subject,
                    "at": failure.at,
                    "expected": failure.expected,
                    "got": failure.got,
                    "problem": failure.problem,
                }
                for failure in result.failures
            ],
        }
        for result in results
    ]
    return _json(
        {
            "promtool": {"path": str(tool.path), "version": tool.version},
            "files": files,
            "failures": sum(len(result.failures) for result in results),
        }
    )


def shown(path: Path) -> str:
    """As it was named; ours from here, where they are below."""
    if not path.is_absolute():
        return str(path)
    try:
        here = Path.cwd()
    except OSError:
        return str(path)
    return os.path.relpath(path, here) if path.is_relative_to(here) else str(path)


def _problem(problem: Problem) -> str:
    group = f'group "{problem.group}"' if problem.group else ""
    rule = f'{problem.kind or "rule"} "{problem.name}"' if problem.name else ""
    where = ", ".join(filter(None, (group, rule)))
    return f"{_place(problem.file, problem.line)}: {where + ': ' if where else ''}{problem.problem}"


def _failure(failure: Failure) -> Iterable[str]:
    place = _place(failure.file, failure.line)
    if not failure.subject:
        yield f"{place}: {failure.problem}"
        return
    subject = " ".join(failure.subject.split())
    subject = subject if len(subject) <= MAX_SUBJECT else subject[: MAX_SUBJECT - 1] + "…"
    test = f'test "{failure.test}", ' if failure.test else ""
    yield f"{place}: {test}{failure.kind} {subject} at {failure.at}{_because(failure)}"
    for head, side in (("expected", failure.expected), ("got", failure.got)):
        if side:
            yield f"  {head}"
            yield from (f"    {line}" for line in side.split("\n"))


def _because(failure: Failure) -> str:
    return f": {failure.problem}" if failure.problem else ""


def _place(file: Path, line: int) -> str:
    return f"{shown(file)}:{line}" if line else shown(file)


def _lint(tool: Promtool) -> str:
    return "" if tool.lints else ", which is too old to look for duplicates"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _printable(lines: Iterable[str]) -> str:
    # Names in rules, of files and in messages are what anybody may have written: none may move a terminal's cursor.
    return "".join("".join(char if char.isprintable() else "?" for char in line) + "\n" for line in lines)


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"

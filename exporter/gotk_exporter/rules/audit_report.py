"""An audit in words for a person, or as JSON. Judges nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

import msgspec

from gotk_exporter.rules.audit import Audit, Duplicate
from gotk_exporter.rules.findings import Finding, Reason

WIDTH = 110
MAX_EXPRESSION_CHARS = 400
MAX_LISTED = 200
"""Findings of one status that are told to a person; JSON has them all."""


def shown(audit: Audit, output: str) -> str:
    """As text, or as JSON."""
    return _json(audit) if output == "json" else "".join(f"{line}\n" for line in _lines(audit))


# For a person

_HEADINGS = (
    ("dead", "These can never fire:"),
    ("doubtful", "These may never fire; what they wait for may also just not have happened:"),
    ("not_judged", "These were not judged:"),
)


def _lines(audit: Audit) -> Iterator[str]:
    for status, heading in _HEADINGS:
        findings = audit.of(status)
        if not findings:
            continue
        yield from (heading, "")
        for finding in findings[:MAX_LISTED]:
            yield from (*_told(finding), "")
        if len(findings) > MAX_LISTED:
            yield from (f"  … and {len(findings) - MAX_LISTED} more; -o json has them all.", "")
    if audit.duplicates:
        yield from ("These are exported twice:", "")
        for duplicate in audit.duplicates:
            yield from (*_wrapped(_told_twice(duplicate), "  ", "  "), "")
    yield from (line for note in audit.notes for line in _wrapped(note, "", ""))
    yield from _wrapped(_summary(audit), "", "")


def _told(finding: Finding) -> Iterator[str]:
    rule = finding.rule
    where = ", ".join(filter(None, (f"group {rule.group}", rule.file)))
    yield _plain(f"  {rule.kind} {rule.name} ({where})")
    expression = " ".join(rule.expression.split())
    if len(expression) > MAX_EXPRESSION_CHARS:
        expression = expression[: MAX_EXPRESSION_CHARS - 1] + "…"
    yield from _wrapped(expression, "      ", "      ")
    for reason in finding.reasons:
        yield from _wrapped(reason.text, "    - ", "      ")
    for remedy in dict.fromkeys(reason.remedy for reason in finding.reasons if reason.remedy):
        yield from _wrapped(remedy, "    > ", "      ")


def _told_twice(duplicate: Duplicate) -> str:
    jobs = ", ".join(f"{job or '(no job)'} ({objects})" for job, objects in duplicate.jobs)
    return (
        f"{duplicate.metric}: the same objects from the jobs {jobs}. Whatever sums or counts them counts twice, and "
        "alerts on them come twice: let one of the jobs drop it."
    )


def _summary(audit: Audit) -> str:
    numbers = {status: len(audit.of(status)) for status, _ in _HEADINGS}
    parts = [
        f"{len(audit.findings)} rules read",
        f"{numbers['dead']} can never fire",
        *([f"{numbers['doubtful']} may never fire"] if numbers["doubtful"] else []),
        *([f"{numbers['not_judged']} not judged"] if numbers["not_judged"] else []),
    ]
    return f"{', '.join(parts)}. Series of the last {_span(audit.since)} count."


def _span(seconds: float) -> str:
    for unit, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= unit and seconds % unit == 0:
            number = int(seconds // unit)
            return f"{number} {name}s" if number > 1 else name
    return f"{seconds:g} seconds"


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        _plain(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _plain(text: str) -> str:
    """Names that anybody may have written break no line and move no terminal's cursor."""
    return "".join(char if char.isprintable() else "?" for char in text)


# For a program


def _json(audit: Audit) -> str:
    document = {
        "prometheus": audit.prometheus,
        "since_seconds": audit.since,
        "rules": len(audit.findings),
        **{status: len(audit.of(status)) for status, _ in _HEADINGS},
        "findings": [_as_data(finding) for finding in audit.findings if finding.status != "alive"],
        "duplicates": [
            {
                "metric": duplicate.metric,
                "jobs": [{"job": job, "objects": objects} for job, objects in duplicate.jobs],
            }
            for duplicate in audit.duplicates
        ],
        "notes": list(audit.notes),
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def _as_data(finding: Finding) -> dict[str, object]:
    rule = finding.rule
    return {
        "status": finding.status,
        "type": "alerting" if rule.kind == "alert" else "recording",
        "name": rule.name,
        "group": rule.group,
        "file": rule.file,
        "expression": rule.expression,
        "reasons": _reasons(finding.reasons),
    }


def _reasons(reasons: Sequence[Reason]) -> list[dict[str, str]]:
    return [
        {
            "selector": reason.selector,
            "missing": reason.missing,
            "label": reason.label,
            "text": reason.text,
            "instead": reason.remedy,
        }
        for reason in reasons
    ]

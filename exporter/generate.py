"""Writes what is generated from the package's tables and from the rules: today README.md's tables of metrics, kinds,
settings and alerts.

``python exporter/generate.py`` writes; with ``--check`` it changes nothing and fails where something is out of date.
A generated part of a file that is otherwise written by hand stands between two comments that name it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gotk_exporter.flux.kinds import KINDS
from gotk_exporter.flux.rows import Kind, Period, Reconciled
from gotk_exporter.metrics.families import OBJECT_FAMILIES, Family, Profile
from gotk_exporter.metrics.own_families import EXPORTER_FAMILIES

ROOT = Path(__file__).parents[1]
ALERTS = ROOT / "rules" / "alerts"
RECORDINGS = ROOT / "rules" / "recording"
CLASSIC = "classic.yaml"
SEVERITIES = ("critical", "error", "info", "none")


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    stale = [path for path, text in generated().items() if not path.exists() or path.read_text() != text]
    if arguments == ["--check"]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not current: run 'make generate'", file=sys.stderr)
        return 1 if stale else 0
    if arguments:
        print("usage: generate.py [--check]", file=sys.stderr)
        return 2
    for path in stale:
        path.write_text(generated()[path])
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


def generated() -> dict[Path, str]:
    """Every file with a generated part, as it should be."""
    readme = ROOT / "README.md"
    return {readme: _with_parts(readme.read_text(), README_PARTS)}


def _with_parts(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    for name, make in parts.items():
        pattern = re.compile(rf"(<!-- {name}: begin[^>]*-->\n).*?(<!-- {name}: end -->)", re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise SystemExit(f"README.md must have the comments '<!-- {name}: begin … -->' and 'end' exactly once")
        before, opening, closing, after = _split(pattern, text)
        text = f"{before}{opening}\n{make()}\n{closing}{after}"
    return text


def _split(pattern: re.Pattern[str], text: str) -> tuple[str, str, str, str]:
    """What stands before the part, its two comments, and what stands after it."""
    found = pattern.search(text)
    assert found is not None
    return text[: found.start()], found[1], found[2], text[found.end() :]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def object_metrics() -> str:
    return _table(
        ["metric", "type", "labels", "from profile", "meaning"],
        ([*_metric(family), family.profile.name.lower(), family.help] for family in OBJECT_FAMILIES),
    )


def exporter_metrics() -> str:
    return _table(
        ["metric", "type", "labels", "meaning"], ([*_metric(family), family.help] for family in EXPORTER_FAMILIES)
    )


def _metric(family: Family) -> list[str]:
    return [f"`{family.name}`", family.type, ", ".join(family.labels) or "none"]


def kinds() -> str:
    return _table(
        ["kind", "group", "verdict", "suspended by", "interval", "timeout", "labels of gotk_resource_info of its own"],
        (
            [
                kind.name,
                kind.group,
                _verdict(kind),
                _suspension(kind),
                _period(kind.interval),
                _period(kind.timeout),
                ", ".join(kind.info) or "none",
            ]
            for kind in KINDS
        ),
    )


def _verdict(kind: Kind) -> str:
    if kind.reconciled is Reconciled.NEVER:
        return "none"
    when = "" if kind.reconciled is Reconciled.ALWAYS else f", {kind.reconciled.value}"
    return f"from {kind.condition}{when}"


def _suspension(kind: Kind) -> str:
    if kind.suspend_annotation is not None:
        return f"annotation `{kind.suspend_annotation}: disabled`"
    return f"`{kind.suspend_path}`" if kind.suspend_path else "never"


def _period(period: Period | None) -> str:
    if period is None or (period.default_seconds is None and period.annotation is None and period.path is None):
        return "none"
    stated = f"`{period.annotation or period.path}`" if period.annotation or period.path else ""
    silent = ""
    if period.interval_minus_seconds is not None:
        silent = (
            f"the interval less {period.interval_minus_seconds:g} s"
            if period.interval_minus_seconds
            else "the interval"
        )
    elif period.default_seconds is not None:
        silent = f"{period.default_seconds:g} s"
    least = f", at least {period.minimum_seconds:g} s" if period.minimum_seconds else ""
    return (", else ".join(part for part in (stated.replace(" | ", "` or `"), silent) if part)) + least


def profiles() -> str:
    rows = []
    for profile in Profile:
        names = [f"`{family.name}`" for family in OBJECT_FAMILIES if family.profile == profile]
        before = f"{Profile(profile - 1).name.lower()} and " if profile > Profile.MINIMAL else ""
        rows.append([f"`{profile.name.lower()}`", before + ", ".join(names)])
    return _table(["profile", "families"], rows)


def alerts() -> str:
    """The worst first, and the copied ones last."""
    found = [
        (path.name == CLASSIC, SEVERITIES.index(rule["labels"]["severity"]), rule)
        for path in sorted(ALERTS.glob("*.yaml"))
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    records = _records()
    rows = (_alert(rule, is_classic, records) for is_classic, _, rule in sorted(found, key=lambda entry: entry[:2]))
    return _table(["alert", "severity", "window or threshold", "meaning"], rows)


def _records() -> dict[str, str]:
    """The expression of each recording rule."""
    return {
        rule["record"]: rule["expr"]
        for path in RECORDINGS.glob("*.yaml")
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    }


def _alert(rule: Mapping[str, Any], is_classic: bool, records: Mapping[str, str]) -> list[str]:
    name = rule["alert"]
    link = f"[{name}](rules/runbooks/{name}.md)" + (" (classic)" if is_classic else "")
    return [link, rule["labels"]["severity"], window(rule, records), " ".join(rule["annotations"]["summary"].split())]


def window(rule: Mapping[str, Any], records: Mapping[str, str]) -> str:
    """As the comments in the expression say it, without their reasons, each once; and its ``for:``.

    Where the expression selects what is recorded and does nothing with it, those of the record count, and of what that
    compares with thresholds on its own.
    """
    stated = re.findall(r"# (?:window: ([^,;\n]+)|threshold: ([^;\n]+))", _decided_in(rule["expr"], records))
    parts = [words.strip() for found in stated for words in found if words]
    if "for" in rule:
        parts.append(f"for {_duration(rule['for'])}")
    # One that begins with "and" is added to the one above it; others stand for themselves.
    return "; ".join(dict.fromkeys(parts)).replace("; and ", ", and ") or "no window"


def _decided_in(expression: str, records: Mapping[str, str]) -> str:
    selected = re.fullmatch(r"([a-z_]+:\w+:\w+)(\{[^}]*\})?", expression.strip())
    if selected is None or selected[1] not in records:
        return expression
    decision = records[selected[1]]
    compared = [record for name, record in records.items() if name in decision and "# threshold:" in record]
    return "\n".join([decision, *(record for record in compared if record != decision)])


def _duration(text: str) -> str:
    """As the comments in the rules write it."""
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    found = re.fullmatch(r"(\d+)([smhd])", text)
    return f"{found[1]} {units[found[2]]}" if found else text


README_PARTS: Mapping[str, Callable[[], str]] = {
    "alerts": alerts,
    "object metrics": object_metrics,
    "exporter metrics": exporter_metrics,
    "profiles": profiles,
    "kinds": kinds,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

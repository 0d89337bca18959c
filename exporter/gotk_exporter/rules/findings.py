"""Which of the loaded rules can never give a result, and why. Performs no I/O.

What it would like to know of the Prometheus it writes on a list (Evidence); whoever has filled that in judges again,
until nothing is wanted any more. What nobody could answer accuses no rule.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gotk_exporter.metrics.families import RESOURCE_INTERVAL, SUSPEND_STATUS
from gotk_exporter.metrics.own_families import BUILD_INFO
from gotk_exporter.rules.expressions import (
    NAME,
    Always,
    Either,
    Every,
    Matcher,
    Need,
    NotReadable,
    Selector,
    Series,
    of_metric,
    read,
    selector,
    unmet,
)
from gotk_exporter.rules.known_metrics import (
    MAY_BE_SILENT,
    METRICS,
    STABLE_LABELS,
    KnownMetric,
    admits,
    admits_any,
    advice,
)

Missing = Literal["metric", "label", "value", "combination", "recorded", "evaluation"]

EXPORTER = of_metric(BUILD_INFO.name)
_OBJECTS = of_metric(RESOURCE_INTERVAL.name)
"""Which nobody else serves: the exporter is there, and so is something that it watches."""
_ALERTS = ("ALERTS", "ALERTS_FOR_STATE")
_TARGET_FAMILIES = selector(Matcher(NAME, "=~", f"{BUILD_INFO.name}|{SUSPEND_STATUS.name}"))
"""Whoever serves one of our families serves these: they show which labels the scrape adds."""


class Grade(enum.IntEnum):
    """How sure it is that a selector, or a whole expression, can give nothing."""

    POSSIBLE = 0
    UNKNOWN = 1
    DOUBTFUL = 2
    NEVER = 3


Status = Literal["dead", "doubtful", "not_judged", "alive"]
_STATUS: Mapping[Grade, Status] = {
    Grade.POSSIBLE: "alive",
    Grade.UNKNOWN: "not_judged",
    Grade.DOUBTFUL: "doubtful",
    Grade.NEVER: "dead",
}


@dataclass(frozen=True, slots=True)
class LoadedRule:
    """One rule, as a Prometheus shows it."""

    group: str
    file: str
    name: str
    kind: Literal["alert", "record"]
    expression: str
    active: bool = False
    """The alert is pending or firing, so that nothing has to be proved."""
    error: str = ""
    """Why its last evaluation failed."""


@dataclass(frozen=True, slots=True)
class Reason:
    selector: str
    missing: Missing
    text: str
    label: str = ""
    remedy: str = ""
    grade: Grade = Grade.NEVER


@dataclass(frozen=True, slots=True)
class Finding:
    rule: LoadedRule
    status: Status
    reasons: tuple[Reason, ...] = ()


@dataclass
class Evidence:
    """What a Prometheus holds, as far as it was asked."""

    since: float = 0.0
    """Seconds of the past that count as present."""
    present: dict[Selector, bool | None] = field(default_factory=dict)
    """Whether there were such series; None where it could not say."""
    values: dict[tuple[Selector, str], tuple[str, ...]] = field(default_factory=dict)
    """Some values of a label."""
    wanted: set[Selector] = field(default_factory=set)
    wanted_values: set[tuple[Selector, str]] = field(default_factory=set)

    def has(self, asked: Selector) -> bool | None:
        if asked not in self.present:
            self.wanted.add(asked)
        return self.present.get(asked)

    def values_of(self, asked: Selector, label: str) -> tuple[str, ...]:
        if (asked, label) not in self.values:
            self.wanted_values.add((asked, label))
        return self.values.get((asked, label), ())


def judge(rules: Sequence[LoadedRule], evidence: Evidence) -> list[Finding]:
    """A finding for each rule, in their order; final when ``evidence`` wants nothing more."""
    return _Judge(rules, evidence).findings()


class _Judge:
    def __init__(self, rules: Sequence[LoadedRule], evidence: Evidence) -> None:
        self._rules = rules
        self._evidence = evidence
        self._needs: list[Need | NotReadable] = [_need(rule, evidence.since) for rule in rules]
        self._recorders: dict[str, list[int]] = {}
        for number, rule in enumerate(rules):
            if rule.kind == "record":
                self._recorders.setdefault(rule.name, []).append(number)
        self._alerts = {rule.name for rule in rules if rule.kind == "alert"}
        self._reasons: dict[Selector, tuple[Reason, ...]] = {}
        self._recorded: dict[int, Grade] = {}

    def findings(self) -> list[Finding]:
        self._recorded = {number: Grade.NEVER for numbers in self._recorders.values() for number in numbers}
        while True:
            # A recording may feed the next: what can give a result makes more of them possible, until nothing changes.
            better = {number: min(grade, self._grade_of(number)) for number, grade in self._recorded.items()}
            if better == self._recorded:
                break
            self._recorded = better
        return [self._finding(number, rule) for number, rule in enumerate(self._rules)]

    def _finding(self, number: int, rule: LoadedRule) -> Finding:
        need = self._needs[number]
        if rule.active:
            return Finding(rule, "alive")
        if isinstance(need, NotReadable):
            return Finding(rule, "not_judged", (Reason("", "evaluation", str(need), grade=Grade.UNKNOWN),))
        grade = self._grade_of(number)
        if grade < Grade.DOUBTFUL and rule.error:
            text = f"its evaluation fails: {rule.error}"
            return Finding(rule, "doubtful", (Reason("", "evaluation", text, grade=Grade.DOUBTFUL),))
        guilty = unmet(need, lambda asked: self._grade(asked) < grade) if grade else frozenset()
        reasons = [reason for asked in sorted(guilty, key=str) for reason in self._why(asked) if reason.grade >= grade]
        return Finding(
            rule, _STATUS[grade], tuple({reason.text: reason for reason in reversed(reasons)}.values())[::-1]
        )

    def _grade_of(self, number: int) -> Grade:
        need, rule = self._needs[number], self._rules[number]
        if isinstance(need, NotReadable) or rule.active or rule.name in MAY_BE_SILENT:
            return Grade.POSSIBLE
        return _grade(need, self._grade)

    def _grade(self, asked: Selector) -> Grade:
        return max((reason.grade for reason in self._why(asked)), default=Grade.POSSIBLE)

    def _why(self, asked: Selector) -> tuple[Reason, ...]:
        """Why the selector gives nothing; empty where it gives, or may give, something."""
        recorders = self._recorders_of(asked)
        if recorders and self._evidence.has(asked.named) is False:
            return self._why_recorded(asked, recorders)
        if asked not in self._reasons:
            self._reasons[asked] = tuple(self._find(asked))
        return self._reasons[asked]

    def _recorders_of(self, asked: Selector) -> list[int]:
        names = [matcher for matcher in asked.matchers if matcher.label == NAME]
        if not names:
            return []
        return [
            number
            for name, numbers in self._recorders.items()
            if all(admits(matcher, name) for matcher in names)
            for number in numbers
        ]

    def _why_recorded(self, asked: Selector, recorders: Sequence[int]) -> tuple[Reason, ...]:
        grade = min(self._recorded[number] for number in recorders)
        if grade < Grade.DOUBTFUL:
            return ()
        rule = self._rules[recorders[0]]
        can = "can never give a result itself" if grade is Grade.NEVER else "may never give a result itself"
        text = f"{asked.named} is recorded by a rule (group {rule.group}) that {can}"
        return (Reason(str(asked), "recorded", text, remedy="see that rule.", grade=grade),)

    def _find(self, asked: Selector) -> list[Reason]:
        present = self._evidence.has(asked)
        if present is None:
            return [Reason(str(asked), "metric", f"whether {asked} has series is not known", grade=Grade.UNKNOWN)]
        if present:
            return []
        if asked.metric in _ALERTS:
            return self._why_no_alert(asked)
        known = METRICS.get(asked.metric or "")
        if known is not None and known.own and not known.steady and self._evidence.has(EXPORTER) is not False:
            return self._why_not_added(asked, known)
        if not asked.named.matchers or self._evidence.has(asked.named) is not False:
            return self._why_not_these(asked, known)
        return self._why_no_metric(asked, known)

    def _why_no_metric(self, asked: Selector, known: KnownMetric | None) -> list[Reason]:
        exporter = self._evidence.has(EXPORTER) if known is not None and known.own else False
        if not exporter:
            text = f"no series of {asked.named}" if asked.metric else f"no metric whose name fits {asked.named}"
            return [Reason(str(asked), "metric", text, remedy=advice(asked, "metric"))]
        if not self._evidence.has(_OBJECTS):
            return []
        text = f"gotk-exporter is scraped, but serves no {asked.named}"
        return [Reason(str(asked), "metric", text, remedy=advice(asked, "unserved"))]

    def _why_no_alert(self, asked: Selector) -> list[Reason]:
        """These series are there while an alert is pending or firing."""
        names = [matcher for matcher in asked.labels if matcher.label == "alertname"]
        if any(all(admits(matcher, name) for matcher in names) for name in self._alerts):
            return []
        text = f"no alert is loaded that {', '.join(map(str, names)) or asked} could be about"
        # Another ruler may have it.
        return [Reason(str(asked), "value", text, "alertname", grade=Grade.DOUBTFUL)]

    def _why_not_added(self, asked: Selector, known: KnownMetric) -> list[Reason]:
        """Of a family that comes and goes nothing can be seen but the labels that the scrape adds to all."""
        reasons: list[Reason] = []
        for matcher in asked.labels:
            if known.can_have(matcher.label) or known.can_have(matcher.label.removeprefix("exported_")):
                if matcher.label in known.values and not admits_any(matcher, known.values[matcher.label]):
                    text = f"{matcher} is nothing that gotk-exporter ever says of {asked.named}"
                    reasons.append(Reason(str(asked), "value", text, matcher.label))
                continue
            if self._evidence.has(_with(_TARGET_FAMILIES, matcher)) is False:
                text = f"{asked.named} has no label {matcher.label} that fits {matcher}"
                remedy = advice(asked, "label", matcher) or f"its labels are {', '.join(sorted(known.labels))}."
                reasons.append(Reason(str(asked), "label", text, matcher.label, remedy))
        return reasons

    def _why_not_these(self, asked: Selector, known: KnownMetric | None) -> list[Reason]:
        """There are series of that metric: which of the matchers takes none of them?"""
        everything = asked.named
        alone = {matcher: self._evidence.has(_with(everything, matcher)) for matcher in asked.labels}
        missing = [matcher for matcher, present in alone.items() if present is False]
        if missing:
            return [reason for matcher in missing for reason in self._why_not(asked, matcher, known)]
        if known is not None or len(alone) < 2 or None in alone.values():
            return []
        text = f"no series of {everything} fits all of {', '.join(map(str, asked.labels))} at once"
        return [Reason(str(asked), "combination", text, grade=Grade.DOUBTFUL)]

    def _why_not(self, asked: Selector, matcher: Matcher, known: KnownMetric | None) -> list[Reason]:
        everything, label = asked.named, matcher.label
        has_label = self._evidence.has(_with(everything, Matcher(label, "!=", "")))
        if has_label is None:
            return []
        if not has_label and not admits(matcher, ""):
            if known is not None and label in known.labels and label not in known.values:
                # Some kinds have it, and there may be none of them.
                return []
            if known is None or label not in known.values or not admits_any(matcher, known.values[label]):
                text = f"no series of {everything} has a label {label}"
                remedy = advice(asked, "label", matcher)
                return [Reason(str(asked), "label", text, label, remedy)]
            return []
        if known is not None and label in known.values:
            if admits_any(matcher, known.values[label]):
                if label != "kind" or not known.own or self._evidence.has(EXPORTER) is not False:
                    return []
                # There may be no such object, or a Flux that has stopped to export this kind before the others.
                grade = Grade.DOUBTFUL
            else:
                grade = Grade.NEVER
        elif known is not None and label in known.labels and label not in STABLE_LABELS:
            return []
        else:
            # A recording may say today what it did not say before.
            is_stable = label in STABLE_LABELS and not self._recorders_of(asked)
            grade = Grade.NEVER if is_stable else Grade.DOUBTFUL
        said = self._evidence.values_of(everything, label)
        there_is = f"; there is {', '.join(said)}" if said else ""
        text = f"no series of {everything} has {matcher}{there_is}"
        return [Reason(str(asked), "value", text, label, advice(asked, "value", matcher), grade)]


def _need(rule: LoadedRule, covered: float) -> Need | NotReadable:
    try:
        return read(rule.expression, covered)
    except NotReadable as error:
        return error


def _with(everything: Selector, matcher: Matcher) -> Selector:
    return everything.only(iter((*everything.matchers, matcher)))


def _grade(need: Need, of: Callable[[Selector], Grade]) -> Grade:
    match need:
        case Series():
            return of(need.selector)
        case Every():
            return max(_grade(part, of) for part in need.parts)
        case Either():
            return min(_grade(part, of) for part in need.parts)
        case Always():
            return Grade.POSSIBLE

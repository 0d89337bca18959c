"""An explanation in words, for a person at three in the morning: what, since when, because of what, what next.

Lines stay below ``WIDTH`` columns, but for commands, which are to be copied whole. It decides nothing.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Mapping

import msgspec

from gotk_exporter.flux.explanation import Cause, Explanation, Since, Step, Why
from gotk_exporter.flux.particulars import AwaitingRetry, Failed, Freshness, Named, Risk

WIDTH = 98
EXACT_SECONDS = 5.0
"""Nobody minds whether it began three seconds earlier or later."""
MAX_NAMES = 5
"""Of what is blocked, in a line."""
MAX_GAPS = 6
MAX_STEPS = 8
"""Of a chain; of a longer one the first and the last two are told."""
_LABEL = 12

_HEADLINES: Mapping[str, str] = {
    "well": "{object} is well.",
    "failing": "{object} is not ready: its last run failed{reason}.",
    "waiting": "{object} is not ready: it waits for something else{reason}.",
    "running": "{object} is not ready yet: a run goes on, and none is known to have ended.",
    "unknown": "{object} is not ready: no run is known to have ended, and none goes on.",
    "terminating": "{object} is being deleted.",
    "unjudged": "{object} is neither ready nor not: no controller says anything about it.",
    "missing": "{object} does not exist.",
}

_UNTOUCHED = "{object} is not ready: no controller has ever said anything about it."

_VIAS: Mapping[str, str] = {
    "dependsOn": "depends on {}",
    "sourceRef": "takes its source from {}",
    "chartRef": "takes its chart from {}",
    "image": "takes its images from {}",
    "health": "waits for the health of {}",
}

_STATES: Mapping[str, str] = {
    "well": "which is well",
    "failing": "whose last run failed",
    "waiting": "which waits too",
    "running": "whose run goes on",
    "unknown": "of which nothing is known",
    "terminating": "which is being deleted",
    "unjudged": "which is there",
    "missing": "which does not exist",
}

_CAUSES: Mapping[str, str] = {
    "NotFound": "it does not exist",
    "Suspended": "it is suspended",
    "Terminating": "it is being deleted",
    "DependencyCycle": "it is one of a circle whose members wait for each other",
    "DependencyConditionNotMet": "what it depends on is ready, but not as it demands",
    "Progressing": "its run has not ended",
    "RevisionNotUpToDate": "it has not applied the newest revision yet",
    "Recovered": "it failed and is well again; what waits for it has not run since",
    "NotWatched": "nothing is known of it",
    "RollbackSucceeded": "its release failed, and was rolled back",
    "UninstallSucceeded": "its release failed, and was uninstalled again",
}
"""By reason; any other is told as that of a failed run."""

_FAILURES: Mapping[str, str] = {
    "webhook_unavailable": "an admission webhook cannot be called",
    "admission_denied": "a policy refuses it",
    "forbidden": "its account lacks a right",
    "auth": "its credentials are refused",
    "verification": "a signature does not verify",
    "rate_limited": "it asks too often for what the other side allows",
    "dns": "a name cannot be resolved",
    "tls": "no trusted connection can be made",
    "connect": "nothing answers, or the connection breaks",
    "timeout": "no answer came in time",
    "crd_missing": "the cluster does not know a kind that it applies",
    "immutable_field": "it changes what cannot be changed",
    "invalid": "the API server does not accept what it applies",
    "quota": "a quota is used up",
    "conflict": "somebody else manages the same fields",
    "build": "its manifests cannot be built",
    "not_found": "something that it names is not there",
    "decryption": "its secrets cannot be decrypted",
    "release_state": "its release is in a state from which nothing is tried",
    "workload_unhealthy": "what it applied does not become healthy",
    "test_failed": "the tests of its release fail",
}
"""By failure class; of any other nothing can be said."""

_ENDED: Mapping[str, str] = {
    "dependency": "what it depends on was not well, and is again",
    "child": "what it waited for was not well, and is again",
    "shared_cause": "another one that failed for the same cause has succeeded",
    "node_disruption": "a node that it needed was being replaced, and that is over",
}

_WHYS: Mapping[Why, str] = {
    "forbidden": "may not be listed",
    "not_listed_yet": "not listed yet",
    "unreachable": "the API server did not answer",
    "timed_out": "the API server took too long",
    "out_of_date": "out of date: no contact with the API server",
}


def tell(explanation: Explanation, now: float) -> str:
    """The text, with a newline at its end."""
    paragraphs = [_about(explanation, now)]
    causes = explanation.causes
    for number, cause in enumerate(causes, 1):
        ordinal = f"Cause {number} of {len(causes) + explanation.causes_left_out} is" if len(causes) > 1 else ""
        paragraphs.append(_about_cause(explanation, cause, ordinal, now))
    if explanation.next:
        paragraphs.append(["Look at next:", *(line for text in explanation.next for line in _advice(text))])
    if explanation.not_known:
        paragraphs.append(list(_gaps(explanation)))
    text = "\n\n".join("\n".join(paragraph) for paragraph in paragraphs)
    # Names and reasons are what anybody may have written: nothing in them may move a terminal's cursor.
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text) + "\n"


def _about(explanation: Explanation, now: float) -> list[str]:
    reason = f" ({explanation.reason})" if explanation.reason else ""
    name = _name(explanation.object)
    untouched = explanation.freshness is not None and not explanation.freshness.touched
    headline = _UNTOUCHED if untouched and explanation.state == "running" else _HEADLINES[explanation.state]
    lines = list(_wrapped(headline.format(object=name, reason=reason), ""))
    if explanation.since is not None and explanation.state in ("failing", "waiting"):
        lines.append(_fact("since", _when(explanation.since, now)))
    if explanation.state == "failing":
        lines += _failure(explanation.failure)
    lines += _retry(explanation.awaiting_retry, now)
    freshness = explanation.freshness
    if untouched and explanation.running_since is not None:
        lines.append(_fact("created", _moment(explanation.running_since, now)))
    elif explanation.running_since is not None:
        lines.append(_fact("a run goes on", f"since {_moment(explanation.running_since, now)}"))
        if freshness is not None and freshness.usual_run_seconds is not None:
            lines.append(_fact("longest run", f"{_length(freshness.usual_run_seconds)}, of those that went well"))
    if explanation.suspended:
        lines.append(_fact("suspended", "no run will start before it is resumed"))
    if explanation.last_good_revision:
        lines.append(_fact("last good", explanation.last_good_revision))
    if freshness is not None:
        lines += _fresh(freshness, now)
    blocks = explanation.blocks
    if blocks.count:
        names = ", ".join(map(_name, blocks.objects[:MAX_NAMES]))
        more = f" and {blocks.count - MAX_NAMES} more" if blocks.count > MAX_NAMES else ""
        lines += _wrapped(f"{_waiting(blocks.count)} because of it: {names}{more}", _fact("blocks", ""))
    lines += _held_back(explanation.held_back)
    if explanation.parents:
        lines += _wrapped(", ".join(map(_name, explanation.parents)), _fact("applied by", ""))
    if explanation.risk is not None:
        lines += _risk(explanation.risk, explanation.ready)
    return lines + _message(explanation.message)


def _about_cause(explanation: Explanation, cause: Cause, ordinal: str, now: float) -> list[str]:
    what = _CAUSES.get(cause.reason, f"its last run failed ({cause.reason})")
    if not cause.path:
        if cause.reason == explanation.reason and not ordinal:
            return ["Nothing that it waits for is to blame: it is its own cause."]
        return list(_wrapped(f"{ordinal or 'The cause is'} its own: {what}.", ""))
    lines = list(_wrapped(f"{ordinal or 'The cause is'} {_name(cause.object)}: {what}.", ""))
    lines += _chain(explanation.object, cause)
    if cause.since is not None and cause.state in ("failing", "waiting", "running"):
        lines.append(_fact("since", _when(cause.since, now)))
    if cause.state == "failing":
        lines += _failure(cause.failure)
    lines += _retry(cause.awaiting_retry, now)
    if cause.blocks > 1:
        lines.append(_fact("blocks", f"{_waiting(cause.blocks)} because of it, this one among them"))
    return [*lines, *_held_back(cause.held_back), *_message(cause.message)]


def _failure(failure: Failed | None) -> Iterator[str]:
    if failure is None:
        return
    what = _FAILURES.get(failure.failure_class)
    if what is not None:
        host = f" ({failure.upstream_host})" if failure.upstream_host else ""
        yield from _wrapped(f"{failure.failure_class}: {what}{host}", _fact("failure", ""))
    if failure.shared_cause:
        yield from _wrapped(f"{failure.shared_cause}, and others may fail for it too", _fact("shared", ""))
    if failure.children:
        yield from _wrapped(", ".join(map(_name, failure.children)), _fact("unhealthy", ""))


def _retry(awaiting: AwaitingRetry | None, now: float) -> Iterator[str]:
    if awaiting is None:
        return
    what = f"{_ENDED[awaiting.cause]}, since {_moment(awaiting.ended_at, now)}"
    if now < awaiting.until:
        text = f"{what}; its next attempt should have ended by {_utc(awaiting.until)} UTC"
    else:
        text = f"{what}; nothing has tried since, and its next attempt was due by {_utc(awaiting.until)} UTC"
    yield from _wrapped(text, _fact("next attempt", ""))


def _fresh(freshness: Freshness, now: float) -> Iterator[str]:
    if freshness.last_reconcile is not None:
        yield _fact("reconciled", _moment(freshness.last_reconcile, now))
    if freshness.revision_behind_since is not None:
        behind = f"its source has another revision, since {_moment(freshness.revision_behind_since, now)}"
        yield from _wrapped(behind, _fact("behind", ""))
    if freshness.unserved:
        yield from _wrapped("no living controller serves its shard: nobody reconciles it", _fact("unserved", ""))
    if freshness.receivers is not None:
        found = "none that is ready: what is new is found by polling alone"
        yield _fact("receivers", str(freshness.receivers) if freshness.receivers else found)


def _risk(risk: Risk, ready: bool) -> Iterator[str]:
    if risk.kubeconfig is not None:
        yield from _wrapped(f"another cluster ({risk.kubeconfig or 'nothing names its access'})", _fact("target", ""))
    if risk.unpinned:
        yield from _wrapped(f"not pinned: {risk.unpinned} decides what is deployed", _fact("version", ""))
    if risk.health_unchecked and ready:
        # Of one that is not ready it is not the health that anybody asks about.
        yield from _wrapped("not checked: it is ready as soon as it is applied", _fact("health", ""))
    if risk.push_followed is False:
        text = "to a branch that its source does not follow: somebody has to merge"
        yield from _wrapped(text, _fact("pushes", ""))


def _chain(start: Named, cause: Cause) -> Iterator[str]:
    """One step a line, each indented below the one that waits."""
    if len(cause.path) == 1:
        yield from _wrapped(f"{_name(start)} {_step(cause.path[0], cause)}", "  ")
        return
    yield f"  {_name(start)}"
    left_out = len(cause.path) - MAX_STEPS
    shown = cause.path if left_out <= 0 else [*cause.path[: MAX_STEPS - 2], *cause.path[-2:]]
    for depth, step in enumerate(shown, 2):
        if left_out > 0 and depth == MAX_STEPS:
            yield f"{'  ' * depth}and so on, {left_out} {'step' if left_out == 1 else 'steps'} more; then"
        yield from _wrapped(_step(step, cause if step is cause.path[-1] else None), "  " * depth)


def _step(step: Step, cause: Cause | None) -> str:
    """``cause``: where the step leads to it."""
    text = _VIAS.get(step.via, "waits for {}").format(_name(step.object))
    if cause is None:
        reason = f" ({step.reason})" if step.reason and step.state == "failing" else ""
        return f"{text}, {_STATES[step.state]}{reason}"
    if cause.reason == "Suspended":
        return f"{text}, which is suspended"
    return f"{text}, {_STATES[step.state]}"


def _held_back(count: int | None) -> list[str]:
    if not count:
        return []
    verb = "is ready and receives" if count == 1 else "are ready and receive"
    return list(_wrapped(f"{_count(count)} downstream {verb} nothing new", _fact("holds back", "")))


def _waiting(count: int) -> str:
    return f"{_count(count)} {'waits' if count == 1 else 'wait'}"


def _count(count: int) -> str:
    return "1 object" if count == 1 else f"{count} objects"


def _advice(text: str) -> Iterator[str]:
    command, hash_sign, comment = text.partition("  # ")
    if not hash_sign and not _is_command(text):
        yield from _wrapped(text, "  ")
    elif len(text) + 2 <= WIDTH:
        yield f"  {text}"
    else:
        if comment:
            yield from _wrapped(f"# {comment}", "  ")
        yield f"  {command}"


def _is_command(text: str) -> bool:
    return text.startswith(("kubectl ", "flux ", "helm "))


def _gaps(explanation: Explanation) -> Iterator[str]:
    kinds: dict[Why, dict[str, None]] = {}
    for gap in explanation.not_known:
        kinds.setdefault(gap.why, {})[gap.kind + (f" in {gap.namespace}" if gap.namespace else "")] = None
    for why, names in kinds.items():
        shown = ", ".join([*names][:MAX_GAPS])
        more = f" and {len(names) - MAX_GAPS} more" if len(names) > MAX_GAPS else ""
        yield from _wrapped(f"Not known ({_WHYS[why]}): {shown}{more}.", "")


def _message(message: str | msgspec.UnsetType) -> list[str]:
    return list(_wrapped(message, _fact("it says", ""))) if isinstance(message, str) else []


def _fact(label: str, value: str) -> str:
    return f"  {label:<{_LABEL}}{'' if len(label) < _LABEL else ' '}{value}"


def _wrapped(text: str, prefix: str) -> Iterator[str]:
    """Lines below ``WIDTH``; those after the first are indented as far as the prefix is long."""
    indent = " " * len(prefix) if prefix else "  "
    yield from textwrap.wrap(
        text, WIDTH, initial_indent=prefix, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


def _name(name: Named) -> str:
    return f"{name.kind} {name.namespace}/{name.name}"


# Times


def _when(since: Since, now: float) -> str:
    start, end = since.timestamp, since.timestamp + since.uncertainty_seconds
    if since.uncertainty_seconds <= EXACT_SECONDS:
        return f"{_utc(start)} UTC, {_ago(now - start)}"
    day, _, time = _utc(end).partition(" ")
    later = time if _utc(start).startswith(day) else f"{day} {time}"
    return f"some time between {_utc(start)} and {later} UTC, at least {_ago(now - end)}"


def _moment(timestamp: float, now: float) -> str:
    return _when(Since(timestamp=timestamp, uncertainty_seconds=0), now)


def _ago(seconds: float) -> str:
    return "just now" if int(seconds) < 1 else f"{_length(seconds)} ago"


def _length(seconds: float) -> str:
    whole = int(seconds)
    if whole < 1:
        return "less than a second"
    for (unit, length), (smaller, smaller_length) in itertools.pairwise(_UNITS):
        if whole >= length:
            rest = whole % length // smaller_length
            return f"{whole // length} {unit}{f' {rest} {smaller}' if rest else ''}"
    return f"{whole} s"


_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def _utc(timestamp: float) -> str:
    """ "2025-11-21 04:41:00". The core reads no clock, so that it has no datetime either."""
    days, seconds = divmod(int(timestamp), 86400)
    # Days from civil, backwards: howardhinnant.github.io/date_algorithms.html.
    era, day_of_era = divmod(days + 719468, 146097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_from_march + 2) // 5 + 1
    month = month_from_march + (3 if month_from_march < 10 else -9)
    year = year_of_era + era * 400 + (month <= 2)
    return f"{year:04}-{month:02}-{day:02} {seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"

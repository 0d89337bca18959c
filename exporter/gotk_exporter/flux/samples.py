"""Object and verdict become sample lines: one function per family. It decides nothing about any state."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence

from gotk_exporter.flux.diagnosis import Diagnosis
from gotk_exporter.flux.fields import is_suspended, read
from gotk_exporter.flux.nodes import Node
from gotk_exporter.flux.objects import Defect, FluxObject
from gotk_exporter.flux.owner_labels import OwnerLabel, owner_info
from gotk_exporter.flux.periods import interval_seconds, timeout_seconds
from gotk_exporter.flux.references import Edge, Key
from gotk_exporter.flux.risks import SAMPLES as RISKS
from gotk_exporter.flux.rows import Kind, Via
from gotk_exporter.flux.runs import Runs
from gotk_exporter.flux.subject import Subject, labels_of, number
from gotk_exporter.flux.verdicts import Status, Verdict
from gotk_exporter.metrics import families as f
from gotk_exporter.metrics.exposition import escape_label_value, label_text, line
from gotk_exporter.metrics.families import Family
from gotk_exporter.metrics.store import Lines

MAX_CONDITIONS = 16
"""Series of gotk_resource_condition per object: no controller of ours writes more than nine types, and an object must
not be able to grow the page without bound."""


Renderers = Sequence[Callable[[Subject], str] | None]


def renderers_of(families: Sequence[Family], owner_labels: Sequence[OwnerLabel] = ()) -> Renderers:
    """What renders each of these families; None for one that no object has by itself."""
    samples = {**SAMPLES, f.OWNER_INFO.name: owner_info(owner_labels)} if owner_labels else SAMPLES
    return [samples.get(family.name) for family in families]


def render(
    renderers: Renderers,
    kind: Kind,
    version: str,
    obj: FluxObject,
    verdict: Verdict | None,
    node: Node,
    diagnosis: Diagnosis | None,
    runs: Runs,
) -> tuple[Lines, tuple[Defect, ...]]:
    """The object's lines in these families, and the fields that had no readable value."""
    interval = timeout = None
    defects: tuple[Defect | None, ...] = ()
    if verdict is not None:
        # What no controller judges is not reconciled either, whatever interval it states.
        interval, interval_defect = interval_seconds(kind, obj)
        timeout, timeout_defect = timeout_seconds(kind, obj, interval)
        defects = interval_defect, timeout_defect
    subject = Subject(kind, version, obj, verdict, node, diagnosis, runs, labels_of(node.key), interval, timeout)
    lines = tuple([text.encode() if draw is not None and (text := draw(subject)) else b"" for draw in renderers])
    return lines, tuple([defect for defect in defects if defect is not None])


def _reconcile_condition(subject: Subject) -> str:
    if subject.verdict is None:
        return ""
    name, labels, held = f.RECONCILE_CONDITION.name, subject.labels, subject.verdict.status
    return "".join(
        [line(name, f'{labels},type="Ready",status="{status.value}"', int(status is held)) for status in Status]
    )


def _suspend_status(subject: Subject) -> str:
    if subject.kind.suspend_path is None and subject.kind.suspend_annotation is None:
        return ""
    return line(f.SUSPEND_STATUS.name, subject.labels, int(bool(is_suspended(subject.kind, subject.obj))))


def _resource_info(subject: Subject) -> str:
    kind, obj = subject.kind, subject.obj
    labels = [
        ("customresource_group", kind.group),
        ("customresource_kind", kind.name),
        ("customresource_version", subject.version),
        ("exported_namespace", obj.metadata.namespace),
        ("name", obj.metadata.name),
    ]
    if subject.verdict is not None:
        # The published label knows the three statuses of a condition only.
        status = subject.verdict.status
        labels.append(("ready", (Status.UNKNOWN if status is Status.DELETED else status).value))
    suspended = is_suspended(kind, obj)
    if suspended is not None:
        labels.append(("suspended", "true" if suspended else "false"))
    for label, path in kind.info.items():
        value = read(obj, path)
        if isinstance(value, str) and value:
            is_address = label in _ADDRESSES or "://" in value
            labels.append((label, without_credentials(value) if is_address else value))
    return line(f.RESOURCE_INFO.name, label_text(labels), 1)


_ADDRESSES = {"url", "endpoint"}
_ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)?(?P<authority>[^/?#]*)(?P<path>[^?#]*)", re.IGNORECASE)
_HOST = re.compile(r"([\w.-]+|\[[0-9a-f:.]+\])(:[0-9]*)?", re.IGNORECASE)
WITHHELD = "…"


def without_credentials(address: str) -> str:
    """The address less what may be secret: user and password, query and fragment. Only "git", as the user of an SSH
    address, stays: it is part of what people compare.

    An address that no parser would take (an @ behind the host, a host that is none) is withheld: most likely somebody
    wrote a password into it without escaping, and then any part may belong to that password.
    """
    parts = _ADDRESS.match(address)
    scheme, authority, path = parts.groups("") if parts else ("", "", "")
    user, _, host = authority.rpartition("@")
    if "@" in address[len(scheme) + len(authority) :] or not _HOST.fullmatch(host):
        return f"{scheme}{WITHHELD}"
    if scheme.lower() == "ssh://" and user.partition(":")[0] == "git":
        host = f"git@{host}"
    return f"{scheme}{host}{path}"


def _resource_condition(subject: Subject) -> str:
    lines: dict[str, str] = {}
    for condition in subject.obj.status.conditions or ():
        # Two series for one type would be duplicates if status and reason agree too, and Prometheus would refuse them.
        type_text = escape_label_value(condition.type)
        if type_text in lines or len(lines) == MAX_CONDITIONS:
            continue
        labels = label_text((("status", condition.status), ("reason", condition.reason)))
        lines[type_text] = line(f.RESOURCE_CONDITION.name, f'{subject.labels},type="{type_text}",{labels}', 1)
    return "".join(lines.values())


def _interval(subject: Subject) -> str:
    return number(f.RESOURCE_INTERVAL, subject.labels, subject.interval)


def _timeout(subject: Subject) -> str:
    return number(f.RESOURCE_TIMEOUT, subject.labels, subject.timeout)


def _last_reconcile(subject: Subject) -> str:
    return number(f.LAST_RECONCILE, subject.labels, subject.runs.ended_at)


def _usual_run(subject: Subject) -> str:
    return number(f.USUAL_RUN, subject.labels, subject.runs.longest_seconds)


def _generation_lag(subject: Subject) -> str:
    generation, observed = subject.obj.metadata.generation, subject.obj.status.observed_generation
    if generation is None or observed is None:
        return ""
    # Controllers write -1 before the first run has ended; that is no generation.
    return number(f.RESOURCE_GENERATION_LAG, subject.labels, generation - max(observed, 0))


def _inventory_entries(subject: Subject) -> str:
    inventory = subject.obj.status.inventory
    entries = inventory if inventory is None or isinstance(inventory, list) else inventory.entries
    return number(f.RESOURCE_INVENTORY_ENTRIES, subject.labels, None if entries is None else len(entries))


def _failing_since(subject: Subject) -> str:
    verdict = subject.verdict
    start = verdict.failure.start if verdict is not None and verdict.failing and verdict.failure else None
    return number(f.FAILING_SINCE, subject.labels, start)


def _failing_since_uncertainty(subject: Subject) -> str:
    verdict = subject.verdict
    width = verdict.failure.width if verdict is not None and verdict.failing and verdict.failure else None
    return number(f.FAILING_SINCE_UNCERTAINTY, subject.labels, width)


def _failure(subject: Subject) -> str:
    verdict, diagnosis = subject.verdict, subject.diagnosis
    if verdict is None or diagnosis is None or not verdict.failing:
        return ""
    failure = diagnosis.failure
    labels = label_text(
        (
            ("reason", subject.node.reason),
            ("failure_class", failure.failure_class.value),
            ("upstream_host", failure.upstream_host),
            ("shared_cause", failure.shared_cause),
        )
    )
    return line(f.FAILURE_INFO.name, f"{subject.labels},{labels}", 1)


def _failing_children(subject: Subject) -> str:
    verdict, diagnosis = subject.verdict, subject.diagnosis
    if verdict is None or diagnosis is None or not verdict.failing:
        return ""
    lines = []
    for child in diagnosis.children:
        labels = label_text(
            (("child_kind", child.kind), ("child_name", child.name), ("child_namespace", child.namespace))
        )
        lines.append(line(f.FAILING_CHILD_INFO.name, f"{subject.labels},{labels}", 1))
    return "".join(lines)


def _waiting_since(subject: Subject) -> str:
    return number(
        f.WAITING_SINCE, subject.labels, subject.verdict.waiting_since if subject.verdict is not None else None
    )


def _progressing_since(subject: Subject) -> str:
    return number(
        f.PROGRESSING_SINCE, subject.labels, subject.verdict.running_since if subject.verdict is not None else None
    )


def _dependencies(subject: Subject) -> str:
    edges = list(subject.node.edges)
    spec = subject.obj.spec
    if spec.wait or spec.health_checks:
        edges += [Edge(Via.HEALTH, child) for child in subject.node.children]
    return "".join([dependency(subject.labels, edge.target, edge.via) for edge in edges])


def dependency(labels: str, target: Key, via: Via) -> str:
    """One sample of gotk_resource_dependency_info: also what others know of an object has some."""
    return line(f.DEPENDENCY_INFO.name, f"{labels},{_on_labels(target, via)}", 1)


@functools.lru_cache(maxsize=4096)
def _on_labels(target: Key, via: Via) -> str:
    """Whole fleets hang from a few sources."""
    return label_text(
        (("on_kind", target.kind), ("on_name", target.name), ("on_namespace", target.namespace), ("via", via.value))
    )


SAMPLES: Mapping[str, Callable[[Subject], str]] = {
    f.RECONCILE_CONDITION.name: _reconcile_condition,
    f.SUSPEND_STATUS.name: _suspend_status,
    f.RESOURCE_INFO.name: _resource_info,
    f.RESOURCE_CONDITION.name: _resource_condition,
    f.FAILING_SINCE.name: _failing_since,
    f.FAILING_SINCE_UNCERTAINTY.name: _failing_since_uncertainty,
    f.FAILURE_INFO.name: _failure,
    f.FAILING_CHILD_INFO.name: _failing_children,
    f.WAITING_SINCE.name: _waiting_since,
    f.PROGRESSING_SINCE.name: _progressing_since,
    f.DEPENDENCY_INFO.name: _dependencies,
    f.RESOURCE_INTERVAL.name: _interval,
    f.RESOURCE_TIMEOUT.name: _timeout,
    f.RESOURCE_GENERATION_LAG.name: _generation_lag,
    f.LAST_RECONCILE.name: _last_reconcile,
    f.USUAL_RUN.name: _usual_run,
    f.RESOURCE_INVENTORY_ENTRIES.name: _inventory_entries,
    **RISKS,
}

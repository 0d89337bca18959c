"""What to look at next: for each root cause, by its reason and kind, commands that a person may copy, and sentences.

A line is a command with a comment that says what it shows, or a sentence. Names come from specs that anybody may have
written, so that they are quoted as a shell wants it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gotk_exporter.flux.blame import (
    CONDITION_NOT_MET,
    CYCLE,
    NOT_FOUND,
    NOT_WATCHED,
    PROGRESSING,
    RECOVERED,
    REVISION_NOT_UP_TO_DATE,
    SUSPENDED,
    TERMINATING,
)
from gotk_exporter.flux.kinds import BY_NAME
from gotk_exporter.flux.nodes import Node
from gotk_exporter.flux.references import Key

MAX_CAUSES = 3
"""Of which something is said: more is no advice."""


@dataclass(frozen=True, slots=True)
class Matter:
    """A root cause as far as advice depends on it."""

    key: Key
    reason: str
    state: str
    before: Key
    """What waits for it, on the way from the object that was asked for."""
    via: str
    cycle: tuple[Key, ...] = ()


_OWN = ""
"""In the table: an object's own failure, whatever the reason; and any kind."""

_DESCRIBE = "{kubectl} describe {ref}  # its conditions and events"
_LOGS = "flux logs --kind={kind} --name={name} -n {namespace} --level=error --since=1h"
_RETRY = "{reconcile}  # try again, once it is mended"

_TABLE: Mapping[tuple[str, str], tuple[str, ...]] = {
    (_OWN, NOT_FOUND): (
        "{kubectl} get {resource}  # is it there under another name?",
        "{kubectl_before} get {ref_before} -o yaml  # is {field} of {before} right?",
        "{parent_of}",
    ),
    (_OWN, SUSPENDED): (
        "{kubectl} describe {ref}  # somebody suspended it: its annotations may say who, and why",
        "{resume}  # once you know that it may run",
    ),
    (_OWN, TERMINATING): (
        "{kubectl} get {ref} -o jsonpath='{{.metadata.finalizers}}'  # what its deletion waits for",
        "{kubectl} describe {ref}  # what its controller says about it",
    ),
    (_OWN, CYCLE): (
        "They wait for each other, and none will ever start: {members}.",
        "{kubectl} get {ref} -o yaml  # take one dependency out of the circle, in Git",
    ),
    (_OWN, CONDITION_NOT_MET): (
        "What it depends on is ready, but not as its readyExpr wants it.",
        "{kubectl} get {ref} -o jsonpath='{{.spec.dependsOn}}'  # compare with the status of what it names",
    ),
    (_OWN, PROGRESSING): (
        "{object} has not ended its run; that is no failure until its timeout has passed.",
        "{kubectl} get {ref} --watch",
    ),
    (_OWN, REVISION_NOT_UP_TO_DATE): (
        "{object} is ready, and has not applied the newest revision of its source yet; it will, by itself.",
        "{reconcile}  # if you cannot wait",
    ),
    (_OWN, RECOVERED): (
        "{object} is well again; {before} has not run since, and its next run will tell.",
        "{reconcile_before}  # if you cannot wait",
    ),
    (_OWN, NOT_WATCHED): (
        "Nothing is known of {object}: its kind is not listed, or may not be.",
        "{kubectl} describe {ref}",
    ),
    (_OWN, _OWN): (_DESCRIBE, _LOGS),
    ("Kustomization", _OWN): (_DESCRIBE, _LOGS, _RETRY),
    ("Kustomization", "HealthCheckFailed"): (
        "flux tree kustomization {name} -n {namespace}  # what it applied; the message names what is not ready",
        "{kubectl} describe {ref}  # the whole message",
        "{kubectl} get events --sort-by=.lastTimestamp  # and in the namespace of what is not ready",
    ),
    ("Kustomization", "BuildFailed"): (
        "{kubectl} describe {ref}  # the whole message: which file, which field",
        "flux build kustomization {name} -n {namespace} --path ./PATH  # in a clone, at the failing commit",
    ),
    ("Kustomization", "ArtifactFailed"): (
        "{kubectl} get {ref} -o jsonpath='{{.spec.path}}'  # is this path in the newest commit?",
        _DESCRIBE,
    ),
    ("Kustomization", "PruneFailed"): (_DESCRIBE, "flux tree kustomization {name} -n {namespace}", _LOGS),
    ("HelmRelease", _OWN): (
        _DESCRIBE,
        "helm -n {namespace} history {name}  # if the release has another name or place: see its spec",
        _LOGS,
    ),
    ("HelmRelease", "RetriesExceeded"): (
        _DESCRIBE,
        "helm -n {namespace} history {name}",
        "flux reconcile helmrelease {name} -n {namespace} --reset  # it is out of retries, and does nothing by itself",
    ),
    **{
        ("HelmRelease", reason): (
            """{kubectl} get {ref} -o jsonpath='{{.status.conditions[?(@.type=="Released")].message}}'"""
            "  # why the release failed, before it was taken back",
            "helm -n {namespace} history {name}",
            _LOGS,
        )
        for reason in ("RollbackSucceeded", "RollbackFailed", "UninstallSucceeded", "UninstallFailed")
    },
    ("HelmRelease", "TestFailed"): (_DESCRIBE, "{kubectl} get pods  # the test's pod and its logs"),
    ("GitRepository", "AuthenticationFailed"): (
        "{kubectl} get {ref} -o jsonpath='{{.spec.secretRef.name}}'  # has this Secret's token or key run out?",
        _RETRY,
    ),
    ("OCIRepository", "AuthenticationFailed"): (
        "{kubectl} get {ref} -o jsonpath='{{.spec.provider}} {{.spec.secretRef.name}}'  # who logs in, and how?",
        _RETRY,
    ),
    **{
        (kind, _OWN): (_DESCRIBE, _LOGS, _RETRY)
        for kind in ("GitRepository", "OCIRepository", "Bucket", "HelmRepository", "HelmChart", "ImageRepository")
    },
    ("Receiver", _OWN): (
        "{kubectl} get {ref} -o jsonpath='{{.spec.secretRef.name}}'  # is this Secret there, with a token?",
        _DESCRIBE,
    ),
    ("Canary", _OWN): (_DESCRIBE, "{kubectl} get events --sort-by=.lastTimestamp  # which check failed, how often"),
}
"""By kind and reason. The first that is there: both, the reason for any kind, the kind's own failure, any failure."""

_FIELDS = {
    "dependsOn": "spec.dependsOn",
    "sourceRef": "spec.sourceRef",
    "chartRef": "spec.chartRef or spec.chart",
    "image": "spec.imageRepositoryRef",
    "health": "what it applies",
}

_FLUX: Mapping[str, str] = {
    "Kustomization": "kustomization",
    "HelmRelease": "helmrelease",
    "GitRepository": "source git",
    "OCIRepository": "source oci",
    "Bucket": "source bucket",
    "HelmRepository": "source helm",
    "HelmChart": "source chart",
    "Receiver": "receiver",
    "ImageRepository": "image repository",
    "ImageUpdateAutomation": "image update",
}
"""Kinds that the flux command reconciles and resumes, and what it calls them."""
_COMMON = frozenset({"Bucket", "HelmChart", "Receiver"})
"""Crossplane, k3s and others have kinds of these names."""


def for_causes(causes: Sequence[Matter]) -> Iterator[str]:
    """What to look at, the most important cause first; nothing twice."""
    lines = (line for matter in causes[:MAX_CAUSES] for line in _lines(matter))
    yield from dict.fromkeys(lines)
    if len(causes) > MAX_CAUSES:
        yield f"And {len(causes) - MAX_CAUSES} more causes, as named above."


def without_cause(key: Key, state: str, node: Node | None, now: float) -> Iterator[str]:
    """For an object that is not ready, and of which nobody is the cause."""
    words = _words(Matter(key, _OWN, state, key, ""))
    if state == "waiting":
        wait = node.wait if node is not None else None
        if wait is not None and now >= wait.since + wait.patience_seconds:
            yield "All that it waits for looks ready now. If it still waits in a minute, it is its own cause:"
            yield "{kubectl} get {ref} -o yaml  # is there a readyExpr that never holds?".format_map(words)
        else:
            yield "All that it waits for looks ready now; its next attempt, within a minute or so, will tell."
    templates = {
        "running": ("{kubectl} get {ref} --watch  # until its run ends",),
        "terminating": _TABLE[_OWN, TERMINATING],
    }
    for template in templates.get(state, (_DESCRIBE,)):
        yield template.format_map(words)


def _lines(matter: Matter) -> Iterator[str]:
    kind, reason = matter.key.kind, matter.reason
    places = ((kind, reason), (_OWN, reason), (kind, _OWN), (_OWN, _OWN))
    words = _words(matter)
    for template in next(_TABLE[place] for place in places if place in _TABLE):
        if line := template.format_map(words):
            yield line


def _words(matter: Matter) -> dict[str, str]:
    key, before = matter.key, matter.before
    members = [_object(member) for member in (*matter.cycle, *matter.cycle[:1])]
    return {
        "kind": key.kind,
        "name": shlex.quote(key.name),
        "namespace": shlex.quote(key.namespace),
        "object": _object(key),
        "before": _object(before),
        "ref": _reference(key),
        "ref_before": _reference(before),
        "resource": _resource(key),
        "kubectl": _kubectl(key),
        "kubectl_before": _kubectl(before),
        "resume": _resume(key),
        "reconcile": _reconcile(key),
        "reconcile_before": _reconcile(before),
        "field": _FIELDS.get(matter.via, "the spec"),
        "members": " -> ".join(members),
        "parent_of": "helm-controller makes it for the HelmRelease: see its spec.chart." if _is_made(matter) else "",
    }


def _is_made(matter: Matter) -> bool:
    return matter.key.kind == "HelmChart" and matter.before.kind == "HelmRelease"


def _object(key: Key) -> str:
    return f"{key.kind} {key.namespace}/{key.name}"


def _kubectl(key: Key) -> str:
    return f"kubectl -n {shlex.quote(key.namespace)}"


def _resource(key: Key) -> str:
    """In full where another project is likely to have a kind of the same name."""
    kind = BY_NAME.get(key.kind)
    if kind is None:
        return shlex.quote(key.kind.lower())
    return kind.name.lower() if key.kind in _FLUX.keys() - _COMMON else kind.resource


def _reference(key: Key) -> str:
    return f"{_resource(key)}/{shlex.quote(key.name)}"


def _reconcile(key: Key) -> str:
    if key.kind in _FLUX:
        return f"flux reconcile {_FLUX[key.kind]} {shlex.quote(key.name)} -n {shlex.quote(key.namespace)}"
    requested = 'reconcile.fluxcd.io/requestedAt="$(date +%s)"'
    return f"{_kubectl(key)} annotate --overwrite {_reference(key)} {requested}"


def _resume(key: Key) -> str:
    if key.kind in _FLUX:
        return f"flux resume {_FLUX[key.kind]} {shlex.quote(key.name)} -n {shlex.quote(key.namespace)}"
    kind = BY_NAME.get(key.kind)
    if kind is not None and kind.suspend_annotation is not None:
        return f"{_kubectl(key)} annotate --overwrite {_reference(key)} {kind.suspend_annotation}=enabled"
    return f"""{_kubectl(key)} patch {_reference(key)} --type=merge -p '{{"spec":{{"suspend":false}}}}'"""

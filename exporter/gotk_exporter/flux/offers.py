"""What one object shows that others are compared with: what a source offers, what a Receiver asks for, where an image
automation pushes to.

Values, read from one object; what follows from them stands in revisions, coverage and pushes.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gotk_exporter.flux.evidence import SUCCEEDED, condition_of
from gotk_exporter.flux.objects import FluxObject, HistoryEntry, Ref, Selected
from gotk_exporter.flux.references import Key
from gotk_exporter.flux.rows import Kind
from gotk_exporter.flux.timestamps import parse_timestamp


@dataclass(frozen=True, slots=True)
class Polled:
    """Of a source that looks at the outside: who asked it to, and what a Receiver finds it by."""

    uid: str
    requested: str
    """The annotation with which a Receiver, or a person, asks for a reconcile."""
    handled: str
    """The request of its last run: that of its beginning, written at its end."""
    generation: int | None
    observed: int | None
    """The generation of its last run that ended well."""
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Available:
    """Of a source: since when its revision is there to be had. The revision itself is Node.revision."""

    updated_at: float | None
    """When its artifact was stored, in Unix seconds."""
    polled: Polled | None


ROUNDED_UP_SECONDS = 60.0
"""To whole minutes."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Of what applies a source: what tells, beside Node.revision, what it has of that."""

    proof: str
    """Of a HelmRelease: the digest of the chart that is deployed. Of a Terraform: the revision that its message says
    it is at, without having had anything to apply."""
    well_at: float
    """When it last applied what it has, in Unix seconds, ROUNDED_UP_SECONDS so that many share one; 0 if unknown."""


Offer = Available | Taken
"""The two ends of a revision's way."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Of a Receiver: objects that it asks to be reconciled when it is called."""

    target: Key
    """Its name is empty where ``labels`` choose."""
    labels: tuple[tuple[str, str], ...] = ()
    """All of which an object must have."""


@dataclass(frozen=True, slots=True)
class PushesTo:
    """Of an ImageUpdateAutomation: the branch that it pushes to, and where."""

    source: Key
    branch: str | None
    """None for the one that its source names."""
    also: str = ""
    """The branch that its refspec pushes to besides; empty where it names none."""


@dataclass(frozen=True, slots=True)
class Follows:
    """Of a GitRepository: the branch that it follows."""

    branch: str
    """Empty where it is at a tag, a commit or anything else that a push to a branch does not move."""
    stated: str
    """What it says about a branch, whether that counts or not: an automation goes by it that says nothing itself."""


Push = PushesTo | Follows
"""The two ends of a push."""


POLLING = frozenset({"GitRepository", "OCIRepository", "Bucket", "HelmRepository", "ImageRepository"})
"""Kinds that look at the outside when a Receiver is called. A HelmChart, an ExternalArtifact and an ArtifactGenerator
follow other objects, and no Receiver can name a ResourceSetInputProvider (the enum of kinds in its CRD)."""
_FOLLOWING = frozenset({"HelmChart", "ExternalArtifact"})
MAX_SELECTED = 1024
"""Entries of one Receiver: more do not get into the page or the memory, whatever somebody writes."""
REQUESTED_AT = "reconcile.fluxcd.io/requestedAt"


def offer_of(kind: Kind, obj: FluxObject) -> Offer | None:
    """None for what neither offers a revision nor applies one."""
    taken = _TAKEN.get(kind.name)
    if taken is not None:
        return taken(obj)
    if kind.name not in POLLING and kind.name not in _FOLLOWING:
        return None
    artifact = obj.status.artifact
    return Available(
        parse_timestamp(artifact.last_update_time) if artifact is not None else None,
        _polled(obj) if kind.name in POLLING and not _is_static(kind, obj) else None,
    )


def selects_of(kind: Kind, obj: FluxObject) -> tuple[Selector, ...]:
    """Empty for what is no Receiver. Kinds that do not poll are left out."""
    if kind.name != "Receiver":
        return ()
    entries = (obj.spec.resources or ())[:MAX_SELECTED]
    selectors = (_selector(entry, obj) for entry in entries if entry.kind in POLLING)
    return tuple(dict.fromkeys(selector for selector in selectors if selector is not None))


def _is_static(kind: Kind, obj: FluxObject) -> bool:
    """A HelmRepository of type oci only names a registry: nobody fetches anything for it."""
    return kind.name == "HelmRepository" and obj.spec.type == "oci"


def _polled(obj: FluxObject) -> Polled:
    metadata, status = obj.metadata, obj.status
    requested = (metadata.annotations or {}).get(REQUESTED_AT, "")
    handled = status.last_handled_reconcile_at or ""
    return Polled(
        metadata.uid,
        requested,
        # Nearly always the same text, from two places of the object.
        requested if handled == requested else handled,
        metadata.generation,
        status.observed_generation,
        _pairs(metadata.labels or {}),
    )


def _selector(entry: Selected, receiver: FluxObject) -> Selector | None:
    """As requestReconciliation() and notifyDynamicResources() have it in notification-controller's
    internal/server/receiver_handlers.go: labels count only where the name is "*", and must then be there."""
    target = Key(sys.intern(entry.kind), sys.intern(entry.namespace or receiver.metadata.namespace), entry.name)
    if entry.name != "*":
        return Selector(target) if entry.name else None
    return Selector(target._replace(name=""), _pairs(entry.match_labels)) if entry.match_labels is not None else None


def _pairs(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple([(sys.intern(name), sys.intern(value)) for name, value in labels.items()])


@functools.lru_cache(maxsize=4096)
def _taken(proof: str, well_at: float | None) -> Taken:
    """One serves all objects of a fleet that say the same."""
    return Taken(proof, math.ceil((well_at or 0.0) / ROUNDED_UP_SECONDS) * ROUNDED_UP_SECONDS)


def _taken_by_runs(obj: FluxObject) -> Taken:
    ends = [
        entry.last_reconciled or "" for entry in obj.status.history or () if entry.last_reconciled_status == SUCCEEDED
    ]
    # They are all in one form, and sort as text.
    return _taken("", parse_timestamp(max(ends, default="")))


def _taken_by_release(obj: FluxObject) -> Taken:
    """A release notes when it began to be deployed; when that had ended, the condition of the action says."""
    deployed = next((entry for entry in obj.status.history or () if entry.status == "deployed"), HistoryEntry())
    actions = (condition_of(obj, "Released"), condition_of(obj, "Remediated"))
    ends = [action.last_transition_time or "" for action in actions if action is not None and action.status == "True"]
    return _taken(sys.intern(deployed.oci_digest or ""), parse_timestamp(max([deployed.last_deployed or "", *ends])))


def _taken_by_plan(obj: FluxObject) -> Taken:
    """A plan without changes leaves lastAppliedRevision as it was; the message of Ready=True ends with the revision
    that it is at (api/v1alpha2/terraform_types.go of tofu-controller)."""
    ready = condition_of(obj, "Ready")
    proof = ready.message.rpartition(": ")[2] if ready is not None and ready.status == "True" else ""
    return _taken(sys.intern(proof), parse_timestamp(obj.status.last_successful_reconcile_at))


_TAKEN: Mapping[str, Callable[[FluxObject], Taken]] = {
    "Kustomization": _taken_by_runs,
    "HelmRelease": _taken_by_release,
    "Terraform": _taken_by_plan,
}


def push_of(kind: Kind, obj: FluxObject) -> Push | None:
    """None for what neither pushes nor is pushed to, and for an automation that its controller would refuse."""
    if kind.name == "GitRepository":
        return _follows(obj.spec.ref or Ref())
    return _pushes_to(obj) if kind.name == "ImageUpdateAutomation" else None


_BRANCHES = "refs/heads/"
_DEFAULT_BRANCH = "master"
"""Whatever the repository's own default is: DefaultBranch in fluxcd/pkg, git/repository/options.go."""


def _follows(ref: Ref) -> Follows:
    """In the order of clone() in fluxcd/pkg, git/gogit/client.go."""
    if ref.commit:
        branch = ""
    elif ref.name:
        branch = ref.name.removeprefix(_BRANCHES) if ref.name.startswith(_BRANCHES) else ""
    elif ref.tag or ref.semver:
        branch = ""
    else:
        branch = ref.branch or _DEFAULT_BRANCH
    return Follows(sys.intern(branch), sys.intern(ref.branch or ""))


def _pushes_to(obj: FluxObject) -> PushesTo | None:
    """As configurePush and CommitAndPush in image-automation-controller, internal/source: to push.branch, else to the
    checkout's branch, else to the source's; and then, in any case, as push.refspec says."""
    source, git = obj.spec.source_ref, obj.spec.git
    if source is None or not source.name or source.kind not in ("", "GitRepository") or git is None:
        return None
    branch = git.push.branch if git.push is not None and git.push.branch else None
    if branch is None and git.checkout is not None:
        # What is checked out for it has no default: master is not guessed here, and then it does not push at all.
        branch = git.checkout.ref.branch if git.checkout.ref is not None else None
        if not branch:
            return None
    also = _branch_in(git.push.refspec or "") if git.push is not None else ""
    return PushesTo(Key("GitRepository", source.namespace or obj.metadata.namespace, source.name), branch, also)


def _branch_in(refspec: str) -> str:
    """The branch that a refspec "[+]what:where" pushes to; empty for a deletion and for what is no branch, as Gerrit's
    refs/for/main. A pattern becomes a name that no branch can have."""
    what, _, where = refspec.removeprefix("+").partition(":")
    return where.removeprefix(_BRANCHES) if what and where.startswith(_BRANCHES) else ""

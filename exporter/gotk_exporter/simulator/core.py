"""The kinds that every cluster has, as far as Flux's neighbours need them: a table, and the rules of namespaces.

There is no namespace controller, as there is none beside a bare kube-apiserver: a deleted namespace stays Terminating
until its finalize subresource is written. Secrets and ConfigMaps are objects like any other.
"""

from __future__ import annotations

from functools import partial

from gotk_exporter.simulator.state.errors import Cause, invalid
from gotk_exporter.simulator.state.objects import Document
from gotk_exporter.simulator.state.served import AGE, Column, Rules, ServedKind, ServedVersion

FIRST_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
"""Those that kube-apiserver makes itself."""


class _NamespaceRules(Rules):
    """A namespace is held by spec.finalizers, and carries its own name as a label."""

    def prepare(self, document: Document, old: Document | None) -> None:
        metadata = document["metadata"]
        name = metadata.get("name", "")
        if "." in name:
            message = f'Invalid value: "{name}": must not contain dots'
            raise invalid(NAMESPACE, name, Cause("FieldValueInvalid", message, "metadata.name"))
        metadata["labels"] = {**metadata.get("labels", {}), "kubernetes.io/metadata.name": name}
        if old is None:
            document["spec"] = {"finalizers": ["kubernetes"]}
            document["status"] = {"phase": "Active"}

    def begin_deletion(self, document: Document) -> None:
        document["status"] = {**document.get("status", {}), "phase": "Terminating"}

    def is_held(self, document: Document) -> bool:
        return bool((document.get("spec") or {}).get("finalizers")) or super().is_held(document)


_core = partial(ServedKind, has_generation=False, custom=False)


def _v1(*columns: Column, status: bool = False) -> tuple[ServedVersion]:
    return (ServedVersion("v1", status, (*columns, AGE)),)


NAMESPACE = _core(
    "",
    "namespaces",
    "Namespace",
    _v1(Column("Status", ".status.phase"), status=True),
    namespaced=False,
    short_names=("ns",),
    subresources=("finalize",),
    rules=_NamespaceRules(),
)

KINDS: tuple[ServedKind, ...] = (
    NAMESPACE,
    _core("", "secrets", "Secret", _v1(Column("Type", ".type"))),
    _core("", "configmaps", "ConfigMap", _v1(), short_names=("cm",)),
    _core(
        "",
        "events",
        "Event",
        _v1(
            Column("Last Seen", ".lastTimestamp", "date"),
            Column("Type", ".type"),
            Column("Reason", ".reason"),
            Column("Kind", ".involvedObject.kind"),
            Column("Object", ".involvedObject.name"),
            Column("Message", ".message"),
        ),
        short_names=("ev",),
        selectable=(
            "involvedObject.apiVersion",
            "involvedObject.fieldPath",
            "involvedObject.kind",
            "involvedObject.name",
            "involvedObject.namespace",
            "involvedObject.resourceVersion",
            "involvedObject.uid",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ),
    ),
    _core("coordination.k8s.io", "leases", "Lease", _v1(Column("Holder", ".spec.holderIdentity"))),
)

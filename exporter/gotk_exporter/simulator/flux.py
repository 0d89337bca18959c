"""Definitions of the kinds that Flux and its neighbours bring, as small as they serve: made from flux/kinds.

Names and groups are that table's; what only an API server knows of a kind (versions, short names, columns) stands
here. Real CRDs can be created over HTTP in their place.

Sources: the CRDs of Flux 2.9, flux-operator, tofu-controller and Flagger.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gotk_exporter.flux.kinds import KINDS
from gotk_exporter.flux.rows import Kind
from gotk_exporter.simulator.state.objects import Document
from gotk_exporter.simulator.state.served import Column

_READY = '.status.conditions[?(@.type=="Ready")]'
_AGE = Column("Age", ".metadata.creationTimestamp", "date")
_USUAL = (_AGE, Column("Ready", f"{_READY}.status"), Column("Status", f"{_READY}.message"))
_URL = (Column("URL", ".spec.url"), *_USUAL)

_VERSION = {"helm.toolkit.fluxcd.io": "v2", "flagger.app": "v1beta1", "infra.contrib.fluxcd.io": "v1alpha2"}
"""By group, where it is not v1."""
_VERSION_OF = {"Alert": "v1beta3", "Provider": "v1beta3", "ArtifactGenerator": "v1beta1"}
"""By kind, where it is not the group's."""
_SHORT = {
    "Kustomization": "ks",
    "HelmRelease": "hr",
    "GitRepository": "gitrepo",
    "OCIRepository": "ocirepo",
    "HelmRepository": "helmrepo",
    "HelmChart": "hc",
    "ExternalArtifact": "ea",
    "ArtifactGenerator": "ag",
    "ImageRepository": "imgrepo",
    "ImagePolicy": "imgpol",
    "ImageUpdateAutomation": "iua",
    "ResourceSet": "rset",
    "ResourceSetInputProvider": "rsip",
    "Terraform": "tf",
}
_COLUMNS = {
    "GitRepository": _URL,
    "OCIRepository": _URL,
    "HelmRepository": _URL,
    "Bucket": (Column("Endpoint", ".spec.endpoint"), *_USUAL),
    "HelmChart": (Column("Chart", ".spec.chart"), Column("Version", ".spec.version"), *_USUAL),
    "Canary": (
        Column("Status", ".status.phase"),
        Column("Weight", ".status.canaryWeight"),
        Column("LastTransitionTime", ".status.lastTransitionTime"),
    ),
    **dict.fromkeys(("Alert", "Provider", "MetricTemplate", "AlertProvider"), (_AGE,)),
}
_WITHOUT_STATUS = frozenset({"Alert", "Provider"})
_NEVER_OBSERVED = {"observedGeneration": -1}
"""The default status of kinds with Flux's own controllers, until one of them looked at the object."""
_WITHOUT_DEFAULT = frozenset({"ExternalArtifact"})


def definitions(kinds: Iterable[Kind] = KINDS) -> list[Document]:
    """A CustomResourceDefinition for each of ``kinds``."""
    return [_definition(kind) for kind in kinds]


def _definition(kind: Kind) -> Document:
    columns = _COLUMNS.get(kind.name, _USUAL)
    schema: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    if kind.group.endswith(".toolkit.fluxcd.io") and kind.name not in _WITHOUT_STATUS | _WITHOUT_DEFAULT:
        status = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "default": _NEVER_OBSERVED}
        schema["properties"] = {"status": status}
    version = {
        "name": _VERSION_OF.get(kind.name) or _VERSION.get(kind.group, "v1"),
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [
            {"name": column.name, "type": column.type, "jsonPath": column.path} for column in columns
        ],
        **({} if kind.name in _WITHOUT_STATUS else {"subresources": {"status": {}}}),
    }
    names = {"kind": kind.name, "plural": kind.plural, "categories": ["all", "fluxcd"]}
    if kind.name in _SHORT:
        names["shortNames"] = [_SHORT[kind.name]]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.resource},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced",
            "names": names,
            "versions": [version],
        },
    }

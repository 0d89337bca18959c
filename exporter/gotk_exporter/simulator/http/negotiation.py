"""In which form does the client want its answer? The Accept header, as kube-apiserver reads it: the first that fits.

There is no YAML and no protobuf.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping

from gotk_exporter.simulator.state.errors import not_acceptable

JSON = "application/json"


class Form(enum.Enum):
    """Of objects."""

    WHOLE = "the object"
    TABLE = "rows of a table, as kubectl prints them"
    METADATA = "the object's metadata only"


_FORMS: Mapping[str, Form] = {
    "": Form.WHOLE,
    "Table": Form.TABLE,
    "PartialObjectMetadata": Form.METADATA,
    "PartialObjectMetadataList": Form.METADATA,
}
_META_VERSIONS = frozenset({"v1", "v1beta1"})
_DISCOVERY_VERSIONS = frozenset({"v2", "v2beta1"})


def choose_form(accept: str) -> Form:
    """Raises Refusal where none of what is accepted can be had."""
    for media_type, parameters in _accepted(accept):
        wanted = parameters.get("as", "")
        known = not wanted or (parameters.get("g") == "meta.k8s.io" and parameters.get("v") in _META_VERSIONS)
        if media_type in (JSON, "application/*", "*/*") and known and wanted in _FORMS:
            return _FORMS[wanted]
    raise not_acceptable([JSON])


def choose_discovery(accept: str) -> str:
    """The version of aggregated discovery that is wanted; empty for the plain form. Raises Refusal as choose_form."""
    for media_type, parameters in _accepted(accept):
        if media_type not in (JSON, "application/*", "*/*"):
            continue
        if not parameters.get("as"):
            return ""
        group, version = parameters.get("g"), parameters.get("v", "")
        known = group == "apidiscovery.k8s.io" and version in _DISCOVERY_VERSIONS
        if known and parameters["as"] == "APIGroupDiscoveryList":
            return version
    raise not_acceptable([JSON])


def _accepted(accept: str) -> Iterator[tuple[str, dict[str, str]]]:
    for one in (accept or "*/*").split(","):
        media_type, *parameters = (part.strip() for part in one.split(";"))
        yield media_type, dict(_pair(parameter) for parameter in parameters)


def _pair(parameter: str) -> tuple[str, str]:
    name, _, value = parameter.partition("=")
    return name.strip(), value.strip()

"""Is an object's metadata one that kube-apiserver would take? Types, names, labels, finalizers; never the rest of it.

Reference: k8s.io/apimachinery, pkg/api/validation and pkg/util/validation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from gotk_exporter.simulator.state.errors import Cause, NamedKind, Refusal, bad_request, invalid
from gotk_exporter.simulator.state.objects import Document

_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    f"end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
_KEY = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_KEY_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    f"character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_KEY}')"
)
_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'{_VALUE}')"
)
_LONGEST_NAME, _LONGEST_LABEL = 253, 63


class _OwnerReference(msgspec.Struct):
    uid: str


class _Metadata(msgspec.Struct, rename="camel"):
    """The types of what a client writes there."""

    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    resource_version: str | None = None
    uid: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None
    owner_references: list[_OwnerReference] | None = None


def metadata_of(kind: NamedKind, document: Mapping[str, Any], version: str, *, patched: bool = False) -> Document:
    """A copy of the object's metadata, its types checked; what is null is left out.

    Raises:
        Refusal: it is not what it should be: 400, or 422 where a patch made it so.
    """
    metadata = document.get("metadata")
    try:
        msgspec.convert({} if metadata is None else metadata, _Metadata)
    except msgspec.ValidationError as error:
        if patched:
            raise Refusal(422, "Invalid", f' "" is invalid: patch: Invalid value: {error}') from None
        message = f'{kind.name} in version "{version}" cannot be handled as a {kind.name}: {error}'
        raise bad_request(message) from None
    # Empty maps and lists are as good as none there, and kube-apiserver's types drop them.
    return {name: value for name, value in (metadata or {}).items() if value not in (None, {}, [])}


def check(kind: NamedKind, metadata: Mapping[str, Any], old: Mapping[str, Any] | None) -> None:
    """Refuse metadata that is invalid by itself or as a successor of ``old``."""
    causes = list(_name_causes(metadata))
    for field in "labels", "annotations":
        causes += _key_causes(metadata.get(field, ()), f"metadata.{field}")
    for value in metadata.get("labels", {}).values():
        if len(value) > _LONGEST_LABEL:
            causes.append(_bad("metadata.labels", value, f"must be no more than {_LONGEST_LABEL} characters"))
        elif not re.fullmatch(_VALUE, value):
            causes.append(_bad("metadata.labels", value, _VALUE_TEXT))
    causes += _key_causes(metadata.get("finalizers", ()), "metadata.finalizers")
    if old is not None:
        causes += _successor_causes(metadata, old)
    if causes:
        raise invalid(kind, metadata.get("name", ""), *causes)


def _name_causes(metadata: Mapping[str, Any]) -> Iterator[Cause]:
    name = metadata.get("name")
    if not name:
        message = "Required value: name or generateName is required"
        yield Cause("FieldValueRequired", message, "metadata.name")
    elif len(name) > _LONGEST_NAME:
        yield _bad("metadata.name", name, f"must be no more than {_LONGEST_NAME} characters")
    elif not re.fullmatch(_SUBDOMAIN, name):
        yield _bad("metadata.name", name, _SUBDOMAIN_TEXT)


def _key_causes(keys: Iterable[str], field: str) -> Iterator[Cause]:
    for key in keys:
        prefix, slash, name = key.rpartition("/")
        if slash and not re.fullmatch(_SUBDOMAIN, prefix):
            yield _bad(field, key, f"prefix part {_SUBDOMAIN_TEXT}")
        elif len(name) > _LONGEST_LABEL:
            yield _bad(field, key, f"name part must be no more than {_LONGEST_LABEL} characters")
        elif not re.fullmatch(_KEY, name):
            yield _bad(field, key, _KEY_TEXT)


def _successor_causes(metadata: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    for field in "uid", "creationTimestamp", "deletionTimestamp":
        if metadata.get(field) != old.get(field):
            yield _bad(f"metadata.{field}", metadata.get(field), "field is immutable")
    new = [one for one in metadata.get("finalizers", ()) if one not in old.get("finalizers", ())]
    if new and "deletionTimestamp" in old:
        listed = ", ".join(f'"{one}"' for one in new)
        message = "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers "
        yield Cause("FieldValueForbidden", f"{message}[]string{{{listed}}}", "metadata.finalizers")


def _bad(field: str, value: object, because: str) -> Cause:
    quoted = f'"{value}"' if isinstance(value, str) else value
    return Cause("FieldValueInvalid", f"Invalid value: {quoted}: {because}", field)

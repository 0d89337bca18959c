"""create, update, patch and delete: what a body may be before it reaches the storage, and what is answered.

Bodies are JSON. Of patches there is the merge patch; for the core's kinds a strategic merge patch is taken as one,
which replaces lists. Server-side apply, JSON patches and dry runs are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from gotk_exporter.simulator.http.answers import JSON, Answer, json_answer
from gotk_exporter.simulator.http.calls import Call
from gotk_exporter.simulator.state.errors import Cause, Refusal, bad_request, invalid, unsupported_media_type
from gotk_exporter.simulator.state.objects import Document
from gotk_exporter.simulator.storage import Storage

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"


def create_object(storage: Storage, call: Call) -> Answer:
    _refuse_dry_run(call)
    document = _object_in(call)
    _require_namespace(call, document)
    stored = storage.create(call.target.resource, document, manager=call.manager, version=call.version.name)
    return call.writer(storage).one(stored, 201)


def update_object(storage: Storage, call: Call) -> Answer:
    _refuse_dry_run(call)
    document = _object_in(call)
    _require_namespace(call, document)
    if not call.target.object_name:
        raise bad_request("name must be provided")
    if (name := _name_in(document)) != call.target.object_name:
        message = f"the name of the object ({name}) does not match the name on the URL ({call.target.object_name})"
        raise bad_request(message)
    stored = storage.update(
        call.target.resource,
        document,
        subresource=call.target.subresource,
        manager=call.manager,
        version=call.version.name,
    )
    return call.writer(storage).one(stored)


def patch_object(storage: Storage, call: Call) -> Answer:
    _refuse_dry_run(call)
    if not call.target.object_name:
        raise bad_request("name must be provided")
    accepted = [MERGE_PATCH] if call.kind.custom else [MERGE_PATCH, STRATEGIC_MERGE_PATCH]
    _require_content_type(call, accepted)
    try:
        change = msgspec.json.decode(call.body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise bad_request(f"error decoding patch: {error}") from None
    name = call.target.object_name
    if call.kind.custom:
        _require_type(call, {"apiVersion": call.api_version, "kind": call.kind.name, **change}, name)
    stored = storage.patch(
        call.target.resource,
        call.namespace,
        name,
        change,
        subresource=call.target.subresource,
        manager=call.manager,
        version=call.version.name,
    )
    return call.writer(storage).one(stored)


def delete_object(storage: Storage, call: Call) -> Answer:
    """Answers with the object where something holds it still, else with a Status."""
    preconditions = _delete_options(call)
    name = call.target.object_name
    uid = storage.get(call.target.resource, call.namespace, name).uid
    held = storage.delete(
        call.target.resource,
        call.namespace,
        name,
        uid=preconditions.uid,
        resource_version=preconditions.resource_version,
    )
    if held is not None:
        return call.writer(storage).one(held)
    group = {"group": call.kind.group} if call.kind.group else {}
    details = {"name": name, **group, "kind": call.kind.plural, "uid": uid}
    return json_answer({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})


def delete_objects(storage: Storage, call: Call) -> Answer:
    """Answers with the objects as they were."""
    _delete_options(call)
    listing = storage.list(call.target.resource, call.target.namespace, selector=call.selector())
    for stored in listing.objects:
        # Somebody who was told of one deletion may have done another.
        if storage.find(call.target.resource, stored.namespace, stored.name) is not None:
            storage.delete(call.target.resource, stored.namespace, stored.name)
    return call.writer(storage).listing(listing)


def _object_in(call: Call) -> Document:
    """The body as an object of the call's kind; its metadata is there, and not checked yet."""
    _require_content_type(call, [JSON])
    must_be = f"the object provided is unrecognized (must be of type {call.kind.name}): "
    try:
        document = msgspec.json.decode(call.body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise bad_request(f"{must_be}couldn't get version/kind; json parse error: {error}") from None
    if call.kind.custom:
        if not document.get("kind"):
            raise bad_request(f"{must_be}Object 'Kind' is missing in the body")
        if (api_version := document.get("apiVersion", "")) != call.api_version:
            message = f"the API version in the data ({api_version}) does not match the expected API version"
            raise bad_request(f"{message} ({call.api_version})")
    if document.get("metadata") is None:
        document["metadata"] = {}
    _require_type(call, {"apiVersion": call.api_version, "kind": call.kind.name, **document}, _name_in(document))
    return document


def _name_in(document: Document) -> str:
    metadata = document["metadata"]
    return str(metadata.get("name") or "") if isinstance(metadata, dict) else ""


def _require_type(call: Call, document: Mapping[str, Any], name: str) -> None:
    for field, wanted in ("kind", call.kind.name), ("apiVersion", call.api_version):
        if (found := document[field]) != wanted:
            message = f'Invalid value: "{found}": must be {wanted}'
            # Refused in the name of what it says it is.
            named = replace(call.kind, name=document["kind"])
            raise invalid(named, name, Cause("FieldValueInvalid", message, field))


def _require_namespace(call: Call, document: Document) -> None:
    """The body's namespace is the path's, whichever of them says so."""
    metadata = document["metadata"]
    if not isinstance(metadata, dict) or not call.kind.namespaced:
        return
    if call.target.namespace is None or metadata.setdefault("namespace", call.namespace) != call.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")


def _require_content_type(call: Call, accepted: Sequence[str]) -> None:
    # Without a word, JSON is meant.
    if (call.content_type or accepted[0]) not in accepted:
        raise unsupported_media_type(accepted)


class _Preconditions(msgspec.Struct, rename="camel"):
    uid: str = ""
    resource_version: str = ""


class _DeleteOptions(msgspec.Struct, rename="camel"):
    """How dependents are deleted is nobody's business here: nobody does it."""

    preconditions: _Preconditions | None = None
    dry_run: list[str] | None = None


def _delete_options(call: Call) -> _Preconditions:
    """From the body, where there is one."""
    _refuse_dry_run(call)
    if not call.body:
        return _Preconditions()
    try:
        options = msgspec.json.decode(call.body, type=_DeleteOptions)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from None
    if options.dry_run:
        raise _no_dry_run()
    return options.preconditions or _Preconditions()


def _refuse_dry_run(call: Call) -> None:
    # Better no answer than a write that was not meant.
    if call.query.get("dryRun"):
        raise _no_dry_run()


def _no_dry_run() -> Refusal:
    return bad_request("the simulator has no dry run")

"""get and list: which version of what, and in which pages. What objects look like is forms.py's."""

from __future__ import annotations

from gotk_exporter.simulator.http.answers import Answer
from gotk_exporter.simulator.http.calls import Call
from gotk_exporter.simulator.http.options import parse_options, parse_version
from gotk_exporter.simulator.state.errors import Refusal, bad_request, too_large_version
from gotk_exporter.simulator.storage import Storage


def get_object(storage: Storage, call: Call) -> Answer:
    """One object, always the newest."""
    _require_past(storage, parse_version(call.query.get("resourceVersion", "")))
    stored = storage.get(call.target.resource, call.namespace, call.target.object_name)
    return call.writer(storage).one(stored)


def list_objects(storage: Storage, call: Call) -> Answer:
    """Objects, by the page where a limit is asked for."""
    options = parse_options(call.query, watch=False)
    limit = max(0, call.integer("limit"))
    version = parse_version(options.version, _invalid_version)
    _require_past(storage, version)
    writer = call.writer(storage)
    if options.version == "0":
        # "Any version": kube-apiserver answers from memory then, and all at once.
        limit = 0
    # Without a word about the match, a limit means exactly that version.
    exact = options.match == "Exact" or (not options.match and limit > 0)
    listing = storage.list(
        call.target.resource,
        call.target.namespace,
        selector=call.selector(),
        limit=limit,
        continue_token=options.continue_token,
        version=version if exact and version else None,
    )
    return writer.listing(listing)


def _require_past(storage: Storage, version: int) -> None:
    if version > storage.version:
        raise too_large_version(version, storage.version)


def _invalid_version(message: str) -> Refusal:
    return bad_request(f"invalid resource version: {message}")

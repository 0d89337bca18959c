"""A listing read as one body: what the stream of it has to agree with."""

from __future__ import annotations

import json

import msgspec

from gotk_exporter.kube.wire import Page, ShapeError, parse_document

_page = msgspec.json.Decoder(Page)


def decode_page(body: bytes) -> Page:
    """Raises ShapeError where the body is no listing."""
    try:
        page = _page.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        document = parse_document(body)
        items = document.pop("items", None) if isinstance(document, dict) else None
        if not isinstance(items, list):
            raise ShapeError("the answer to a list is no list") from None
        try:
            page = msgspec.convert(document, Page)
        except msgspec.ValidationError as error:
            raise ShapeError(str(error)) from None
        page.items = [msgspec.Raw(json.dumps(item).encode()) for item in items]
    if page.items is None and not page.metadata.resource_version:
        raise ShapeError("the answer to a list is no list")
    return page

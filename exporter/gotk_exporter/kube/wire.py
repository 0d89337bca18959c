"""What the API server sends, decoded: pages, watch lines, Status objects, discovery. Bytes in, values out; no I/O.

Objects stay raw: whoever keeps them decodes the part that it needs. A page or line that msgspec refuses because of what
stands inside one object (JSON may carry lone surrogates, and a proxy anything) is read a second time with the slower
and more tolerant decoder, so that one object does not cost its neighbours.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from gotk_exporter.flux.lenient import parse_tolerantly


class ShapeError(Exception):
    """The answer is not what an API server sends."""


class _Part(msgspec.Struct, rename="camel", gc=False):
    pass


class ListMeta(_Part):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class Page(_Part):
    """One page of a listing."""

    metadata: ListMeta = msgspec.field(default_factory=ListMeta)
    items: list[msgspec.Raw] | None = None


class _Bookmark(_Part):
    metadata: ListMeta = msgspec.field(default_factory=ListMeta)


class _WatchLine(_Part):
    type: str
    object: msgspec.Raw


class StatusDetails(_Part):
    retry_after_seconds: int = 0


class StatusObject(_Part):
    """The API server's own account of an error."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: StatusDetails | None = None


class _ItemMeta(_Part):
    name: str
    uid: str = ""
    namespace: str = ""
    resource_version: str = ""


class _Item(_Part):
    metadata: _ItemMeta


@dataclass(frozen=True, slots=True)
class Item:
    """One object as it came, with what list and watch need to know of it."""

    key: str
    """namespace/name."""
    uid: str
    resource_version: str
    raw: bytes | msgspec.Raw


@dataclass(frozen=True, slots=True)
class WatchLine:
    type: str
    object: bytes | msgspec.Raw


_list_meta = msgspec.json.Decoder(ListMeta)
_watch_line = msgspec.json.Decoder(_WatchLine)
_status = msgspec.json.Decoder(StatusObject)
_item = msgspec.json.Decoder(_Item)
_bookmark = msgspec.json.Decoder(_Bookmark)

_T = TypeVar("_T")

_REFUSALS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""How msgspec says no. It recurses, and so gives up at a depth that the API server accepts in free-form fields."""


def decode_list_meta(raw: bytes) -> ListMeta:
    """Raises ShapeError where a listing cannot have such metadata."""
    try:
        return _list_meta.decode(raw)
    except _REFUSALS:
        return _convert(parse_document(raw), ListMeta)


def decode_watch_line(line: bytes) -> WatchLine:
    """Raises ShapeError where the line is no watch event."""
    try:
        decoded = _watch_line.decode(line)
        return WatchLine(decoded.type, decoded.object)
    except _REFUSALS:
        document = parse_document(line)
        if not isinstance(document, dict) or not isinstance(document.get("type"), str) or "object" not in document:
            raise ShapeError("a line of a watch is no event") from None
        return WatchLine(document["type"], json.dumps(document["object"]).encode())


def decode_status(body: bytes | msgspec.Raw) -> StatusObject:
    """An empty Status where the body is none: proxies answer with whatever they like."""
    try:
        return _status.decode(body)
    except _REFUSALS:
        return StatusObject()


def identify(raw: bytes | msgspec.Raw) -> Item:
    """Raises ShapeError where the object has no name."""
    try:
        metadata = _item.decode(raw).metadata
    except _REFUSALS:
        document = parse_document(bytes(raw))
        found = document.get("metadata") if isinstance(document, dict) else None
        if not isinstance(found, dict):
            raise ShapeError("an object has no metadata") from None
        metadata = _convert({key: value for key, value in found.items() if isinstance(value, str)}, _ItemMeta)
    return Item(f"{metadata.namespace}/{metadata.name}", metadata.uid, metadata.resource_version, raw)


def resource_version_of(raw: bytes | msgspec.Raw) -> str:
    """A bookmark's resourceVersion; empty where it has none."""
    try:
        return _bookmark.decode(raw).metadata.resource_version
    except _REFUSALS:
        return ""


def parse_document(body: bytes) -> Any:
    """The JSON value, by the slower and more tolerant decoder. Raises ShapeError where it is none."""
    try:
        return parse_tolerantly(body)
    except ValueError:
        raise ShapeError("the answer is no JSON") from None


def _convert(document: object, into: type[_T]) -> _T:
    try:
        return msgspec.convert(document, into)
    except msgspec.ValidationError as error:
        raise ShapeError(str(error)) from None

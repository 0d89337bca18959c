"""Objects in the form that a client asked for: whole, as rows of a table, or their metadata only.

Whole objects are the stored text behind the beginning of their version; the other forms are made of it each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from gotk_exporter.simulator.http import tables
from gotk_exporter.simulator.http.answers import Answer, encode
from gotk_exporter.simulator.http.negotiation import Form
from gotk_exporter.simulator.state.objects import Document, Stored, beginning
from gotk_exporter.simulator.state.served import ServedKind, ServedVersion
from gotk_exporter.simulator.storage import Listing

_META = "meta.k8s.io/v1"
_OBJECTS_PER_PIECE = 100
_CLOSING = b"]}"


class Writer:
    """Writes objects of one kind at one version in one form."""

    def __init__(
        self,
        kind: ServedKind,
        version: ServedVersion,
        form: Form,
        now: Callable[[], float],
        include_object: str = "Metadata",
    ) -> None:
        """``now``: Unix time, for ages. ``include_object``: of a table's rows: None, Metadata or Object."""
        self._kind = kind
        self._version = version
        self._form = form
        self._now = now
        self._include = include_object
        self._columns_sent = False
        self.api_version = kind.api_version(version.name)
        self._beginning = beginning(self.api_version)

    def one(self, stored: Stored, status: int = 200) -> Answer:
        return Answer(status, self.pieces(stored))

    def pieces(self, stored: Stored) -> Sequence[bytes]:
        """One object's JSON."""
        if self._form is Form.WHOLE:
            return (self._beginning, stored.text)
        if self._form is Form.METADATA:
            return (encode(self._partial(stored.document(self.api_version))),)
        # A watch says its columns once.
        columns = None if self._columns_sent else tables.definitions(self._version.columns)
        self._columns_sent = True
        return (encode(self._table([stored], {"resourceVersion": str(stored.version)}, columns)),)

    def bookmark(self, version: int, *, initial_end: bool = False) -> bytes:
        """The object of a BOOKMARK event."""
        metadata: Document = {"resourceVersion": str(version), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        if self._form is Form.TABLE:
            partial = {"kind": "PartialObjectMetadata", "apiVersion": _META, "metadata": metadata}
            rows = [{"cells": [], "object": partial}]
            table: Document = {"kind": "Table", "apiVersion": _META, "metadata": {}, "columnDefinitions": None}
            return encode({**table, "rows": rows})
        whole = self._form is Form.WHOLE
        kind, api_version = (self._kind.name, self.api_version) if whole else ("PartialObjectMetadata", _META)
        return encode({"kind": kind, "apiVersion": api_version, "metadata": metadata})

    def listing(self, listing: Listing) -> Answer:
        metadata: Document = {"resourceVersion": str(listing.version)}
        if listing.continue_token:
            metadata["continue"] = listing.continue_token
        if listing.remaining is not None:
            metadata["remainingItemCount"] = listing.remaining
        if self._form is Form.TABLE:
            table = self._table(listing.objects, metadata, tables.definitions(self._version.columns))
            return Answer(200, (encode(table),))
        if self._form is Form.METADATA:
            items = [self._partial(stored.document(self.api_version)) for stored in listing.objects]
            document = {"kind": "PartialObjectMetadataList", "apiVersion": _META, "metadata": metadata, "items": items}
            return Answer(200, (encode(document),))
        # Of whole lists, the token is told even where it is empty.
        metadata = {"continue": "", **metadata}
        head = {"apiVersion": self.api_version, "kind": self._kind.list_kind, "metadata": metadata}
        opening = encode(head)[:-1] + b',"items":['
        size = len(opening) + len(_CLOSING) + self._joined_size(listing.objects)
        return Answer(200, self._joined(opening, listing.objects), size=size)

    def _joined_size(self, objects: Sequence[Stored]) -> int:
        commas = max(0, len(objects) - 1)
        return sum(len(stored.text) for stored in objects) + len(objects) * len(self._beginning) + commas

    def _joined(self, opening: bytes, objects: Iterable[Stored]) -> Iterator[bytes]:
        yield opening
        between = b"," + self._beginning
        remaining, first = iter(objects), True
        while texts := [stored.text for stored in islice(remaining, _OBJECTS_PER_PIECE)]:
            yield (self._beginning if first else between) + between.join(texts)
            first = False
        yield _CLOSING

    def _table(
        self, objects: Iterable[Stored], metadata: Document, columns: list[dict[str, Any]] | None
    ) -> dict[str, Any]:
        rows = [self._row(stored.document(self.api_version)) for stored in objects]
        return {
            "kind": "Table",
            "apiVersion": _META,
            "metadata": metadata,
            "columnDefinitions": columns,
            "rows": rows,
        }

    def _row(self, document: Document) -> dict[str, Any]:
        included = {"None": None, "Object": document}.get(self._include, self._partial(document))
        return {"cells": tables.cells(document, self._version.columns, self._now()), "object": included}

    def _partial(self, document: Document) -> Document:
        return {"kind": "PartialObjectMetadata", "apiVersion": _META, "metadata": document["metadata"]}

"""A listing read while it comes: its objects one after the other, in the memory of one, wherever the pieces part.

It finds what a decoder finds in the whole body. Where an object ends, msgspec says at its own speed; an object that it
refuses is measured by its brackets, as a more tolerant decoder will read it. Bytes in, values out; no I/O.
"""

from __future__ import annotations

import enum
import json
import re

import msgspec

from gotk_exporter.kube.wire import ListMeta, Page, ShapeError, decode_list_meta, parse_document

MAX_OBJECT_BYTES = 16 * 2**20
"""An object beyond this is none: etcd refuses those above 1.5 MiB, an aggregated API may allow more."""
_LONG_BYTES = 256 * 2**10
"""A value is taken for an incomplete one until so much of it is there; only then is its end looked for slowly too."""


class _Expect(enum.Enum):
    """What may come next, besides white space."""

    DOCUMENT = enum.auto()
    FIRST_KEY = enum.auto()
    KEY = enum.auto()
    COLON = enum.auto()
    VALUE = enum.auto()
    NEXT = enum.auto()
    FIRST_ITEM = enum.auto()
    ITEM = enum.auto()
    NEXT_ITEM = enum.auto()
    NOTHING = enum.auto()


_E = _Expect

_PUNCTUATION: dict[_Expect, dict[int, _Expect]] = {
    _E.DOCUMENT: {ord("{"): _E.FIRST_KEY},
    _E.FIRST_KEY: {ord("}"): _E.NOTHING},
    _E.KEY: {},
    _E.COLON: {ord(":"): _E.VALUE},
    _E.VALUE: {},
    _E.NEXT: {ord(","): _E.KEY, ord("}"): _E.NOTHING},
    _E.FIRST_ITEM: {ord("]"): _E.NEXT},
    _E.ITEM: {},
    _E.NEXT_ITEM: {ord(","): _E.ITEM, ord("]"): _E.NEXT},
    _E.NOTHING: {},
}
"""What each character of the document's own two levels leads to."""
_AFTER_VALUE = {
    _E.FIRST_KEY: _E.COLON,
    _E.KEY: _E.COLON,
    _E.VALUE: _E.NEXT,
    _E.FIRST_ITEM: _E.NEXT_ITEM,
    _E.ITEM: _E.NEXT_ITEM,
}
"""Where a value may come, and what it leads to."""

_raw = msgspec.json.Decoder(msgspec.Raw)
_SPACE = re.compile(rb"[ \t\n\r]*")
_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)")
"""How msgspec says where a value ended. Should it say so in other words one day, all ends are found by brackets."""
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|[][{}]', re.DOTALL)
"""A string, with or without its end, or a bracket outside of strings."""
_SCALAR = re.compile(rb"[^ \t\n\r,\]}]*")


class ListingStream:
    """One listing: feed it the body's pieces, then end it."""

    def __init__(self, longest: int = MAX_OBJECT_BYTES) -> None:
        self._longest = longest
        self._text = b""
        """What has come and is not read yet; begins with the value that is not complete, if there is one."""
        self._pieces: list[bytes] = []
        """What has come since."""
        self._size = 0
        """Of both."""
        self._wanted = 0
        """Trying again before so much is there would make a large object, in small pieces, cost its square."""
        self._expect = _E.DOCUMENT
        self._key = ""
        self._has_items = False
        self._metadata: bytes | None = None
        self._depth = self._measured = 0
        """Of the value at the beginning of the text: brackets open, and how far they are counted."""

    def feed(self, piece: bytes) -> list[msgspec.Raw]:
        """The objects that ``piece`` completes. Raises ShapeError where this can be no listing."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size < self._wanted and self._size <= self._longest:
            return []
        items = self._read(final=False)
        if self._size > self._longest:
            raise ShapeError(f"an object of the listing is larger than {self._longest} bytes")
        return items

    def end(self) -> Page:
        """Nothing more will come: the last objects, and the listing's metadata.

        Raises:
            ShapeError: the document is not complete, or no listing.
        """
        items = self._read(final=True)
        if self._expect is not _E.NOTHING or self._size:
            raise ShapeError("the answer to a list is no JSON, or cut off")
        metadata = decode_list_meta(self._metadata) if self._metadata is not None else ListMeta()
        if not self._has_items and not metadata.resource_version:
            raise ShapeError("the answer to a list is no list")
        return Page(metadata, items if self._has_items else None)

    def _read(self, *, final: bool) -> list[msgspec.Raw]:
        """Read as far as it goes."""
        text = b"".join([self._text, *self._pieces])
        view = memoryview(text)
        items: list[msgspec.Raw] = []
        at = 0
        while True:
            at = _end(_SPACE, text, at)
            if at == len(text):
                break
            expected = _PUNCTUATION[self._expect].get(text[at])
            if expected is not None:
                self._expect = expected
                at += 1
                continue
            if self._expect not in _AFTER_VALUE:
                raise ShapeError("the answer to a list is no list")
            if self._expect is _E.VALUE and self._key == "items" and text[at] == ord("["):
                self._begin_items()
                at += 1
                continue
            found = self._value(text, view, at, final)
            if found is None:
                break
            at, value = found
            self._depth = self._measured = 0
            self._take(value, items)
        self._text, self._pieces, self._size = text[at:], [], len(text) - at
        self._wanted = 2 * self._size
        return items

    def _begin_items(self) -> None:
        if self._has_items:
            raise ShapeError("the answer to a list holds two lists")
        self._has_items = True
        self._expect = _E.FIRST_ITEM

    def _take(self, value: bytes, items: list[msgspec.Raw]) -> None:
        expect = self._expect
        if expect is _E.ITEM or expect is _E.FIRST_ITEM:
            items.append(msgspec.Raw(value))
        elif expect is not _E.VALUE:
            key = parse_document(value)
            if not isinstance(key, str):
                raise ShapeError("the answer to a list is no JSON")
            self._key = key
        elif self._key == "metadata":
            self._metadata = value
        elif self._key == "items" and value != b"null":
            raise ShapeError("the answer to a list is no list")
        self._expect = _AFTER_VALUE[expect]

    def _value(self, text: bytes, view: memoryview, at: int, final: bool) -> tuple[int, bytes] | None:
        """The end of the value that begins here, and the value, readable for msgspec; None where it is not complete."""
        end = _strict_end(text, view, at)
        if end is not None:
            return end, text[at:end].rstrip()
        if len(text) - at < _LONG_BYTES and not final:
            return None
        end = self._measured_end(text, at)
        if end is None:
            return None
        # Complete, and nothing for msgspec: the more tolerant decoder.
        return end, json.dumps(parse_document(text[at:end])).encode()

    def _measured_end(self, text: bytes, at: int) -> int | None:
        """The same by brackets, going on where the last call for this value stopped."""
        if text[at] not in b'{["':
            end = _end(_SCALAR, text, at)
            return end if end < len(text) else None
        depth, measured = self._depth, at + self._measured
        for token in _TOKEN.finditer(text, measured):
            closing = token[1]
            if closing == b"":
                # A string without its end: it is read again when more has come.
                measured = token.start()
                break
            if closing is None:
                depth += 1 if token[0] in b"[{" else -1
            measured = token.end()
            if depth == 0:
                return measured
        self._depth, self._measured = depth, measured - at
        return None


def _strict_end(text: bytes, view: memoryview, at: int) -> int | None:
    """Where the value ends that begins here, with the white space behind it, by msgspec; None where it cannot say."""
    try:
        _raw.decode(view[at:])
    except msgspec.DecodeError as error:
        found = _TRAILING.search(str(error))
        # The byte is the first that does not belong to the value, counted from 1.
        return at + int(found[1]) - 1 if found else None
    except (UnicodeDecodeError, RecursionError):
        return None
    # All that is there is a value. A number may go on.
    return len(text) if text[at] in b'{["' else None


def _end(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    """Where the pattern, which matches anything, stops."""
    match = pattern.match(text, at)
    assert match is not None
    return match.end()

"""Reads as much of a malformed JSON object as its struct allows: a field of the wrong type costs itself and no more.

The slow way, for objects that the fast decoder refused. It is directed by the struct's own types, so it holds for
fields that are still to come. It knows nothing of Flux.
"""

from __future__ import annotations

import json
import re
import types
import typing
from typing import Any, TypeVar

import msgspec

MAX_DEPTH = 64
"""What is nested deeper is read as null. No field that we know lies deeper than eight; json recurses, and gives up at
about a thousand, where the API server accepts ten thousand."""

_S = TypeVar("_S", bound=msgspec.Struct)


class _Unreadable(Exception):
    pass


def read_leniently(raw: bytes, into: type[_S]) -> tuple[_S, dict[str, str]]:
    """The object as far as it could be read, and what was wrong with the rest: a problem for each path.

    Paths have no list positions and no keys of string maps ("status.conditions.reason"), so there are no more of them
    than the struct has fields; the path of the whole object is empty. Every field of ``into`` must have a default.
    """
    problems: dict[str, str] = {}
    try:
        document = parse_tolerantly(raw)
    except ValueError:
        return into(), {"": "is not JSON"}
    try:
        return _read(document, into, "", problems), problems
    except _Unreadable:
        return into(), problems


def parse_tolerantly(raw: bytes) -> Any:
    """The JSON value, also where it holds what msgspec refuses: lone surrogates, invalid UTF-8 (replaced), numbers
    without end, and nesting beyond MAX_DEPTH (cut off there).

    Raises:
        ValueError: it is no JSON.
    """
    return json.loads(_limit_depth(raw.decode("utf-8", "replace")), parse_int=_integer)


def _integer(text: str) -> int | float:
    # Python refuses to convert more than 4,300 digits; such a number is out of any field's range anyway.
    return int(text) if len(text) < 100 else float(text)


_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[][{}]', re.DOTALL)


def _limit_depth(text: str) -> str:
    """The JSON text with null for whatever is nested deeper than MAX_DEPTH; in one pass, without recursion."""
    pieces: list[str] = []
    depth = kept_until = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth == MAX_DEPTH:
                pieces += text[kept_until : token.start()], "null"
        elif token[0] in "]}":
            if depth == MAX_DEPTH:
                kept_until = token.end()
            depth -= 1
    return "".join([*pieces, text[kept_until:]])


def _read(value: Any, into: Any, path: str, problems: dict[str, str]) -> Any:
    """Raises _Unreadable, with the problem noted, where nothing of the value can be had."""
    try:
        return msgspec.convert(value, into)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        for candidate in _alternatives(into):
            origin = typing.get_origin(candidate)
            if isinstance(value, dict) and isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
                return _read_struct(value, candidate, path, problems)
            if isinstance(value, dict) and origin is dict:
                return _read_map(value, typing.get_args(candidate)[1], path, problems)
            if isinstance(value, list) and origin is list:
                return _read_list(value, typing.get_args(candidate)[0], path, problems)
        # msgspec stumbles over lone surrogates, but only where it did not want text anyway.
        problem = str(error) if isinstance(error, msgspec.ValidationError) else "Expected something else, got `str`"
        problems.setdefault(path, problem)
        raise _Unreadable from None


def _alternatives(into: Any) -> tuple[Any, ...]:
    return typing.get_args(into) if typing.get_origin(into) in (typing.Union, types.UnionType) else (into,)


def _read_struct(value: dict[str, Any], into: type[_S], path: str, problems: dict[str, str]) -> _S:
    readable: dict[str, Any] = {}
    for field in msgspec.structs.fields(into):
        field_path = f"{path}.{field.encode_name}" if path else field.encode_name
        try:
            if field.encode_name in value:
                readable[field.name] = _read(value[field.encode_name], field.type, field_path, problems)
            elif field.required:
                problems.setdefault(field_path, "is missing")
        except _Unreadable:
            pass
    try:
        return into(**readable)
    except TypeError:
        # A required field is among the unreadable ones, which have been noted.
        raise _Unreadable from None


def _read_map(value: dict[str, Any], value_type: Any, path: str, problems: dict[str, str]) -> dict[str, Any]:
    readable: dict[str, Any] = {}
    for key, item in value.items():
        try:
            readable[key] = _read(item, value_type, path, problems)
        except _Unreadable:
            continue
    return readable


def _read_list(value: list[Any], item_type: Any, path: str, problems: dict[str, str]) -> list[Any]:
    readable: list[Any] = []
    for item in value:
        try:
            readable.append(_read(item, item_type, path, problems))
        except _Unreadable:
            # Positions have a meaning (the newest entry of a history comes first), so an item keeps its place where
            # its type can be empty.
            if _can_be_empty(item_type):
                readable.append(item_type())
    return readable


def _can_be_empty(into: Any) -> bool:
    if not (isinstance(into, type) and issubclass(into, msgspec.Struct)):
        return False
    return not any(field.required for field in msgspec.structs.fields(into))

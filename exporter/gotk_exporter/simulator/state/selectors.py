"""Label and field selectors: which objects does a list or a watch mean? Parsed once, asked per object.

Reference: kubernetes.io, "Labels and Selectors" and "Field Selectors"; k8s.io/apimachinery, pkg/labels, pkg/fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from gotk_exporter.simulator.state.errors import Refusal, bad_request
from gotk_exporter.simulator.state.objects import Stored

_Test = Callable[[str | None, frozenset[str]], bool]


def _compares(compare: Callable[[int, int], bool]) -> _Test:
    def test(value: str | None, wanted: frozenset[str]) -> bool:
        try:
            return value is not None and compare(int(value), int(next(iter(wanted))))
        except ValueError:
            return False

    return test


def _among(value: str | None, wanted: frozenset[str]) -> bool:
    return value is not None and value in wanted


def _not_among(value: str | None, wanted: frozenset[str]) -> bool:
    return value is None or value not in wanted


_TESTS: dict[str, _Test] = {
    "=": _among,
    "==": _among,
    "in": _among,
    "!=": _not_among,
    "notin": _not_among,
    "exists": lambda value, _: value is not None,
    "!": lambda value, _: value is None,
    ">": _compares(lambda value, wanted: value > wanted),
    "<": _compares(lambda value, wanted: value < wanted),
}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term of a label selector."""

    key: str
    operator: str
    """A key of _TESTS."""
    values: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Selector:
    """All of its terms must hold; without terms it means everything."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[tuple[str, bool, str], ...] = ()
    """Path, whether it must be equal, value."""

    def matches(self, stored: Stored) -> bool:
        return all(_TESTS[term.operator](stored.labels.get(term.key), term.values) for term in self.labels) and all(
            (_field(stored, path) == value) is equal for path, equal, value in self.fields
        )

    @property
    def everything(self) -> bool:
        return not self.labels and not self.fields

    @property
    def name(self) -> str | None:
        """The only name that it can mean, if there is one."""
        return next((value for path, equal, value in self.fields if equal and path == _NAME), None)


EVERYTHING = Selector()
_NAME, _NAMESPACE = "metadata.name", "metadata.namespace"


def parse_selector(labels: str, fields: str, other_fields: Collection[str] = ()) -> Selector:
    """From the parameters labelSelector and fieldSelector, each of which may be empty.

    ``other_fields``: the paths that the kind knows beyond name and namespace.

    Raises:
        Refusal: one of them cannot be read, or names another field.
    """
    return Selector(tuple(_Labels(labels).requirements()), tuple(_parse_fields(fields, other_fields)))


def _field(stored: Stored, path: str) -> str:
    if path == _NAME:
        return stored.name
    if path == _NAMESPACE:
        return stored.namespace
    return stored.fields.get(path, "")


def _parse_fields(text: str, other_fields: Collection[str]) -> list[tuple[str, bool, str]]:
    terms = []
    for term in filter(None, text.split(",")):
        found = re.fullmatch(r"([^=!]+)(==|!=|=)(.*)", term)
        if found is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        path, operator, value = found.groups()
        if path not in (_NAME, _NAMESPACE) and path not in other_fields:
            raise bad_request(f"field label not supported: {path}")
        terms.append((path, operator != "!=", value))
    return terms


_TOKEN = re.compile(r"\s*(==|!=|[=!<>(),]|[^\s=!<>(),]+)")


class _Labels:
    """A label selector, read from left to right."""

    def __init__(self, text: str) -> None:
        self._tokens = [*_TOKEN.findall(text), ""]
        self._next = 0

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        while self._peek():
            found.append(self._requirement())
            if self._peek():
                self._expect(",", "',' or 'end of string'")
        return found

    def _requirement(self) -> Requirement:
        negated = self._peek() == "!"
        if negated:
            self._take()
        key = self._take()
        if not _is_word(key):
            raise self._refuse(key, "!, identifier, or 'end of string'")
        if negated:
            return Requirement(key, "!")
        operator = self._peek()
        if operator in ("", ","):
            return Requirement(key, "exists")
        if operator not in _TESTS or operator in ("exists", "!"):
            raise self._refuse(operator, "in, notin, =, ==, !=, gt, lt")
        self._take()
        values = self._listed() if operator in ("in", "notin") else {self._value()}
        return Requirement(key, operator, frozenset(values))

    def _listed(self) -> set[str]:
        self._expect("(", "'('")
        values = {self._value()}
        while self._peek() == ",":
            self._take()
            values.add(self._value())
        self._expect(")", "',' or ')'")
        return values

    def _value(self) -> str:
        """Possibly empty: "a=" asks for the empty value."""
        return self._take() if _is_word(self._peek()) else ""

    def _peek(self) -> str:
        token: str = self._tokens[self._next]
        return token

    def _take(self) -> str:
        token = self._peek()
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _expect(self, token: str, wanted: str) -> None:
        if self._peek() != token:
            raise self._refuse(self._peek(), wanted)
        self._take()

    def _refuse(self, token: str, wanted: str) -> Refusal:
        return bad_request(f"unable to parse requirement: found '{token}', expected: {wanted}")


def _is_word(token: str) -> bool:
    return token != "" and token not in {"==", "!=", "=", "!", "<", ">", "(", ")", ","}

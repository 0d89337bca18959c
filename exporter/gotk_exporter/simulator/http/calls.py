"""One request for a served resource, as the handlers get it: parsed and allowed, its body read, nothing done yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gotk_exporter.simulator.http.forms import Writer
from gotk_exporter.simulator.http.negotiation import choose_form
from gotk_exporter.simulator.http.routing import Target
from gotk_exporter.simulator.state.errors import NoSuchPath, bad_request
from gotk_exporter.simulator.state.selectors import Selector, parse_selector
from gotk_exporter.simulator.state.served import ServedKind, ServedVersion
from gotk_exporter.simulator.storage import Storage


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks for what."""

    target: Target
    verb: str
    kind: ServedKind
    version: ServedVersion
    query: Mapping[str, str]
    accept: str = ""
    content_type: str = ""
    user_agent: str = ""
    body: bytes = b""

    @property
    def api_version(self) -> str:
        return self.kind.api_version(self.version.name)

    @property
    def namespace(self) -> str:
        """Of the object; empty for kinds outside of namespaces."""
        return self.target.namespace or ""

    @property
    def manager(self) -> str:
        """Who writes: what the client says, or the program that it says it is."""
        return self.query.get("fieldManager") or self.user_agent.partition("/")[0] or "unknown"

    def selector(self) -> Selector:
        labels, fields = self.query.get("labelSelector", ""), self.query.get("fieldSelector", "")
        return parse_selector(labels, fields, self.kind.selectable)

    def integer(self, name: str) -> int:
        """A parameter that is a number; 0 where it is missing. Raises Refusal."""
        text = self.query.get(name) or "0"
        try:
            return int(text)
        except ValueError:
            raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None

    def writer(self, storage: Storage) -> Writer:
        """Raises Refusal where the client accepts nothing that can be had."""
        include = self.query.get("includeObject", "Metadata")
        return Writer(self.kind, self.version, choose_form(self.accept), storage.now, include)


def find_kind(storage: Storage, target: Target, verb: str) -> tuple[ServedKind, ServedVersion]:
    """Raises NoSuchPath where the target is not served."""
    kind = storage.collection(target.resource).kind
    version = kind.version(target.version)
    # An object in a namespace has no path without it, and one outside of namespaces none with one.
    in_place = kind.namespaced is (target.namespace is not None)
    everywhere = target.namespace is None and verb in ("list", "watch")
    if version is None or not (in_place or everywhere):
        raise NoSuchPath
    return kind, version

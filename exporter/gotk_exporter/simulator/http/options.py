"""What lists and watches may ask about versions, and which contradictions are refused, as a table.

Reference: kubernetes.io, API concepts, "Resource versions"; k8s.io/apimachinery, meta/internalversion/validation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gotk_exporter.simulator.http.routing import is_true
from gotk_exporter.simulator.state.errors import Cause, Refusal, bad_request, internal, invalid


@dataclass(frozen=True, slots=True)
class ListOptions:
    """The parameters, unread."""

    version: str
    match: str
    continue_token: str
    send_initial_events: bool | None


@dataclass(frozen=True, slots=True)
class _OptionsKind:
    """How refusals name the parameters."""

    group: str = "meta.k8s.io"
    plural: str = "listoptions"
    name: str = "ListOptions"


_FORBIDDEN, _UNSUPPORTED = "FieldValueForbidden", "FieldValueNotSupported"
_MATCH, _INITIAL = "resourceVersionMatch", "sendInitialEvents"

_Row = tuple[Callable[[ListOptions], bool], str, str, str]
"""What must not be; the reason, the field and the message then."""

_FOR_LISTS: tuple[_Row, ...] = (
    (
        lambda options: options.send_initial_events is not None,
        _FORBIDDEN,
        _INITIAL,
        "Forbidden: sendInitialEvents is forbidden for list",
    ),
    (
        lambda options: bool(options.match and options.continue_token),
        _FORBIDDEN,
        _MATCH,
        "Forbidden: resourceVersionMatch is forbidden when continue is provided",
    ),
    (
        lambda options: bool(options.match) and not options.version,
        _FORBIDDEN,
        _MATCH,
        "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
    ),
    (
        lambda options: options.match not in ("", "Exact", "NotOlderThan"),
        _UNSUPPORTED,
        _MATCH,
        'Unsupported value: supported values: "Exact", "NotOlderThan", ""',
    ),
    (
        lambda options: options.match == "Exact" and options.version == "0",
        _FORBIDDEN,
        _MATCH,
        'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
    ),
)
_FOR_WATCHES: tuple[_Row, ...] = (
    (
        lambda options: bool(options.match) and options.send_initial_events is None,
        _FORBIDDEN,
        _MATCH,
        "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
    ),
    (
        lambda options: options.send_initial_events is not None and options.match != "NotOlderThan",
        _FORBIDDEN,
        _MATCH,
        "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
    ),
)


def parse_options(query: Mapping[str, str], *, watch: bool) -> ListOptions:
    """Raises Refusal where the parameters contradict each other."""
    initial = query.get(_INITIAL)
    options = ListOptions(
        query.get("resourceVersion", ""),
        query.get(_MATCH, ""),
        query.get("continue", ""),
        None if initial is None else is_true(initial),
    )
    for is_wrong, reason, field, message in _FOR_WATCHES if watch else _FOR_LISTS:
        if is_wrong(options):
            raise invalid(_OptionsKind(), "", Cause(reason, message, field))
    if not watch and options.continue_token and options.version not in ("", "0"):
        raise bad_request("specifying resource version is not allowed when using continue")
    return options


def parse_version(text: str, refuse: Callable[[str], Refusal] = internal) -> int:
    """A resourceVersion; 0 where it is empty. Raises what ``refuse`` makes where it is no number."""
    if text and not text.isdigit():
        raise refuse(f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax')
    return int(text or 0)

"""Refusals, in the words of kube-apiserver: one exception that knows its Status object, and who makes which.

Everything that refuses raises one of these, in process as over HTTP; there a Refusal becomes an answer (answers.py).

Reference: k8s.io/apimachinery, pkg/api/errors; the texts are those that kube-apiserver 1.34 was seen to send.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class NamedResource(Protocol):
    """The names of a resource, as refusals quote them."""

    @property
    def group(self) -> str: ...

    @property
    def plural(self) -> str: ...


class NamedKind(NamedResource, Protocol):
    """The same of its kind."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason why an object is invalid."""

    reason: str
    """As FieldValueInvalid."""
    message: str
    field: str


class Refusal(Exception):
    """An API server's no. ``status()`` is the Status object that says so."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        *,
        retry_after_seconds: int | None = None,
        continue_token: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        self._details = details
        self._continue_token = continue_token

    def status(self) -> dict[str, Any]:
        """As kube-apiserver writes it: what is empty is left out."""
        details = dict(self._details) if self._details is not None else None
        if self.retry_after_seconds is not None:
            details = {**(details or {}), "retryAfterSeconds": self.retry_after_seconds}
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {"continue": self._continue_token} if self._continue_token else {},
            "status": "Failure",
            "message": self.message,
            **({"reason": self.reason} if self.reason else {}),
            **({"details": details} if details is not None else {}),
            "code": self.code,
        }


class NoSuchPath(Refusal):
    """A path that leads nowhere: the one refusal without a Status object."""

    def __init__(self) -> None:
        super().__init__(404, "", "404 page not found")


def bad_request(message: str) -> Refusal:
    return Refusal(400, "BadRequest", message)


def unauthorized() -> Refusal:
    return Refusal(401, "Unauthorized", "Unauthorized")


def forbidden(kind: NamedResource, name: str, because: str, causes: Sequence[Cause] = ()) -> Refusal:
    about = f'{qualified(kind)} "{name}"' if name else qualified(kind)
    return Refusal(403, "Forbidden", f"{about} is forbidden: {because}", _about(kind.group, kind.plural, name, causes))


def not_found(kind: NamedResource, name: str) -> Refusal:
    return Refusal(404, "NotFound", f'{qualified(kind)} "{name}" not found', _about(kind.group, kind.plural, name))


def method_not_allowed(kind: NamedResource, verb: str) -> Refusal:
    message = f'{verb} is not supported on resources of kind "{qualified(kind)}"'
    return Refusal(405, "MethodNotAllowed", message, _about(kind.group, kind.plural, ""))


def not_acceptable(accepted: Sequence[str]) -> Refusal:
    return Refusal(406, "NotAcceptable", f"only the following media types are accepted: {', '.join(accepted)}")


def already_exists(kind: NamedResource, name: str, *, being_deleted: bool) -> Refusal:
    message = f'{qualified(kind)} "{name}" already exists'
    if being_deleted:
        message = f"object is being deleted: {message}"
    return Refusal(409, "AlreadyExists", message, _about(kind.group, kind.plural, name))


def conflict(kind: NamedResource, name: str, because: str = "") -> Refusal:
    because = because or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {qualified(kind)} "{name}": {because}'
    return Refusal(409, "Conflict", message, _about(kind.group, kind.plural, name))


def expired(message: str, continue_token: str = "") -> Refusal:
    return Refusal(410, "Expired", message, continue_token=continue_token)


def body_too_large(limit_bytes: int) -> Refusal:
    return Refusal(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit_bytes}")


def unsupported_media_type(accepted: Sequence[str]) -> Refusal:
    message = "the body of the request was in an unknown format - accepted media types include: "
    return Refusal(415, "UnsupportedMediaType", message + ", ".join(accepted))


def invalid(kind: NamedKind, name: str, *causes: Cause) -> Refusal:
    texts = [f"{cause.field}: {cause.message}" for cause in causes]
    what = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    about = f"{kind.name}.{kind.group}" if kind.group else kind.name
    message = f'{about} "{name}" is invalid: {what}'
    return Refusal(422, "Invalid", message, _about(kind.group, kind.name, name, causes))


def version_required(kind: NamedResource, name: str) -> Refusal:
    cause = Cause("FieldValueInvalid", "Invalid value: 0: must be specified for an update", "metadata.resourceVersion")
    message = f'{qualified(kind)} "{name}" is invalid: {cause.field}: {cause.message}'
    return Refusal(422, "Invalid", message, _about(kind.group, kind.plural, name, [cause]))


def too_large_version(asked: int, current: int) -> Refusal:
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return Refusal(504, "Timeout", message, {"causes": [cause]}, retry_after_seconds=1)


def internal(message: str) -> Refusal:
    """What kube-apiserver has no reason for, and so calls an error of its own."""
    return Refusal(500, "", message)


def qualified(kind: NamedResource) -> str:
    """plural.group, or the plural alone in the core group."""
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def _about(group: str, kind: str, name: str, causes: Sequence[Cause] = ()) -> dict[str, Any]:
    return {
        **({"name": name} if name else {}),
        **({"group": group} if group else {}),
        "kind": kind,
        **(
            {"causes": [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes]}
            if causes
            else {}
        ),
    }

"""Continue tokens: where a listing goes on, and at which version.

The format is kube-apiserver's; a client must not care, but a person with a trace may.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from gotk_exporter.simulator.state.errors import Refusal, bad_request, expired

_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


class Place(msgspec.Struct, frozen=True):
    """What a token says."""

    version: int = msgspec.field(name="rv")
    """-1: whatever is there now."""
    start: str
    """The first key that may come, without its namespace where one is listed alone."""
    format: str = msgspec.field(name="v", default="meta.k8s.io/v1")

    def token(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    def too_old(self) -> Refusal:
        """The answer where ``version`` is forgotten; it offers to go on without consistency."""
        return expired(_TOO_OLD, Place(-1, self.start).token())


def parse_place(token: str) -> Place:
    """Raises Refusal where the token is none of ours."""
    try:
        place = msgspec.json.decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)), type=Place)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from None
    return place


def after(key: str) -> str:
    """The least key behind ``key``."""
    return key + "\0"

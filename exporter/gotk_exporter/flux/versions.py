"""Whether a text names one version for good, or whatever somebody publishes next: rules about texts alone.

Which text of an object decides stands in risks. What the rules cannot know: whether somebody moves a tag that looks
like a release, and whether a name that they have never heard of moves.

Sources: Masterminds/semver 3.5, which Flux's controllers take charts, tags and distributions by, for what a range is;
for what image tags look like, the habits of registries (no specification says which tags move).
"""

from __future__ import annotations

import re

_IDENTIFIER = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_ONE_VERSION = re.compile(
    r"(?:=[ \t\n\f\r]*)?v?[0-9]+\.[0-9]+\.[0-9]+"
    rf"(?:-{_IDENTIFIER}(?:\.{_IDENTIFIER})*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)


def is_one_version(constraint: str) -> bool:
    """Whether a semver constraint can only mean one version: all three numbers, and no operator but "=".

    "1.2" is a range (1.2.x), and "^0.0.3" or "1.2.3 || 1.2.3" are written as ranges, whatever they admit today. What
    is no constraint at all names no version.
    """
    return _ONE_VERSION.fullmatch(constraint.strip(" \t\n\f\r")) is not None


_COMMIT = r"g?[0-9a-f]{7,64}"
"""Also after git describe's g. One commit in a thousand has no digit in its first seven."""
_COMMIT_HASH = re.compile(_COMMIT)
_DIGIT = re.compile(r"[0-9]")

_LINE = re.compile(
    "latest|current|default|rolling|newest|stable|unstable|mainline|lts|released?|prod|production|live|stage|staging"
    "|preprod|uat|qa|test|testing|edge|nightly|daily|weekly|snapshot|canary|preview|next|dev|devel|develop|development"
    "|main|master|trunk|head|tip|alpha|beta|rc"
)
"""Names of lines of development and of places, which move by nature."""
_PART = re.compile(r"v?([0-9]{1,2}|[0-9]{1,4}\.[0-9]{1,3}|[0-9]{1,4}(\.[0-9]{1,3})?\.[x*])")
"""1, v1, 1.2, 24.04, 1.x, 1.2.x; a longer number alone is a date or a build's number."""
_BUILD = re.compile(
    rf"[0-9]+|{_COMMIT}|v?[0-9]+\.[0-9]+\.[0-9]+.*|[0-9]{{8}}t[0-9]+z?"
    r"|(a|alpha|b|beta|build|ga|m|p|pre|preview|r|rc|rev|run)\.?[0-9]+(\.[0-9]+)*"
)
"""What makes one build of a line: its number, date, commit, version or pre-release."""
_SEPARATORS = re.compile(r"[-_+]")


def is_image_tag_moving(tag: str) -> bool:
    """Whether a registry's tag is of the sort that is moved to each new build.

    It is if it has no digit at all (a name cannot number builds), or begins with the name of a line of development or
    with a part of a version (1, v1, 1.2), and nothing behind that names one build: "1.2-alpine3.19" and "main-arm64"
    move, "1.2-5" and "main-1f2e3d4" do not. Everything else counts as fixed, also what people do move, as "pr-12".
    """
    first, *rest = _SEPARATORS.split(tag.lower())
    if _COMMIT_HASH.fullmatch(first) or any(_BUILD.fullmatch(piece) for piece in rest):
        return False
    return _DIGIT.search(tag) is None or bool(_LINE.fullmatch(first) or _PART.fullmatch(first))


def is_git_tag_moving(tag: str) -> bool:
    """The same of Git, where tags stay unless somebody forces them, and 1.2 is a release: only what has no digit."""
    return _DIGIT.search(tag) is None and _COMMIT_HASH.fullmatch(tag) is None

"""A controller's message made fit to be shown: one line, of bounded length, less what may be a credential.

It errs on the side of leaving out: what looks like a user, a password, a token or a query of a URL goes.
"""

from __future__ import annotations

import re

from gotk_exporter.flux.samples import WITHHELD, without_credentials

MAX_CHARS = 600
_HEAD_CHARS = 380
"""Of a message that is too long the beginning stays, which says what was tried, and the end, which says why it broke.
"""
_MAX_READ = 40_000
"""The API server takes conditions of 32 KiB. Whoever writes one must not be able to keep us busy: repetitions below are
bounded."""

_SCHEME = r"[a-zA-Z][a-zA-Z0-9+.-]{0,20}://"
_QUOTED = re.compile(rf"""(?P<quote>["'`])(?P<url>{_SCHEME}(?:\\.|(?!(?P=quote))[^\\]){{0,2000}})(?P=quote)""")
"""As Go quotes an address that it cannot read: anything may stand in it."""
_BARE = re.compile(rf"""{_SCHEME}[^\s"'`<>]*""")
_DIGEST = re.compile(r"@sha\d{1,3}:[0-9a-f]{7,128}$")
"""Which of an artifact, behind its address: no password ends like this."""
_REST_OF_USER = re.compile(r"""[^"'`\n]{0,200}?@[^\s"'`]*""")
"""What follows upon an address that broke off in the middle of its password."""
_USER = re.compile(r"""[^\s/@:"'`]{1,100}:(?!//)[^\s@"'`]{1,200}@(?!sha\d)(?=[\w\[])""")
"""user:password@, with no scheme before it."""
_CREDENTIALS = re.compile(
    r"(?P<name>\b(?:bearer|basic)\s{1,3}|\b[\w-]{0,40}(?:password|passwd|token|secret|signature|credential|api_?key)"
    r"[\w-]{0,40}\s{0,3}[=:]\s{0,3}(?:bearer\s{1,3}|basic\s{1,3})?)(?P<value>\"[^\"]*\"|'[^']*'|[^\s,;\"']+)",
    re.IGNORECASE,
)
_KNOWN_TOKEN = re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|AKIA|eyJ)[A-Za-z0-9_.-]{8,}")


def fit_to_show(message: str) -> str:
    """The message in one line; empty where there is none."""
    text = "".join(char if char.isprintable() else " " for char in message[:_MAX_READ])
    text = _QUOTED.sub(lambda match: match["quote"] + without_credentials(match["url"]) + match["quote"], text)
    text = _KNOWN_TOKEN.sub(WITHHELD, _CREDENTIALS.sub(_hidden, _USER.sub(f"{WITHHELD}@", _cleaned(text))))
    text = " ".join(text.split())
    if len(text) <= MAX_CHARS:
        return text
    tail = MAX_CHARS - _HEAD_CHARS - len(f" {WITHHELD} ")
    return f"{text[:_HEAD_CHARS].rstrip()} {WITHHELD} {text[-tail:].lstrip()}"


def _cleaned(text: str) -> str:
    """Addresses less their credentials."""
    parts: list[str] = []
    position = 0
    while match := _BARE.search(text, position):
        parts.append(text[position : match.start()])
        # What ends a sentence, or leads on to the next part of an error, is no part of the address.
        address = match[0].rstrip(".,;:)]}")
        position = match.start() + len(address)
        digest = _DIGEST.search(address)
        clean = without_credentials(address[: digest.start()] if digest else address) + (digest[0] if digest else "")
        if clean.endswith(WITHHELD) and "@" not in address:
            rest = _REST_OF_USER.match(text, position)
            position = rest.end() if rest is not None else position
        parts.append(clean)
    return "".join([*parts, text[position:]])


def _hidden(match: re.Match[str]) -> str:
    # "token: not found" is no token: a word of small letters says what is the matter, and is too short for a secret.
    if re.fullmatch(r"[a-z]{1,12}", match["value"]) and not match["name"].rstrip().endswith("="):
        return match[0]
    return f"{match['name']}{WITHHELD}"

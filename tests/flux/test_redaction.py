"""Messages as they are shown: in one line, of bounded length, without credentials."""

from __future__ import annotations

import pytest

from gotk_exporter.flux.redaction import MAX_CHARS, fit_to_show

SECRET = "s3cr3tT0ken"


@pytest.mark.parametrize(
    "message",
    [
        f"failed to checkout: https://me:{SECRET}@git.test/repo: authentication required",
        f"failed: https://{SECRET}@git.test/repo",
        f'Get "https://git.test/repo?token={SECRET}&x=1": dial tcp: lookup git.test',
        f'parse "https://me:p w {SECRET}@git.test/": net/url: invalid userinfo',
        f"parse https://me:p w{SECRET}@git.test/: invalid",
        f"https://me:pa/ss{SECRET}@git.test/repo is wrong",
        f"https://git.test/repo#{SECRET} is wrong",
        f"cannot reach me:{SECRET}@git.test:8080",
        f"Authorization: Bearer {SECRET}",
        f"sent authorization bearer {SECRET} to the registry",
        f"password={SECRET} is wrong",
        f'the secretAccessKey: "{SECRET}" is wrong',
        f"push with api_key = {SECRET}, refused",
        f"remote: ghp_{SECRET} is expired",
        f"invalid character in eyJhbGciOiJIUzI1NiJ9.{SECRET}",
        f"two: https://a:{SECRET}@one.test/ and https://b:{SECRET}@two.test/",
    ],
)
def test_no_credential_is_left(message: str) -> None:
    assert SECRET not in fit_to_show(message)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            'failed calling webhook "validate.test": Post "https://hook.test:443/v1?timeout=10s": EOF',
            'failed calling webhook "validate.test": Post "https://hook.test:443/v1": EOF',
        ),
        (
            "unable to clone 'https://git.test/repo.git': not found",
            "unable to clone 'https://git.test/repo.git': not found",
        ),
        ("ssh://git@git.test/repo: handshake failed", "ssh://git@git.test/repo: handshake failed"),
        (
            "Stored artifact oci://ghcr.io/o/app:v1@sha256:0123456789ab",
            "Stored artifact oci://ghcr.io/o/app:v1@sha256:0123456789ab",
        ),
        ("Applied revision: main@sha1:0123456789ab", "Applied revision: main@sha1:0123456789ab"),
        ("image ghcr.io/o/app:v1@sha256:0123456789ab", "image ghcr.io/o/app:v1@sha256:0123456789ab"),
        ('secrets "git-auth" not found', 'secrets "git-auth" not found'),
        ("failed to get secret: not found", "failed to get secret: not found"),
        ("dial tcp 10.0.0.1:443: connect: refused", "dial tcp 10.0.0.1:443: connect: refused"),
        ("one\n\ttwo\x1b[2J", "one two [2J"),
        ("", ""),
    ],
)
def test_what_is_no_credential_stays(message: str, text: str) -> None:
    assert fit_to_show(message) == text


def test_of_a_long_message_the_beginning_and_the_end_stay() -> None:
    text = fit_to_show("kustomize build failed: " + "x y " * 3000 + "dial tcp: no such host")
    assert len(text) <= MAX_CHARS
    assert text.startswith("kustomize build failed: ")
    assert text.endswith("dial tcp: no such host")


@pytest.mark.parametrize("piece", ["a", "a-", "'https://", "a:", "x@", "token", "token= ", "bearer ", "https://a:b "])
def test_a_message_made_to_keep_us_busy_does_not(piece: str) -> None:
    """The whole suite would hang."""
    assert len(fit_to_show(piece * (32_768 // len(piece)))) <= MAX_CHARS

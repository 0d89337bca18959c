"""What goes wrong on the way to the API server: two named errors, and the names of all that aiohttp and the kernel say.

A name is a bounded word for a label, and a text that quotes no address and no header.
"""

from __future__ import annotations

import contextlib
import errno
import os
import ssl
from collections.abc import Iterator

import aiohttp


class ApiError(Exception):
    """The API server did not give what was asked for."""

    outcome = "failed"
    """A bounded word for a label."""
    retry_after: float | None = None
    """Seconds that the server asked us to wait."""


class StatusError(ApiError):
    """It answered with an HTTP status other than success (or an ERROR event in a watch, which carries one)."""

    def __init__(self, code: int, reason: str, message: str, retry_after: float | None = None) -> None:
        # It goes into one line of a log, whatever the server (or a proxy) wrote.
        said = " ".join(message.split())[:300]
        super().__init__(" ".join(f"{code} {reason[:60]}".split()) + (f": {said}" if said else ""))
        self.code = code
        self.outcome = str(code)
        self.retry_after = retry_after


class Unreachable(ApiError):
    """No answer, or none that an API server would give."""

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


@contextlib.contextmanager
def named_errors(*, proxied: bool = False) -> Iterator[None]:
    """Turn what goes wrong on the wire into Unreachable."""
    try:
        yield
    # ValueError: an address that no URL or no name may have.
    except (aiohttp.ClientError, OSError, ValueError) as error:
        outcome, text = next((o, t) for kind, o, t in _OUTCOMES if isinstance(error, kind))
        if proxied and outcome == "dns":
            outcome, text = "proxy", "the proxy's name cannot be resolved"
        # From None: the text of the cause may quote addresses and headers.
        raise Unreachable(outcome, text + _detail(error)) from None


_OUTCOMES: tuple[tuple[type[Exception], str, str], ...] = (
    (aiohttp.ClientConnectorCertificateError, "tls", "the API server's certificate is not trusted"),
    (aiohttp.ClientConnectorSSLError, "tls", "TLS with the API server failed"),
    (ssl.SSLError, "tls", "TLS with the API server failed"),
    (aiohttp.ClientConnectorDNSError, "dns", "the API server's name cannot be resolved"),
    (aiohttp.ConnectionTimeoutError, "timeout", "no connection to the API server in time"),
    (TimeoutError, "timeout", "the API server did not answer in time"),
    (aiohttp.ClientProxyConnectionError, "proxy", "the proxy cannot be reached"),
    (aiohttp.ClientHttpProxyError, "proxy", "the proxy refused"),
    (aiohttp.ClientConnectorError, "refused", "no connection to the API server"),
    (aiohttp.ClientPayloadError, "cut", "the connection was cut in the middle of an answer"),
    (aiohttp.ServerDisconnectedError, "cut", "the connection was cut before an answer came"),
    (aiohttp.ClientResponseError, "malformed", "the answer is no HTTP"),
    (OSError, "cut", "the connection was cut"),
    (ValueError, "address", "the API server's address is no URL; see clusters[].cluster.server"),
    (Exception, "failed", "the request failed"),
)
"""The first that fits: a bounded word for a label, and a text."""


def _detail(error: Exception) -> str:
    """What may be added to the text: never a text of aiohttp's, which quotes URLs and headers."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "")
        return f": {reason}" if reason else ""
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return f": {error.os_error.reason}" if isinstance(error.os_error, ssl.SSLError) else ""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f" with {error.status}"
    if isinstance(error, OSError) and error.errno and error.errno in errno.errorcode:
        return f": {os.strerror(error.errno)}"
    return ""

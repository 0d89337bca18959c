"""What a request to the API server needs besides its path, made of what the kubernetes package has read.

It takes that package's Configuration by its shape; reading, and reading again, belongs to credentials.
"""

from __future__ import annotations

import base64
import hashlib
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


class CredentialsError(Exception):
    """There is no usable answer to "which API server, and as whom?"."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a request needs besides its path."""

    base_url: str
    authorization: str | None = field(repr=False)
    ssl: ssl.SSLContext | bool
    server_hostname: str | None = None
    proxy: str | None = field(default=None, repr=False)


def fingerprint_of(configuration: Any) -> bytes:
    """Changes with anything that a connection depends on, the contents of files included."""
    digest = hashlib.sha256()
    for part in (
        configuration.host,
        configuration.api_key.get("BearerToken"),
        configuration.verify_ssl,
        configuration.tls_server_name,
        configuration.proxy,
    ):
        digest.update(f"{part!r}\0".encode())
    for path in (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file):
        digest.update(Path(path).read_bytes() if path else b"-")
    return digest.digest()


def endpoint_of(configuration: Any) -> Endpoint:
    """Raises CredentialsError, also where a file that the configuration names is not what it should be."""
    try:
        url = urlsplit(configuration.host)
        has_host = bool(url.hostname) and url.port != 0
    except ValueError:
        has_host = False
    if not has_host:
        raise CredentialsError("the API server's address is no URL")
    if configuration.proxy and not configuration.proxy.startswith("http://"):
        raise CredentialsError("proxy-url must begin with http://; other proxies are not supported")
    return Endpoint(
        # Without user:password@, which aiohttp refuses beside a token, and which would show in logs.
        f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path.rstrip('/')}",
        _authorization(configuration.api_key.get("BearerToken"), url.username, url.password),
        _tls(configuration) if url.scheme == "https" else True,
        configuration.tls_server_name or None,
        configuration.proxy or None,
    )


def _authorization(token: str | None, username: str | None, password: str | None) -> str | None:
    if token is None:
        if username is None:
            return None
        pair = f"{unquote(username)}:{unquote(password or '')}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
    # Files end in a newline now and then.
    scheme, _, secret = token.strip().partition(" ")
    if not secret:
        raise CredentialsError("the token is empty")
    if not (secret.isascii() and secret.isprintable()):
        raise CredentialsError("the token holds characters that no header may hold")
    return f"{scheme.capitalize()} {secret}"


def _tls(configuration: Any) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    except ssl.SSLError:
        raise CredentialsError("its certificate authority holds no certificate") from None
    # As Go's clients: newer Pythons demand extensions that many clusters' own authorities lack, and older ones do not
    # take an intermediate authority for the end of a chain.
    context.verify_flags = context.verify_flags & ~ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        try:
            # With a password, be it a wrong one, OpenSSL does not ask for it at the terminal.
            context.load_cert_chain(configuration.cert_file, configuration.key_file, password="")
        except ssl.SSLError:
            raise CredentialsError("its client certificate and key cannot be read, or are no pair") from None
    return context

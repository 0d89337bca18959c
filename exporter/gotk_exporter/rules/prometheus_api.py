"""The two questions that an audit asks of a Prometheus, or of what speaks its API: which rules, and what is the answer
to a query. Reads only.

No message of this module holds a credential, a header, or what stands in an address besides its host and path.
Reference: prometheus.io, "HTTP API".
"""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import msgspec

from gotk_exporter import __version__
from gotk_exporter.clock import Clock
from gotk_exporter.rules.findings import LoadedRule

QUERY_PATH = "/api/v1/query"
ATTEMPTS = 4
BACKOFF_SECONDS = 0.5
"""Doubled with each attempt."""
MAX_BACKOFF_SECONDS = 10.0
"""A Retry-After beyond this is obeyed only so far."""
REQUEST_SECONDS = 30.0
MAX_RULES_BYTES = 32 * 2**20
MAX_ANSWER_BYTES = 2**20
MAX_RULES = 20_000
_AGAIN = frozenset({429, 502, 503, 504})


_Form = TypeVar("_Form")


class Unavailable(Exception):
    """The Prometheus cannot be asked; nothing of the audit can go on."""


class Refused(Exception):
    """It does not answer this one query: too long a range, too many samples, a syntax that it does not know."""


@dataclass(frozen=True, slots=True)
class Credentials:
    username: str = ""
    password: str = field(default="", repr=False)
    bearer_token: str = field(default="", repr=False)

    def headers(self) -> dict[str, str]:
        if self.bearer_token:
            return {"Authorization": f"Bearer {self.bearer_token}"}
        if self.username or self.password:
            return {"Authorization": aiohttp.encode_basic_auth(self.username, self.password, encoding="utf-8")}
        return {}


@dataclass(frozen=True, slots=True)
class Element:
    """One element of an instant vector."""

    labels: Mapping[str, str]
    value: float


def shown_address(url: str) -> str:
    """The address less user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


class PrometheusApi:
    """Use it as a context manager. ``url`` may have a path (Mimir's /prometheus, a reverse proxy's), but no user."""

    def __init__(self, url: str, credentials: Credentials, clock: Clock) -> None:
        self.shown = shown_address(url)
        self._base = self.shown
        self._headers = {**credentials.headers(), "User-Agent": f"gotk-exporter/{__version__}"}
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        try:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS), headers=self._headers
            )
        except ValueError:
            raise Unavailable(f"{self.shown}: the credentials hold a character that no header may have") from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def rules(self) -> list[LoadedRule]:
        """The rules that it evaluates.

        Raises:
            Unavailable: it cannot be asked, or is no Prometheus.
        """
        # Alerts that fire are thousands on a bad day; servers before 2.5x send them all the same.
        body = await self._ask("GET", "/api/v1/rules", {"exclude_alerts": "true"}, MAX_RULES_BYTES)
        data = self._data(body, _RulesData)
        rules = [rule for group in data.groups for entry in group.rules if (rule := _loaded(group, entry)) is not None]
        if len(rules) > MAX_RULES:
            raise Unavailable(
                f"{self.shown}: it has more than {MAX_RULES} rules; ask each of its tenants or shards alone"
            )
        return rules

    async def query(self, expression: str) -> list[Element]:
        """The instant vector now.

        Raises:
            Refused: it gives no answer to this one.
            Unavailable: it gives none to any.
        """
        body = await self._ask("POST", QUERY_PATH, {"query": expression}, MAX_ANSWER_BYTES)
        data = self._data(body, _QueryData)
        if data.resultType != "vector":
            raise Refused(f"the answer is no vector but {data.resultType[:40]}")
        try:
            return [Element(sample.metric, float(sample.value[1])) for sample in data.result]
        except ValueError:
            raise Refused("a value in the answer is no number") from None

    async def _ask(self, method: Literal["GET", "POST"], path: str, parameters: dict[str, str], limit: int) -> bytes:
        wait = BACKOFF_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            try:
                status, retry_after, body = await self._once(method, path, parameters, limit)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                if isinstance(error, TimeoutError) and path == QUERY_PATH:
                    raise Refused(f"no answer within {REQUEST_SECONDS:g} s") from None
                # From None: the text of the cause may quote addresses and headers.
                raise Unavailable(f"{self.shown}: {_named(error)}") from None
            if status not in _AGAIN:
                break
            if attempt < ATTEMPTS:
                await self._clock.sleep(min(retry_after if retry_after is not None else wait, MAX_BACKOFF_SECONDS))
                wait *= 2
        if status == 200:
            return body
        said = _refusal(body)
        if path == QUERY_PATH and said is not None and status in (400, 422, 500, 503):
            raise Refused(f"{status}: {said}")
        raise Unavailable(f"{self.shown}: {status} for {path}{f': {said}' if said else ''}{_REMEDIES.get(status, '')}")

    async def _once(
        self, method: Literal["GET", "POST"], path: str, parameters: dict[str, str], limit: int
    ) -> tuple[int, float | None, bytes]:
        assert self._session is not None
        where: dict[str, Any] = {"params": parameters} if method == "GET" else {"data": parameters}
        async with self._session.request(method, self._base + path, allow_redirects=False, **where) as response:
            if 300 <= response.status < 400:
                raise Unavailable(
                    f"{self.shown}: {response.status}, it redirects elsewhere; give the address behind that, or what "
                    "logs in there"
                )
            body = bytearray()
            while piece := await response.content.readany():
                body += piece
                if len(body) > limit:
                    raise Unavailable(
                        f"{self.shown}: its answer to {path} is longer than {limit // 2**20} MiB; is it a Prometheus?"
                    )
            return response.status, _seconds(response.headers.get("Retry-After", "")), bytes(body)

    def _data(self, body: bytes, form: type[_Form]) -> _Form:
        try:
            answer = msgspec.json.decode(body, type=_Answer)
            if answer.status != "success":
                raise Unavailable(f"{self.shown}: it answers {answer.status[:40]!r}")
            return msgspec.json.decode(answer.data, type=form)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Unavailable(
                f"{self.shown}: the answer is not that of a Prometheus; its path may be missing (Mimir: /prometheus)"
            ) from None


_REMEDIES: dict[int, str] = {
    401: "; give credentials: --username with --password-file, or --bearer-token-file",
    403: "; these credentials may not read rules and queries",
    404: "; is this a Prometheus, and is a path missing from the address (Mimir: /prometheus)?",
    405: "; is this a Prometheus, and is a path missing from the address (Mimir: /prometheus)?",
}


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() else None


def _named(error: Exception) -> str:
    """Never a text of aiohttp's, which quotes URLs and headers."""
    text, hint = next((text, hint) for kind, text, hint in _ERRORS if isinstance(error, kind))
    detail = ""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        detail = getattr(error.certificate_error, "verify_message", "")
    elif isinstance(error, OSError) and error.errno and error.errno in errno.errorcode:
        detail = os.strerror(error.errno)
    return text + (f": {detail}" if detail else "") + (f"; {hint}" if hint else "")


_ERRORS: tuple[tuple[type[Exception], str, str], ...] = (
    (aiohttp.ClientConnectorCertificateError, "its certificate is not trusted", "name its authority in SSL_CERT_FILE"),
    (aiohttp.ClientConnectorSSLError, "TLS with it failed", "is it https?"),
    (ssl.SSLError, "TLS with it failed", "is it https?"),
    (aiohttp.ClientConnectorDNSError, "its name cannot be resolved", ""),
    (TimeoutError, f"it did not answer within {REQUEST_SECONDS:g} s", ""),
    (aiohttp.ClientConnectorError, "no connection", "is this its address, and does a port-forward run?"),
    (aiohttp.ClientPayloadError, "the connection was cut in the middle of an answer", ""),
    (aiohttp.ServerDisconnectedError, "the connection was cut before an answer came", ""),
    (aiohttp.ClientResponseError, "the answer is no HTTP", "is this its address?"),
    (OSError, "the connection was cut", ""),
    (ValueError, "it is no address of a server", "write e.g. http://127.0.0.1:9090"),
    (Exception, "the request failed", ""),
)
"""The first that fits."""


# What the answers hold


class _Answer(msgspec.Struct):
    status: str
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Refusal(msgspec.Struct):
    error: str


class _Rule(msgspec.Struct):
    name: str
    query: str
    type: str
    state: str = ""
    health: str = ""
    lastError: str | None = None


class _Group(msgspec.Struct):
    name: str
    file: str = ""
    rules: list[_Rule] = []


class _RulesData(msgspec.Struct):
    groups: list[_Group]


class _Sample(msgspec.Struct):
    metric: dict[str, str]
    value: tuple[float, str]


class _QueryData(msgspec.Struct):
    resultType: str
    result: list[_Sample] = []


def _refusal(body: bytes) -> str | None:
    try:
        return " ".join(msgspec.json.decode(body, type=_Refusal).error.split())[:300]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _loaded(group: _Group, rule: _Rule) -> LoadedRule | None:
    if rule.type not in ("alerting", "recording"):
        return None
    return LoadedRule(
        group.name,
        group.file,
        rule.name,
        "alert" if rule.type == "alerting" else "record",
        rule.query,
        active=rule.state in ("pending", "firing"),
        error=" ".join((rule.lastError or "").split())[:300] if rule.health == "err" else "",
    )

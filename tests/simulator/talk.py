"""A conversation with an API server, written down so that it can be compared with the same one held elsewhere.

What differs between any two servers (uids, times, numbers of versions) is replaced by what it means.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from typing import Any, Self

import aiohttp

MERGE = "application/merge-patch+json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
SECONDS = 20.0
"""What one request may take, a watch included."""

Answer = Any
"""A decoded body, or its text where it is no JSON."""

POLL_SECONDS = 0.05

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_AGE = re.compile(r"\d+[smhd]")
_PAGE_NOT_FOUND = "404 page not found\n"
"""Has a number that may be a resourceVersion on the same day."""
_TOLD_APART = {"uid": "uid", "resourceVersion": "version", "continue": "token"}


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until ``holds()``, for what there is no event of."""
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class Talk:
    """One client's side of it; ``lines`` is what was said, made comparable."""

    def __init__(self, url: str, token: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.url = url
        self.lines: list[Any] = []
        self._tls = tls if tls is not None else True
        headers = {"User-Agent": "talk/1"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._session = aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=SECONDS))
        self._known: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._session.close()

    async def say(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        kind: str = "application/json",
        accept: str = "application/json",
        only: Collection[str] = (),
        headers: Mapping[str, str] | None = None,
        **query: str,
    ) -> Answer:
        """Send a request and write down the answer; of a refusal ``only`` these fields, where its words do not count.

        ``body``: bytes as they are, all else as JSON. ``kind``: its media type. ``query``: continue_ for continue.
        """
        status, answer = await self.ask(method, path, body, kind=kind, accept=accept, headers=headers, **query)
        said = {field: answer.get(field) for field in only} if only and status >= 400 else answer
        self.lines.append((f"{method} {path} {sorted(query)}", status, self._normal(said)))
        return answer

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        kind: str = "application/json",
        accept: str = "application/json",
        headers: Mapping[str, str] | None = None,
        **query: str,
    ) -> tuple[int, Answer]:
        """The same, not written down."""
        data = body if isinstance(body, bytes) or body is None else io.BytesIO(json.dumps(body).encode())
        types = {"Accept": accept} | ({"Content-Type": kind} if data is not None else {})
        async with self._session.request(
            method,
            self.url + path,
            data=data,
            params={name.rstrip("_"): value for name, value in query.items()},
            headers={**types, **(headers or {})},
            ssl=self._tls,
        ) as response:
            text = await response.text()
        decoded = json.loads(text) if text and response.content_type.endswith("json") else text
        return response.status, decoded

    async def until(self, holds: Callable[[int, Answer], bool], path: str, *, accept: str = "application/json") -> None:
        """Ask, and write nothing down, until ``holds(status, body)``."""
        async with asyncio.timeout(SECONDS):
            # A foreign process has no event to wait for.
            while not holds(*await self.ask("GET", path, accept=accept)):  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)

    async def watch(self, path: str, events: int | None, *, accept: str = "application/json", **query: str) -> None:
        """Watch, and write down the first ``events``, or all until it ends."""
        async with self.watching(path, events, accept=accept, **query):
            pass

    @contextlib.asynccontextmanager
    async def watching(
        self, path: str, events: int | None, *, accept: str = "application/json", **query: str
    ) -> AsyncIterator[None]:
        """The same for what happens in the block, which begins when the watch is open."""
        seen: list[Answer] = []
        async with (
            asyncio.timeout(SECONDS),
            self._session.get(
                self.url + path, params={"watch": "1", **query}, ssl=self._tls, headers={"Accept": accept}
            ) as response,
        ):
            yield
            while (events is None or len(seen) < events) and (line := await response.content.readline()):
                seen.append(json.loads(line))
        self.lines.append((f"WATCH {path} {sorted(query)}", response.status, self._normal(seen)))

    async def first_event(self, path: str, **query: str) -> Answer:
        """What a watch says first; not written down."""
        async with (
            asyncio.timeout(SECONDS),
            self._session.get(self.url + path, params={"watch": "1", **query}, ssl=self._tls) as response,
        ):
            return json.loads(await response.content.readline())

    def note(self, what: object) -> None:
        self.lines.append(self._normal(what))

    def _normal(self, value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            fields = {key: self._normal(one, key) for key, one in value.items()}
            if str(value.get("kind", "")).endswith(("List", "Table")):
                # Of a whole list, how far it goes depends on what else is written meanwhile.
                fields["metadata"] = {**(fields.get("metadata") or {}), "resourceVersion": "now"}
            if "managedFields" in fields:
                # Sorted by time first, and so by where a second ends.
                fields["managedFields"].sort(key=lambda entry: (entry["manager"], entry.get("subresource", "")))
            if "priority" in value:
                # A column: what is written about it is long and for people.
                fields.pop("description", None)
            return fields
        if isinstance(value, list):
            return [self._normal(one) for one in value]
        if isinstance(value, str):
            return self._normal_text(value, name)
        return value

    def _normal_text(self, text: str, name: str) -> str:
        if name in _TOLD_APART and text and text not in self._known:
            what = _TOLD_APART[name]
            self._known[text] = f"<{what} {sum(known.startswith(f'<{what} ') for known in self._known.values())}>"
        return self._plain(text)

    def _plain(self, text: str) -> str:
        if text in self._known:
            return self._known[text]
        if text == _PAGE_NOT_FOUND:
            return text
        if _AGE.fullmatch(text):
            return "<age>"
        for known, placeholder in self._known.items():
            # Inside of a message; a short number could stand for anything.
            if len(known) > 2 and known in text:
                text = re.sub(rf"\b{re.escape(known)}\b", placeholder, text)
        return _TIME.sub("<time>", text)


def differences(expected: Any, found: Any, place: str = "") -> Iterator[str]:
    """Where the two differ, each in a line."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in sorted({*expected, *found}):
            yield from differences(expected.get(name, "(nothing)"), found.get(name, "(nothing)"), f"{place}.{name}")
    elif isinstance(expected, (list, tuple)) and isinstance(found, (list, tuple)) and len(expected) == len(found):
        for index, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences(one, other, f"{place}[{index}]")
    elif expected != found:
        yield f"{place}: {expected!r}, not {found!r}"

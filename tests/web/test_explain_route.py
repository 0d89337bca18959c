"""GET /api/v1/explain over real HTTP: what is asked, what is refused, and what of it is cached."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from gotk_exporter.flux.explanation import Blocks, Explanation, Named, encode
from gotk_exporter.flux.question import BadQuestion, NoSuchObject
from gotk_exporter.telemetry import Telemetry
from gotk_exporter.web.body import Body
from gotk_exporter.web.server import EXPLAIN_PATH, Address, Server
from tests.kube.scripted_clock import ScriptedClock
from tests.web.stores import filled_store

EXPLANATION = Explanation(
    object=Named("Kustomization", "shop", "checkout"),
    state="well",
    suspended=False,
    reason="",
    since=None,
    running_since=None,
    last_good_revision="",
    causes=[],
    causes_left_out=0,
    blocks=Blocks(count=0, objects=[]),
    held_back=None,
    parents=[],
    not_known=[],
    next=[],
)


class Oracle:
    """Answers the same to every question, or refuses it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str | None]] = []
        self.refusal: Exception | None = None

    def __call__(self, kind: str, name: str, namespace: str | None) -> Explanation:
        self.asked.append((kind, name, namespace))
        if self.refusal is not None:
            raise self.refusal
        return EXPLANATION


@pytest.fixture
def oracle() -> Oracle:
    return Oracle()


@pytest.fixture
async def http(oracle: Oracle) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a server that asks the oracle; the exporter is not ready."""
    telemetry = Telemetry()
    body = Body(filled_store(1), telemetry.render)
    server = Server(body, telemetry, lambda: ["Kustomization"], "/metrics", ScriptedClock(), explain=oracle)
    url = f"http://{await server.start(Address('127.0.0.1', 0))}"
    async with aiohttp.ClientSession(url) as session:
        yield session
    await server.stop()


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("kind=ks&name=checkout&namespace=shop", ("ks", "checkout", "shop")),
        ("kind=ks&name=checkout", ("ks", "checkout", None)),
        ("kind=ks&name=checkout&namespace=", ("ks", "checkout", None)),
        ("kind=ks&name=a%26b&more=x", ("ks", "a&b", None)),
    ],
)
async def test_an_explanation_is_served_as_json_that_nobody_keeps(
    query: str, asked: tuple[str, str, str | None], http: aiohttp.ClientSession, oracle: Oracle
) -> None:
    async with http.get(f"{EXPLAIN_PATH}?{query}") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Cache-Control"] == "no-store"
        assert await response.read() == encode(EXPLANATION)
    assert oracle.asked == [asked]


@pytest.mark.parametrize("query", ["", "kind=ks", "name=checkout", "kind=&name=checkout"])
async def test_missing_parameters_are_a_bad_request(query: str, http: aiohttp.ClientSession, oracle: Oracle) -> None:
    async with http.get(f"{EXPLAIN_PATH}?{query}") as response:
        assert response.status == 400
        error = "/api/v1/explain needs the parameters kind and name, and knows namespace"
        assert await response.json() == {"error": error}
    assert oracle.asked == []


@pytest.mark.parametrize(("refusal", "status"), [(BadQuestion("no kind"), 400), (NoSuchObject("not there"), 404)])
async def test_a_refusal_says_why(refusal: Exception, status: int, http: aiohttp.ClientSession, oracle: Oracle) -> None:
    oracle.refusal = refusal
    async with http.get(f"{EXPLAIN_PATH}?kind=ks&name=x") as response:
        assert response.status == status
        assert response.headers["Cache-Control"] == "no-store"
        assert await response.json() == {"error": str(refusal)}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_but_reading_is_allowed(method: str, http: aiohttp.ClientSession) -> None:
    async with http.request(method, f"{EXPLAIN_PATH}?kind=ks&name=x") as response:
        assert response.status == 405

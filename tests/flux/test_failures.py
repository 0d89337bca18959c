"""Failures: class, host and shared cause of every message in tests/data/failures.yaml, and what any text may give."""

from __future__ import annotations

import re
import re._constants as sre  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from gotk_exporter.flux import failures
from gotk_exporter.flux.failure_patterns import ROWS, texts_in
from gotk_exporter.flux.failures import MAX_HOST_CHARS, Failure, FailureClass, at_host, classify, host_of, steady
from gotk_exporter.flux.kinds import KINDS
from gotk_exporter.flux.rows import Reconciled

CORPUS: list[dict[str, str]] = yaml.safe_load(
    (Path(__file__).parents[1] / "data" / "failures.yaml").read_text(encoding="utf-8")
)
SECRET = "s3cr3tT0ken"
C = FailureClass


def name_of(entry: dict[str, str]) -> str:
    return f"{entry['class']}-{entry['kind']}-{entry['message'][:40]}"


@pytest.mark.parametrize("entry", CORPUS, ids=name_of)
def test_a_message_of_the_corpus(entry: dict[str, str]) -> None:
    failure = classify(entry["kind"], entry["reason"], entry["message"])
    assert (failure.failure_class.value, failure.upstream_host, failure.shared_cause) == (
        entry["class"],
        entry.get("host", ""),
        entry.get("shared_cause", ""),
    )


def test_the_corpus_has_every_class_and_every_kind_that_can_fail() -> None:
    assert {entry["class"] for entry in CORPUS} == {failure_class.value for failure_class in FailureClass}
    assert {entry["kind"] for entry in CORPUS} == {
        kind.name for kind in KINDS if kind.reconciled is not Reconciled.NEVER
    }
    assert all(entry["source"] for entry in CORPUS)
    assert sum(not entry["source"].startswith("composed") for entry in CORPUS) >= 150


def test_the_classes_are_those_of_the_design() -> None:
    assert " ".join([failure_class.value for failure_class in FailureClass]) == (
        "webhook_unavailable admission_denied forbidden auth verification rate_limited dns tls connect timeout "
        "crd_missing immutable_field invalid quota conflict build not_found decryption release_state "
        "workload_unhealthy test_failed other"
    )


FAMILIES = {
    C.TIMEOUT: (
        'Get "https://charts.test/": context deadline exceeded (Client.Timeout exceeded while awaiting headers)',
        'Get "https://charts.test/index.yaml": context deadline exceeded',
        'Get "https://charts.test/index.yaml": net/http: TLS handshake timeout',
        'Get "https://charts.test/index.yaml": dial tcp 192.0.2.1:443: i/o timeout',
        'Get "https://charts.test/index.yaml": dial tcp 192.0.2.1:443: connect: connection timed out',
        'Get "https://charts.test/index.yaml": net/http: request canceled while waiting for connection',
        "failed to fetch https://charts.test/index.yaml : 504 Gateway Timeout",
    ),
    C.DNS: (
        'Get "https://charts.test/index.yaml": dial tcp: lookup charts.test on 10.96.0.10:53: no such host',
        'Get "https://charts.test/index.yaml": dial tcp: lookup charts.test: i/o timeout',
        'Get "https://charts.test/index.yaml": dial tcp: lookup charts.test on 10.96.0.10:53: server misbehaving',
        'Get "https://charts.test/": dial tcp: lookup charts.test on 10.0.0.1:53: read udp 10.0.0.9:1->10.0.0.1:53: '
        "read: connection refused",
    ),
    C.CONNECT: (
        'Get "https://charts.test/index.yaml": dial tcp 192.0.2.1:443: connect: connection refused',
        'Get "https://charts.test/index.yaml": dial tcp 192.0.2.1:443: connect: no route to host',
        'Get "https://charts.test/index.yaml": read tcp 10.0.0.9:4->192.0.2.1:443: read: connection reset by peer',
        'Get "https://charts.test/index.yaml": EOF',
        "failed to fetch https://charts.test/index.yaml : 503 Service Unavailable",
    ),
}


@pytest.mark.parametrize(
    ("failure_class", "message"), [(family, text) for family, texts in FAMILIES.items() for text in texts]
)
def test_the_texts_of_one_cause_are_one_failure(failure_class: FailureClass, message: str) -> None:
    said = classify("HelmRepository", "IndexationFailed", f"failed to fetch Helm repository index: {message}")
    assert said == Failure(failure_class, "charts.test", "unreachable/charts.test")


@pytest.mark.parametrize("url", ["", "https://charts.test/index"])
def test_the_words_of_one_outage_have_one_shared_cause_and_what_a_host_that_answers_says_has_another(url: str) -> None:
    def causes(*messages: str) -> set[str]:
        said = (classify("HelmRepository", "IndexationFailed", f"failed to fetch: {message}") for message in messages)
        return {at_host(failure, host_of(url)).shared_cause for failure in said}

    call = 'Get "https://charts.test/index.yaml": '
    assert causes(*(text for texts in FAMILIES.values() for text in texts)) == {"unreachable/charts.test"}
    assert causes(f"{call}tls: failed to verify certificate: x509: certificate has expired") == {"tls/charts.test"}
    assert causes(f"{call}401 Unauthorized") == {"auth/charts.test"}
    assert causes(f"{call}429 Too Many Requests") == {"rate_limited/charts.test"}


@pytest.mark.parametrize("message", [text for texts in FAMILIES.values() for text in texts])
def test_a_webhook_that_cannot_be_called_is_one_whatever_the_transport_says(message: str) -> None:
    said = classify("Kustomization", "ReconciliationFailed", f'failed calling webhook "Validate.test": {message}')
    assert said.failure_class is C.WEBHOOK_UNAVAILABLE
    assert said.shared_cause == "webhook_unavailable/validate.test"


@pytest.mark.parametrize(
    ("kind", "reason", "message", "failure_class"),
    [
        ("HelmRelease", "UpgradeFailed", "Helm upgrade failed: context deadline exceeded", C.WORKLOAD_UNHEALTHY),
        ("Kustomization", "HealthCheckFailed", "context deadline exceeded", C.WORKLOAD_UNHEALTHY),
        ("HelmRelease", "TestFailed", "timed out waiting for the condition", C.TEST_FAILED),
        ("GitRepository", "GitOperationFailed", "context deadline exceeded", C.TIMEOUT),
        (
            "HelmRelease",
            "UpgradeFailed",
            'Helm upgrade failed: Get "https://10.96.0.1:443/api": context deadline exceeded',
            C.TIMEOUT,
        ),
    ],
)
def test_whose_deadline_it_was_decides(kind: str, reason: str, message: str, failure_class: FailureClass) -> None:
    assert classify(kind, reason, message).failure_class is failure_class


@pytest.mark.parametrize(
    ("message", "host"),
    [
        ('Get "https://Git.Test:8443/x": i/o timeout', "git.test"),
        ("clone 'ssh://git@git.test:2222/o/r': i/o timeout", "git.test"),
        ("clone git@git.test:o/r.git: i/o timeout", "git.test"),
        (
            "fetch http://source-controller.flux-system.svc.cluster.local./x: i/o timeout",
            "source-controller.flux-system.svc.cluster.local",
        ),
        ("Get http://[2001:DB8::1]:80/x: i/o timeout", "2001:db8::1"),
        ("dial tcp [2001:db8::2]:443: i/o timeout", "2001:db8::2"),
        ("dial tcp 192.0.2.7:443: i/o timeout", "192.0.2.7"),
        ('Get "https://a.test/": Get "https://b.test/token": i/o timeout', "b.test"),
        ('Get "https://a.test/": proxyconnect tcp: dial tcp 192.0.2.9:3128: i/o timeout', "192.0.2.9"),
        (
            'Get "https://a.test/": proxyconnect tcp: dial tcp: lookup proxy.test on 192.0.2.1:53: no such host',
            "proxy.test",
        ),
        ('failed: Get \\"https://git.test/x\\": i/o timeout', "git.test"),
        ("toomanyrequests: pull rate limit, see https://www.docker.com/increase-rate-limit", ""),
        ("unable to connect to the server: i/o timeout", ""),
        ("Get https://.../x: i/o timeout", ""),
        (f"Get https://{'a' * 64}.test/: i/o timeout", ""),
        (f"Get https://{'a.' * 130}test/: i/o timeout", ""),
    ],
)
def test_the_host_is_what_was_called(message: str, host: str) -> None:
    assert classify("GitRepository", "GitOperationFailed", message).upstream_host == host


@pytest.mark.parametrize(
    ("message", "host"),
    [
        (f"clone 'https://me:{SECRET}@git.test/r': authentication required", "git.test"),
        (f"clone 'https://{SECRET}@git.test/r': authentication required", "git.test"),
        (f"clone https://me:pa/ss{SECRET}@git.test/r: authentication required", ""),
        (f"clone https://me:12/ss{SECRET}@git.test/r: authentication required", ""),
        (f"clone https://me:12#{SECRET}@git.test/r: authentication required", ""),
        (f"clone https://me:12 {SECRET}@git.test/r: authentication required", ""),
        (f"clone https://me:{SECRET}@{SECRET}@git.test/r: authentication required", ""),
        (f"dial tcp: lookup {SECRET}:x@git.test: no such host", ""),
        (f'Get "https://git.test/r?token={SECRET}": i/o timeout', "git.test"),
    ],
)
def test_no_credential_becomes_a_host(message: str, host: str) -> None:
    said = classify("GitRepository", "GitOperationFailed", message)
    assert said.upstream_host == host
    assert SECRET.lower() not in said.shared_cause


def test_quotas_are_shared_within_a_namespace_only() -> None:
    text = 'Pod/team-a/x dry-run failed (Forbidden): pods "x" is forbidden: exceeded quota: compute'
    assert classify("Kustomization", "ReconciliationFailed", text).shared_cause == "quota/team-a"
    assert classify("Kustomization", "ReconciliationFailed", "exceeded quota: compute").shared_cause == ""


def test_the_ends_of_a_long_message_are_read() -> None:
    loud = "kustomize build failed: " + "x" * 30_000
    quiet = ' Get "https://git.test/x": dial tcp: lookup git.test: no such host'
    assert classify("Kustomization", "BuildFailed", loud + quiet).shared_cause == "unreachable/git.test"
    assert classify("Kustomization", "BuildFailed", loud).failure_class is C.BUILD


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://GitHub.com/fluxcd/flux2", "github.com"),
        ("ssh://git@ssh.github.com:443/o/r", "ssh.github.com"),
        ("git@github.com:o/r.git", "github.com"),
        ("oci://ghcr.io/o/r", "ghcr.io"),
        ("minio.minio.svc.cluster.local:9000", "minio.minio.svc.cluster.local"),
        ("s3.amazonaws.com", "s3.amazonaws.com"),
        ("http://[2001:db8::1]:8080/x", "2001:db8::1"),
        (f"https://me:{SECRET}@git.test/r", "git.test"),
        (f"https://me:pa/ss{SECRET}@git.test/r", ""),
        ("", ""),
        ("://", ""),
    ],
)
def test_the_host_of_a_stated_address(address: str, host: str) -> None:
    assert host_of(address) == host


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (Failure(C.TIMEOUT), Failure(C.TIMEOUT, "git.test", "unreachable/git.test")),
        (
            Failure(C.CONNECT, "192.0.2.1", "unreachable/192.0.2.1"),
            Failure(C.CONNECT, "git.test", "unreachable/git.test"),
        ),
        (Failure(C.DNS, "sts.test", "unreachable/sts.test"), Failure(C.DNS, "sts.test", "unreachable/sts.test")),
        (Failure(C.VERIFICATION), Failure(C.VERIFICATION, "git.test")),
        (Failure(C.WEBHOOK_UNAVAILABLE), Failure(C.WEBHOOK_UNAVAILABLE)),
    ],
)
def test_a_source_calls_its_own_address(failure: Failure, said: Failure) -> None:
    assert at_host(failure, "git.test") == said
    assert at_host(failure, "") == failure


# Memory.

DNS = Failure(C.DNS, "git.test", "unreachable/git.test")
CONNECT = Failure(C.CONNECT, "git.test", "unreachable/git.test")
TIMEOUT = classify("GitRepository", "GitOperationFailed", "context deadline exceeded")
EXHAUSTED = classify("HelmRelease", "RetriesExceeded", "Failed to upgrade after 3 attempt(s)")
ROLLED_BACK = classify(
    "HelmRelease", "RollbackSucceeded", "Helm rollback to previous release a/b.v1 with chart b@1 succeeded"
)
UNHEALTHY = classify("HelmRelease", "UpgradeFailed", "Helm upgrade failed: context deadline exceeded")
UNKNOWN = classify("HelmRelease", "SomeReason", "something else")


@pytest.mark.parametrize(
    ("previous", "now", "said"),
    [
        (None, DNS, DNS),
        (None, UNKNOWN, UNKNOWN),
        (DNS, DNS, DNS),
        (DNS, TIMEOUT, DNS),
        (DNS, UNKNOWN, DNS),
        (DNS, Failure(C.DNS), DNS),
        (DNS, Failure(C.CONNECT), DNS),
        (DNS, CONNECT, CONNECT),
        (CONNECT, DNS, DNS),
        (Failure(C.DNS), Failure(C.CONNECT), Failure(C.CONNECT)),
        (DNS, Failure(C.TLS), Failure(C.TLS)),
        (Failure(C.TLS, "git.test", "tls/git.test"), Failure(C.CONNECT), Failure(C.CONNECT)),
        (
            DNS,
            Failure(C.DNS, "other.test", "unreachable/other.test"),
            Failure(C.DNS, "other.test", "unreachable/other.test"),
        ),
        (DNS, Failure(C.AUTH, "git.test", "auth/git.test"), Failure(C.AUTH, "git.test", "auth/git.test")),
        (UNHEALTHY, EXHAUSTED, UNHEALTHY),
        (UNHEALTHY, ROLLED_BACK, UNHEALTHY),
        (ROLLED_BACK, UNHEALTHY, UNHEALTHY),
        (ROLLED_BACK, UNKNOWN, ROLLED_BACK),
        (UNHEALTHY, TIMEOUT, TIMEOUT),
        (TIMEOUT, DNS, DNS),
        (UNKNOWN, DNS, DNS),
        (UNKNOWN, UNKNOWN, UNKNOWN),
    ],
)
def test_what_says_less_takes_nothing_back(previous: Failure | None, now: Failure, said: Failure) -> None:
    assert steady(previous, now) == said


# Whatever anybody writes.

PIECES = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.sampled_from(sorted({text for row in ROWS for text in row.texts})),
        st.sampled_from(
            ['get "https://', "://", "git@", "@", ":", "/", "lookup ", "dial tcp ", 'webhook "', "[::", "->", "."]
        ),
        st.sampled_from([entry["message"] for entry in CORPUS]),
    ),
    max_size=30,
).map("".join)
HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?|[0-9a-f:.]+")


@given(kind=st.sampled_from(sorted(kind.name for kind in KINDS)), reason=st.text(max_size=20), message=PIECES)
@example(kind="GitRepository", reason="", message="")
@example(kind="GitRepository", reason="", message="İ" * 40_000)
def test_any_text_gives_a_bounded_failure(kind: str, reason: str, message: str) -> None:
    said = classify(kind, reason, message)
    assert said == classify(kind, reason, message)
    assert len(said.upstream_host) <= MAX_HOST_CHARS
    assert not said.upstream_host or HOST.fullmatch(said.upstream_host)
    group, slash, shared = said.shared_cause.partition("/")
    assert bool(group) is bool(slash) is bool(shared)
    unreachable = said.failure_class in (C.DNS, C.CONNECT, C.TIMEOUT)
    assert group in ("", "unreachable" if unreachable else said.failure_class.value)
    assert not shared or (HOST.fullmatch(shared) and len(shared) <= MAX_HOST_CHARS)


@given(st.lists(st.sampled_from([classify(e["kind"], e["reason"], e["message"]) for e in CORPUS]), min_size=1))
def test_memory_says_nothing_that_was_never_said(history: list[Failure]) -> None:
    said: Failure | None = None
    for failure in history:
        said = steady(said, failure)
        assert said in history
        assert steady(said, failure) == said


# Cost: by construction, not by the clock.


def test_every_text_of_the_table_is_found_and_can_be_reached() -> None:
    for row in ROWS:
        for text in row.texts:
            assert text == text.lower()
            assert text in texts_in(text), text
            assert text in texts_in(f"({text})"), text


def test_the_last_row_fits_everything() -> None:
    assert ROWS[-1].fits("", frozenset())
    assert sum(row.fits("", frozenset()) for row in ROWS) == 1


def patterns() -> Iterator[re.Pattern[str]]:
    for value in vars(failures).values():
        if isinstance(value, re.Pattern):
            yield value
        elif isinstance(value, tuple):
            yield from (
                part
                for place in value
                for part in (place if isinstance(place, tuple) else (place,))
                if isinstance(part, re.Pattern)
            )


def repeats(parsed: Any) -> Iterator[tuple[int, Any]]:
    """Every repetition in a parsed pattern: how often at most, and of what."""
    for op, argument in parsed:
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            yield argument[1], argument[2]
            yield from repeats(argument[2])
        elif op is sre.SUBPATTERN:
            yield from repeats(argument[-1])
        elif op is sre.BRANCH:
            for branch in argument[1]:
                yield from repeats(branch)
        elif op in (sre.ASSERT, sre.ASSERT_NOT):
            yield from repeats(argument[1])


def test_no_pattern_repeats_without_bound_or_repeats_a_repetition() -> None:
    found = list(patterns())
    assert len(found) >= 12
    for pattern in found:
        for times, of in repeats(parser.parse(pattern.pattern)):
            assert times <= 1000, pattern.pattern
            # What is repeated holds no repetition of its own, unless it is there once or not at all.
            assert times == 1 or not list(repeats(of)), pattern.pattern

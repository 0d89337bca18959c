"""THE table: which words of a controller's message tell what class a failure is of, the most telling row first.

A row is found by plain texts in the message in small letters, never by a regular expression: a message is foreign text
of up to 32 KiB, and a search for a text is linear whatever it holds. Texts are looked up by their longest word, so that
a message costs what it holds and not what the table holds; therefore that word must be a whole one. Reading the
message, and the names of what was called in it, belongs to failures.py.

Why this order, which is the heart of it:

- A controller glues the cause behind what it was doing ("kustomize build failed: … no such file … dial tcp: lookup"),
  so what names a cause stands before what names an undertaking: transport errors before rendering, and both before the
  last resort, the reason.
- What waited for a workload stands first of all: the texts of other objects' failures follow in the same message.
- A webhook that cannot be called fails by a transport error too, and its row must come before those.
- The API server calls "forbidden" what RBAC, quotas, policies and immutable fields refuse: the last three come first.

Source of the texts: tests/data/failures.yaml, where each has its own.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass


class FailureClass(enum.Enum):
    """What kind of failure: the values of the label failure_class."""

    WEBHOOK_UNAVAILABLE = "webhook_unavailable"
    ADMISSION_DENIED = "admission_denied"
    FORBIDDEN = "forbidden"
    AUTH = "auth"
    VERIFICATION = "verification"
    RATE_LIMITED = "rate_limited"
    DNS = "dns"
    TLS = "tls"
    CONNECT = "connect"
    TIMEOUT = "timeout"
    CRD_MISSING = "crd_missing"
    IMMUTABLE_FIELD = "immutable_field"
    INVALID = "invalid"
    """The API server rejects the object itself; a mistake in Flux's own fields, which it took, is OTHER."""
    QUOTA = "quota"
    CONFLICT = "conflict"
    BUILD = "build"
    NOT_FOUND = "not_found"
    DECRYPTION = "decryption"
    RELEASE_STATE = "release_state"
    WORKLOAD_UNHEALTHY = "workload_unhealthy"
    TEST_FAILED = "test_failed"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Row:
    """Fits a message that holds every text of all, one of any, none of but, under one of the reasons; what is empty
    asks nothing."""

    failure_class: FailureClass
    any: tuple[str, ...] = ()
    all: tuple[str, ...] = ()
    but: tuple[str, ...] = ()
    reasons: frozenset[str] = frozenset()
    vague: bool = False
    """It says that something failed, or what was done about that, and not why: what was known before knows better."""

    @property
    def texts(self) -> tuple[str, ...]:
        return self.any + self.all + self.but

    def fits(self, reason: str, held: frozenset[str]) -> bool:
        """held: what texts_in says of the message."""
        return (
            (not self.reasons or reason in self.reasons)
            and (not self.any or not held.isdisjoint(self.any))
            and held.issuperset(self.all)
            and held.isdisjoint(self.but)
        )


def _texts(texts: str) -> tuple[str, ...]:
    return tuple(texts.split(" | "))


def _reasons(reasons: str) -> frozenset[str]:
    return frozenset(reasons.split())


_C = FailureClass

_HELM_ACTIONS = frozenset({"InstallFailed", "UpgradeFailed", "RollbackFailed", "UninstallFailed"})
_WAITED_TOO_LONG = ("deadline exceeded", "timed out waiting", "timed out", "would exceed context deadline")

ROWS: tuple[Row, ...] = (
    # Mistakes in Flux's own fields: the words of the field's value may say anything.
    Row(
        _C.OTHER,
        reasons=_reasons(
            "FeatureGateDisabled ImageURLInvalid IntervalNotConfigured InvalidCELExpression InvalidDefaultValues "
            "InvalidExportedInputs InvalidPolicy InvalidPolicySelector InvalidSTSConfiguration InvalidSchedule "
            "InvalidSourceConfiguration InvalidSpec InvalidUpdateStrategy RemovedTemplateField URLInvalid"
        ),
    ),
    # Tests and workloads: whatever their other texts say.
    Row(_C.TEST_FAILED, ("helm test failed",)),
    Row(_C.TEST_FAILED, reasons=_reasons("TestFailed")),
    Row(
        _C.WORKLOAD_UNHEALTHY,
        _texts(
            "timeout waiting for: | failed early due to stalled resources | canary analysis failed | "
            "exceeded its progressdeadlineseconds | progress deadline exceeded | waiting for rollout to finish"
        ),
    ),
    Row(_C.WORKLOAD_UNHEALTHY, reasons=_reasons("HealthChecksFailed")),
    # Admission: first the webhook that could not say anything, then what was said.
    Row(
        _C.WEBHOOK_UNAVAILABLE, ("failed calling webhook", "failed to call webhook", "failed calling admission webhook")
    ),
    Row(_C.WEBHOOK_UNAVAILABLE, all=("conversion webhook for ", " failed")),
    Row(_C.IMMUTABLE_FIELD, ("is immutable", "are immutable", "immutable field"), but=("is not immutable",)),
    # Nobody's refusal: the API server cannot ask such a webhook without side effects.
    Row(_C.OTHER, ("does not support dry run",)),
    Row(
        _C.ADMISSION_DENIED,
        _texts(
            "denied the request | denied request: | violates podsecurity | blocked due to the following policies | "
            "unable to validate against any | is forbidden: maximum | is forbidden: minimum | per container is | "
            "per pod is"
        ),
    ),
    Row(
        _C.QUOTA,
        _texts(
            "exceeded quota | failed quota | quota exceeded | quotaexceeded | insufficient quota | "
            "limitexceededexception"
        ),
        but=("429", "ratelimitexceeded"),
    ),
    Row(_C.IMMUTABLE_FIELD, all=("updates to ", "forbidden")),
    Row(
        _C.IMMUTABLE_FIELD,
        ("can not be unset", "may not change once set", "cannot change roleref", "updates may not change"),
    ),
    Row(
        _C.CRD_MISSING,
        _texts(
            "no matches for kind | ensure crds are installed | resource mapping not found | "
            "could not find the requested resource | doesn't have a resource type"
        ),
    ),
    Row(_C.CRD_MISSING, all=("customresourcedefinitions.apiextensions.k8s.io ", "not found")),
    # Transport.
    Row(
        _C.RATE_LIMITED,
        _texts(
            "too many requests | toomanyrequests | status code 429 | status code: 429 | statuscode: 429 | "
            "status: 429 | rate limit exceeded | pull rate limit | api rate limit | secondary rate limit | "
            "rate limited | rate exceeded | throttlingexception | throttling: | requestlimitexceeded | slowdown"
        ),
    ),
    Row(
        _C.DNS,
        _texts(
            "dial tcp: lookup | no such host | server misbehaving | temporary failure in name resolution | "
            "name or service not known | could not resolve host | getaddrinfo"
        ),
    ),
    Row(_C.DNS, all=(" lookup ", ":53: ")),
    Row(
        _C.TIMEOUT,
        _texts(
            "i/o timeout | tls handshake timeout | client.timeout | awaiting headers | connection timed out | "
            "operation timed out | request timed out | request canceled while waiting for connection | "
            '": context deadline exceeded | gateway timeout | gateway time-out | status code 504 | '
            "status code: 504 | s timeout running | in the time allotted"
        ),
    ),
    Row(
        _C.CONNECT,
        _texts(
            "connection refused | early eof | premature eof | connection reset | connection was reset | "
            "no route to host | network is unreachable | host is unreachable | broken pipe | "
            "use of closed network connection | client connection lost | connection closed by | "
            "server sent goaway | stream error: | proxyconnect tcp: | connection error: | "
            "unable to connect to the server | no endpoints available | unable to handle the request | "
            "apiserver not ready | etcdserver: leader changed | etcdserver: no leader | bad gateway | "
            "service unavailable | temporarily unavailable | internal server error | status code 500 | "
            "status code: 500 | status code 502 | status code: 502 | status code 503 | status code: 503 | "
            "dial tcp"
        ),
    ),
    Row(_C.CONNECT, (": eof", "unexpected eof"), but=("template:", "yaml: ", "gzip:")),
    # Proof: of signatures and digests, of certificates, of encrypted files.
    Row(
        _C.VERIFICATION,
        _texts(
            "no matching signatures | no signatures found | no signature is associated | signature verification | "
            "cannot verify signature | cannot verify tag object | unable to verify payload | "
            "chart verification error | failed to verify archive | integrity failure | "
            "computed digest doesn't match | computed checksum doesn't match | digest mismatch | trust policy | "
            "trustpolicy.json | public keys secret error | public keys found in secret | "
            "none of the expected identities | transparency log"
        ),
    ),
    Row(
        _C.TLS,
        _texts(
            "x509: | : tls: | server gave http response to https client | http request to an https server | "
            "does not look like a tls handshake | certificate has expired | "
            "certificate signed by unknown authority | self-signed certificate | self signed certificate | "
            "certificate problem | unable to get local issuer | certificate verify failed | "
            "failed to parse ca certificate | failed to find any pem data"
        ),
    ),
    Row(
        _C.DECRYPTION,
        _texts(
            "decryption failed | decryption secret | error decrypting | failed to decrypt | cannot decrypt | "
            "could not decrypt | sops data | sops file | is sops encrypted | data key required | getdatakey | "
            "data from sops"
        ),
        but=("is forbidden: user",),
    ),
    # The API server's own no.
    Row(_C.NOT_FOUND, all=("error looking up service account",)),
    Row(_C.OTHER, ("because it is being terminated",)),
    Row(
        _C.FORBIDDEN,
        _texts(
            "is forbidden: | dry-run failed (forbidden) | reason: forbidden | "
            "cross-namespace references have been | cannot impersonate | attempting to grant rbac | "
            "attempt to grant extra privileges | in api group"
        ),
    ),
    Row(_C.FORBIDDEN, reasons=_reasons("AccessDenied")),
    Row(
        _C.CONFLICT,
        _texts(
            "the object has been modified | operation cannot be fulfilled | apply failed with | conflict with | "
            "conflicts with | (conflict) | reason: conflict | invalid ownership metadata | "
            "resource that already exists | already exists | non-fast-forward | non-fastforward | "
            "non-fastforwardable | cannot lock ref | incorrect old value | failed to push some refs | "
            "acquiring the state lock | state locked | already locked"
        ),
    ),
    Row(_C.CONFLICT, reasons=_reasons("LockHeld")),
    # Helm's records.
    Row(
        _C.RELEASE_STATE,
        _texts(
            "another operation (install/upgrade/rollback) is in progress | has no deployed releases | "
            "cannot re-use a name | missing target release for rollback | release: not found | release not loaded | "
            "no release found | no latest release | release not updated in helm storage | unlock of helm release | "
            "unlocked helm release | release mismatch"
        ),
    ),
    Row(
        _C.RELEASE_STATE,
        _texts(
            "retries exhausted | exceeded maximum retries | failed to install after | failed to upgrade after | "
            "failed to perform remediation"
        ),
        vague=True,
    ),
    Row(_C.RELEASE_STATE, (" succeeded",), reasons=_reasons("RollbackSucceeded UninstallSucceeded"), vague=True),
    # Rendering, and what it rendered.
    Row(
        _C.BUILD,
        _texts(
            "kustomize build failed | post build failed | accumulating resources | envsubst | "
            "variable substitution failed | template: | execution error at ( | parse error at ( | error calling | "
            "nil pointer evaluating | yaml parse error | error converting yaml | specifications of the schema | "
            "no urlloader registered | failed to build resource | failed to parse template | "
            "failed to execute template | multi-doc yaml | values files merge error | dependency build error | "
            "chart package error | missing in charts | incompatible with kubernetes | "
            "failed to apply copy operation | no files match pattern | "
            "post-render | post render | postrender | unmarshal errors | yaml: line | "
            "failed to decode kubernetes yaml | configuration is invalid | error: unsupported | error: invalid | "
            "error: missing required | error: reference to undeclared | no value for required variable"
        ),
    ),
    Row(
        _C.INVALID,
        _texts(
            "is invalid: | dry-run failed (invalid) | reason: invalid | "
            "field not declared in schema | failed to create typed patch object | "
            "failed to convert new object | error validating data | "
            "unknown field | strict decoding error | unsupported value | dry-run failed (badrequest) | "
            "reason: badrequest | unprocessable entity | cannot unmarshal | cannot convert | "
            "failed to create patch | request entity too large | request is too large"
        ),
    ),
    # Who we are, to somebody else.
    Row(
        _C.AUTH,
        _texts(
            "authentication required | authorization failed | authentication failed | unable to authenticate | "
            "failed to authenticate | failed to authorize | unauthorized | unauthenticated | 403 forbidden | "
            ": 403 | : 401 | status code 403 | status code: 403 | statuscode: 403 | status code 401 | "
            "status code: 401 | statuscode: 401 | access denied | accessdenied | accessdeniedexception | denied: | "
            "insufficient_scope | permission denied | permission to | write access to repository not granted | "
            "bad credentials | invalid credentials | invalid username or password | "
            "incorrect username or password | could not read username | access key id you provided | "
            "invalidaccesskeyid | signaturedoesnotmatch | request signature we calculated | nocredentialproviders | "
            "no valid providers in chain | failed to get credential | cached credentials | retrieve credentials | "
            "access token | authentication data from oidc | assumerolewithwebidentity | managedidentitycredential | "
            "workloadidentitycredential | environmentcredential | defaultazurecredential | invalid_grant | "
            "invalid_client | expired token | expiredtoken | expiredtokenexception | token has expired | "
            "token is expired | not authorized to perform | to provide credentials | knownhosts: | known_hosts | "
            "hostkey could not be verified | host key verification failed | key is encrypted but no | "
            "malformed basic auth | secret data: required fields | github app | marked as read only | "
            "credential required | no basic auth credentials | invalid auth method | "
            "no valid credential sources | protected branch | "
            "not authorized | 403: | 401: | denied on resource | installation token | credentials have expired"
        ),
        but=('secret "', 'secrets "'),
    ),
    Row(_C.VERIFICATION, ("failed to verify the signature", "unsupported signature type")),
    Row(_C.VERIFICATION, reasons=_reasons("VerificationError ChartVerificationError VerificationFailed")),
    Row(
        _C.NOT_FOUND,
        _texts(
            "not found | 404 | couldn't find | could not find | does not exist | do not exist | "
            "does not have a provider named | no such file or directory | no such bucket | nosuchbucket | "
            "nosuchkey | no match found for semver | no chart version found | no chart name found | "
            "chart with version matching | no tags in database | unable to determine latest version | "
            "version list argument cannot be empty | manifest unknown | manifest_unknown | name_unknown | "
            "not known to registry | missing key | unable to resolve ref | no artifact available"
        ),
    ),
    # What was waited for: a workload, unless it was a server.
    Row(
        _C.WORKLOAD_UNHEALTHY,
        _texts(
            "hooks failed | job failed | failed: deadlineexceeded | failed pre-install | failed post-install | "
            "failed pre-upgrade | failed post-upgrade | backofflimitexceeded | crashloopbackoff | "
            "imagepullbackoff | timed out waiting for the condition | termination timeout | failed to wait for | "
            "not ready with retryable | not ready. status:"
        ),
    ),
    Row(_C.WORKLOAD_UNHEALTHY, _WAITED_TOO_LONG, reasons=_HELM_ACTIONS | {"HealthCheckFailed"}),
    Row(_C.WORKLOAD_UNHEALTHY, _WAITED_TOO_LONG, all=("helm ", " failed")),
    Row(_C.TIMEOUT, (*_WAITED_TOO_LONG, "timeout")),
    # The reason alone.
    Row(_C.AUTH, reasons=_reasons("AuthenticationFailed InvalidProviderConfiguration TokenNotFound")),
    Row(
        _C.BUILD,
        reasons=_reasons(
            "BuildFailed ChartPackageError DependencyBuildError TemplateGenerationFailed ValuesFilesError"
        ),
    ),
    Row(_C.VERIFICATION, reasons=_reasons("InvalidCommitSignature InvalidTagSignature InvalidGitObject")),
    Row(_C.WORKLOAD_UNHEALTHY, reasons=_reasons("HealthCheckFailed"), vague=True),
    Row(
        _C.RELEASE_STATE,
        reasons=_reasons(
            "MissingRollbackTarget PendingRelease RetriesExceeded RollbackFailed RollbackSucceeded "
            "UninstallFailed UninstallSucceeded"
        ),
        vague=True,
    ),
    Row(_C.OTHER, vague=True),
)
"""The last fits everything."""

_SPACED = bytes([byte if chr(byte).isalnum() else ord(" ") for byte in range(128)]) + b" " * 128


def _words(text: str) -> list[bytes]:
    # Of ASCII letters and digits. As bytes: a third of the time of a regular expression.
    return text.encode("ascii", "replace").translate(_SPACED).split()


def _by_word() -> Mapping[bytes, tuple[str, ...]]:
    found: defaultdict[bytes, list[str]] = defaultdict(list)
    for text in dict.fromkeys([text for row in ROWS for text in row.texts]):
        found[max(_words(text), key=len)].append(text)
    return {word: tuple(texts) for word, texts in found.items()}


_BY_WORD = _by_word()


def texts_in(message: str) -> frozenset[str]:
    """Those texts of the table that the message, in small letters, holds."""
    words = _BY_WORD.keys() & set(_words(message))
    return frozenset([text for word in words for text in _BY_WORD[word] if text in message])

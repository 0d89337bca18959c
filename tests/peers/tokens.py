"""JSON web tokens as kube-apiserver issues them to ServiceAccounts. Signs what it is told; checks nothing."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

LEEWAY_SECONDS = 60
"""How long after ``exp`` kube-apiserver still accepts a token (go-jose's jwt.DefaultLeeway)."""


def service_account_token(
    key: ec.EllipticCurvePrivateKey, issuer: str, namespace: str, name: str, uid: str, *, expires: float
) -> str:
    """A token of ServiceAccount ``namespace/name`` that kube-apiserver refuses from ``expires`` (Unix seconds) on."""
    issued = int(time.time()) - 3600
    claims = {
        "iss": issuer,
        "aud": [issuer],
        "sub": f"system:serviceaccount:{namespace}:{name}",
        "iat": issued,
        "nbf": issued,
        "exp": round(expires) - LEEWAY_SECONDS,
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}},
    }
    signed = f"{_encode_json({'alg': 'ES256', 'typ': 'JWT'})}.{_encode_json(claims)}"
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{_encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _encode_json(value: dict[str, Any]) -> str:
    return _encode(json.dumps(value, separators=(",", ":")).encode())


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

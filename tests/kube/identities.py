"""Certificates that the peers' authority does not make: a client's, and a server's below an intermediate authority."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.peers.certificates import write_private_key


@dataclass(frozen=True)
class Identity:
    """PEM files of one certificate and its key."""

    certificate_file: Path
    key_file: Path


def client_identity(directory: Path, name: str) -> Identity:
    """A client certificate signed by itself: a server trusts it by loading it as an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = _builder(name, name, key).add_extension(usage, critical=False).sign(key, hashes.SHA256())
    return _write(directory, name, certificate, key)


def encrypted_key(identity: Identity, path: Path) -> Path:
    """The identity's key, with a password."""
    key = serialization.load_pem_private_key(identity.key_file.read_bytes(), None)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    return path


def below_an_intermediate(directory: Path, address: str) -> tuple[Identity, Path]:
    """A server certificate for the host name ``address``, and the intermediate authority that signed it."""
    root_key, authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    is_authority = x509.BasicConstraints(ca=True, path_length=None)
    authority = (
        _builder("intermediate", "root", authority_key)
        .add_extension(is_authority, critical=True)
        .sign(root_key, hashes.SHA256())
    )
    certificate = (
        _builder("server", "intermediate", key)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(address)]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    authority_file = directory / "intermediate.crt"
    authority_file.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    return _write(directory, "below-intermediate", certificate, key), authority_file


def _builder(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


def _write(directory: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Identity:
    files = Identity(directory / f"{name}.crt", directory / f"{name}.key")
    files.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    write_private_key(key, files.key_file)
    return files

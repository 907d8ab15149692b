"""A certificate authority for one fleet, and a certificate and key for each of its three roles."""

import ipaddress
import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal, get_args

from sdbench.errors import UsageError
from sdbench.files.access import flush_folder, flush_to_disk, make_folder, write_all
from sdbench.runs import not_writable

Role = Literal["scheduler", "worker", "client"]
CA_FILE, CA_KEY_FILE = "ca.pem", "ca-key.pem"
_VALID = timedelta(days=365)
_CLOCKS_DIFFER = timedelta(days=1)
_PRIVATE = 0o600


def files_of(folder: Path, role: str) -> tuple[Path, Path]:
    """The certificate and the key of a role."""
    return folder / f"{role}.pem", folder / f"{role}-key.pem"


def make_certificates(folder: Path) -> list[Path]:
    """Make a new authority, and a certificate and key of each role, valid for a year.

    Every file is readable by its owner alone. Nothing that is there is overwritten.

    Raises:
        UsageError: a file is there already, or the folder cannot be made.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    wanted = [folder / CA_FILE, folder / CA_KEY_FILE]
    for role in get_args(Role):
        wanted += files_of(folder, role)
    there = [path.name for path in wanted if os.path.lexists(path)]
    if there:
        raise UsageError(
            f"{folder}: {', '.join(there)} is there already and is not overwritten; name another "
            "folder, or remove it"
        )
    try:
        make_folder(folder, 0o700)
        authority_key = ec.generate_private_key(ec.SECP256R1())
        authority = _authority(authority_key)
        _write(folder / CA_KEY_FILE, _key_text(authority_key))
        _write(folder / CA_FILE, _certificate_text(authority))
        for role in get_args(Role):
            key = ec.generate_private_key(ec.SECP256R1())
            certificate, key_file = files_of(folder, role)
            _write(key_file, _key_text(key))
            _write(certificate, _certificate_text(_signed(role, key, authority, authority_key)))
        flush_folder(folder)
    except FileExistsError as error:
        raise UsageError(f"{error.filename}: is there already and is not overwritten") from None
    except OSError as error:
        raise not_writable(str(folder), error) from error
    return wanted


def _authority(key: Any) -> Any:
    from cryptography import x509

    name = _name("sdbench fleet authority")
    usage = _usage(key_cert_sign=True, crl_sign=True)
    return _sign(
        name,
        name,
        key.public_key(),
        key,
        lambda builder: builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        ).add_extension(usage, critical=True),
    )


def _signed(role: str, key: Any, authority: Any, authority_key: Any) -> Any:
    """A certificate that may stand at both ends: schedulers and workers also call each other."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    return _sign(
        _name(f"sdbench fleet {role}"),
        authority.subject,
        key.public_key(),
        authority_key,
        lambda builder: (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True, key_agreement=True), critical=True)
            .add_extension(both, critical=False)
            .add_extension(names, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
                critical=False,
            )
        ),
    )


def _sign(
    subject: Any, issuer: Any, public_key: Any, signing_key: Any, extend: Callable[[Any], Any]
) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    now = datetime.now(timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
    return extend(builder).sign(signing_key, hashes.SHA256())


def _name(text: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(**allowed: bool) -> Any:
    from cryptography import x509

    uses = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{use: allowed.get(use, False) for use in uses})


def _key_text(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    text: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return text


def _certificate_text(certificate: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    text: bytes = certificate.public_bytes(serialization.Encoding.PEM)
    return text


def _write(path: Path, data: bytes) -> None:
    """A new file that only its owner can read, from its first byte on.

    Raises:
        OSError: it is there already, or cannot be written.
    """
    fd = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE
    )
    try:
        write_all(fd, data)
        flush_to_disk(fd)
    finally:
        os.close(fd)

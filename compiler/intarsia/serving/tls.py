"""The certificate that a server shows, and its key."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from intarsia.errors import RunError


@dataclass(frozen=True)
class Tls:
    """A certificate, with those of its issuers behind it, and the key to it: PEM, as bytes, and as HTTP takes them."""

    certificate: bytes
    key: bytes
    context: ssl.SSLContext


def read_tls(certificate: str, key: str) -> Tls:
    """Both from files. RunError where they are none, do not belong together, or ask for a password."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    where = f"certificate {certificate} with key {key}"
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
        return Tls(Path(certificate).read_bytes(), Path(key).read_bytes(), context)
    except ssl.SSLError as error:
        mismatch = error.reason == "KEY_VALUES_MISMATCH"
        raise RunError(
            where=where,
            what="the key is another certificate's" if mismatch else "they are no PEM of both, without a password",
            help="`openssl x509 -noout -text -in FILE` says what a certificate is, `openssl pkey` what a key is",
        ) from error
    except OSError as error:
        raise RunError(
            where=where, what=f"they cannot be read: {error.strerror}", help="name files that this user may read"
        ) from error

"""``tls_server_config`` as an ssl.SSLContext, and the names of a client's certificate."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path

from inetprobe.base.errors import UsageError
from inetprobe.base.text import printable
from inetprobe.commands.serve.web.yaml_section import Section

_KEYS = (
    "cert_file", "key_file", "client_ca_file", "client_auth_type", "client_allowed_sans", "min_version", "max_version",
    "cipher_suites", "prefer_server_cipher_suites",
)  # fmt: skip
_FILES = ("cert_file", "key_file", "client_ca_file")
_UNSUPPORTED = {
    "cert": "give a file as cert_file",
    "key": "give a file as key_file",
    "client_ca": "give a file as client_ca_file",
    "curve_preferences": "OpenSSL's own order is used: leave it out",
}
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "RequestClientCert": ssl.CERT_NONE,  # requested and never checked: not requested here
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_ANY_CLIENT = ("RequireAnyClientCert", "RequireClientCert")

# Go's names of the suites that crypto/tls calls secure, with OpenSSL's names. Both always have those of TLS 1.3 on.
_SUITES = {
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
_SUITES_13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")


def read(where: str, table: object, folder: Path) -> tuple[ssl.SSLContext | None, frozenset[str] | None]:
    """The server's context (None for plain HTTP) and the names of which a client's certificate must have one (None for
    any certificate).

    ``where`` begins every error. Relative paths are relative to ``folder``. Raises UsageError.
    """
    options = Section(where, table, _KEYS, _UNSUPPORTED)
    if not options:
        return None, None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client could make the server renegotiate for ever
    context.set_alpn_protocols(["http/1.1"])
    _certificate(context, options, folder)
    _versions(context, options)
    allowed_sans = _client_auth(context, options, folder)
    return context, allowed_sans


def files(table: object, folder: Path) -> tuple[Path, ...]:
    """The files that a section names which ``read`` has accepted."""
    return tuple(folder / str(table[key]) for key in _FILES if table.get(key)) if isinstance(table, dict) else ()


def subject_alternative_names(certificate: dict[str, object]) -> set[str]:
    """The DNS names, e-mail addresses, URIs and IP addresses (in canonical form) of a certificate.

    ``certificate`` is as ssl.SSLSocket.getpeercert() returns it.
    """
    names = set()
    entries = certificate.get("subjectAltName", ())
    assert isinstance(entries, tuple)
    for name_type, value in entries:
        if name_type in ("DNS", "email", "URI"):
            names.add(str(value))
        elif name_type == "IP Address":
            names.add(str(ipaddress.ip_address(str(value).strip())))
    return names


def _certificate(context: ssl.SSLContext, options: Section, folder: Path) -> None:
    certificate = _file(options, "cert_file", folder)
    key = _file(options, "key_file", folder)
    _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), options, "cert_file", certificate)

    def password() -> str:
        # Without this function OpenSSL would ask on the terminal.
        raise UsageError(
            f"{options.where}: key_file {key} is encrypted: decrypt it, since nobody can type its password here"
        )

    try:
        context.load_cert_chain(certificate, key, password)
    except ssl.SSLError as error:
        if "MISMATCH" in (error.reason or ""):
            raise UsageError(f"{options.where}: key_file {key} is not the key of cert_file {certificate}") from None
        if error.library == "SSL" and error.reason:
            reason = error.reason.lower().replace("_", " ")
            raise UsageError(f"{options.where}: cert_file {certificate} is refused by OpenSSL: {reason}") from None
        raise UsageError(f"{options.where}: key_file {key} is not a private key in PEM format") from None


def _client_auth(context: ssl.SSLContext, options: Section, folder: Path) -> frozenset[str] | None:
    auth_type = options.text("client_auth_type") or "NoClientCert"
    if auth_type in _ANY_CLIENT:
        raise UsageError(
            f"{options.where}: client_auth_type {auth_type} is not supported, since it accepts certificates that "
            "anybody made: give RequireAndVerifyClientCert"
        )
    if auth_type not in _CLIENT_AUTH:
        raise UsageError(
            f"{options.where}: client_auth_type is {auth_type[:60]!r}: give one of {', '.join(_CLIENT_AUTH)}"
        )
    context.verify_mode = _CLIENT_AUTH[auth_type]
    if options.text("client_ca_file"):
        if auth_type == "NoClientCert":
            raise UsageError(f"{options.where}: client_ca_file has no use without client_auth_type: give both")
        _trust(context, options, "client_ca_file", _file(options, "client_ca_file", folder))
    elif context.verify_mode != ssl.CERT_NONE:
        # Go would trust every public authority that the system trusts, and those certify any client that asks.
        raise UsageError(f"{options.where}: client_ca_file is missing: {auth_type} needs an authority to trust")
    sans = options.texts("client_allowed_sans")
    if sans is None:
        return None
    if not sans or context.verify_mode != ssl.CERT_REQUIRED:
        raise UsageError(
            f"{options.where}: client_allowed_sans needs client_auth_type RequireAndVerifyClientCert, and a name"
        )
    return frozenset(sans)


def _versions(context: ssl.SSLContext, options: Section) -> None:
    bounds = {}
    for key, default in (("min_version", "TLS12"), ("max_version", "TLS13")):
        name = options.text(key) or default
        if name not in _VERSIONS:
            hint = " (older versions are broken)" if name in ("TLS10", "TLS11") else ""
            raise UsageError(f"{options.where}: {key} is {name[:60]!r}: give {' or '.join(_VERSIONS)}{hint}")
        bounds[key] = _VERSIONS[name]
    if bounds["min_version"] > bounds["max_version"]:
        raise UsageError(f"{options.where}: min_version is above max_version: no version is left")
    context.minimum_version, context.maximum_version = bounds["min_version"], bounds["max_version"]
    if not options.flag("prefer_server_cipher_suites", default=True):
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    suites = options.texts("cipher_suites") or ()
    for suite in suites:
        if suite not in _SUITES and suite not in _SUITES_13:
            raise UsageError(
                f"{options.where}: cipher_suites has {suite[:60]!r}: give names of Go's crypto/tls, such as "
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
            )
    older = [_SUITES[suite] for suite in suites if suite in _SUITES]
    if older:
        try:
            context.set_ciphers(":".join(older))
        except ssl.SSLError:
            raise UsageError(f"{options.where}: cipher_suites has no suite that this machine's OpenSSL knows") from None
    elif suites:
        if bounds["max_version"] < ssl.TLSVersion.TLSv1_3:
            raise UsageError(f"{options.where}: cipher_suites has no suite for TLS12, which max_version asks for")
        context.minimum_version = ssl.TLSVersion.TLSv1_3


def _file(options: Section, key: str, folder: Path) -> Path:
    name = options.text(key)
    if not name:
        raise UsageError(f"{options.where}: {key} is missing: give a file in PEM format")
    path = folder / name
    try:
        with path.open("rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{options.where}: {key} {printable(str(path))} cannot be read: {reason}") from None
    return path


def _trust(context: ssl.SSLContext, options: Section, key: str, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise UsageError(f"{options.where}: {key} {path} has no certificate in PEM format") from None

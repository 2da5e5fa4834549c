"""The web configuration file: the format of Prometheus' exporters (exporter-toolkit, docs/web-configuration.md).

A setting of that format that this server does not support is refused with a sentence, not ignored. There are two
harmless exceptions: ``http2: true`` (the default) is accepted, and the server speaks HTTP/1.1, as every scraper does;
``client_auth_type: RequestClientCert`` requests a certificate that is never checked, so none is requested.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt

from inetprobe.base.errors import UsageError
from inetprobe.base.words import quoted
from inetprobe.commands.serve.web import tls, yaml_section
from inetprobe.commands.serve.web.yaml_section import Section

_SECTIONS = ("tls_server_config", "http_server_config", "basic_auth_users")
_UNSUPPORTED = {"rate_limit": "scrapes at the same time share one page, and the queue is bounded: leave it out"}

# The headers that may be set, with the values they may have; () for any (extraHTTPHeaders in web/handler.go).
_HEADERS: dict[str, tuple[str, ...]] = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}
_BCRYPT = re.compile(r"\$2[abxy]\$(\d\d)\$[./A-Za-z0-9]{53}")
_COSTS = range(4, 19)  # each step doubles the time; 18 takes seconds


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The settings of a web configuration file; the defaults are plain HTTP without passwords.

    ``tls`` is None for plain HTTP. A client's certificate must have one of the subject alternative names in
    ``allowed_sans``; None if any will do. ``users`` maps names to bcrypt hashes, both as bytes; if it is empty, no
    password is needed. ``decoy`` is a hash of no password, as slow to check as the slowest in ``users``. ``headers``
    are sent with every answer. ``files`` are those that the configuration names.
    """

    tls: ssl.SSLContext | None = None
    allowed_sans: frozenset[str] | None = None
    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    decoy: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    @classmethod
    def read(cls, path: Path) -> WebConfig:
        """Reads the file, and the certificates that it names; relative paths are relative to its folder.

        Raises UsageError, one sentence that names the file and the key, for unknown or repeated keys, wrong types,
        unsupported settings, a certificate or key that cannot be read or does not match, and bad hashes.
        """
        top = Section(str(path), yaml_section.load(path), _SECTIONS, _UNSUPPORTED)
        table = top.raw("tls_server_config")
        context, allowed_sans = tls.read(f"{path}: tls_server_config", table, path.parent)
        users, decoy = _users(f"{path}: basic_auth_users", top.raw("basic_auth_users"))
        headers = _headers(f"{path}: http_server_config", top.raw("http_server_config"))
        files = tls.files(table, path.parent)
        return cls(tls=context, allowed_sans=allowed_sans, users=users, decoy=decoy, headers=headers, files=files)


def _headers(where: str, table: object) -> dict[str, str]:
    http = Section(where, table, ("http2", "headers"))
    http.flag("http2", default=True)
    where = f"{where}.headers"
    headers = Section(where, http.raw("headers"), tuple(_HEADERS)).pairs()
    for name, value in headers.items():
        allowed = _HEADERS[name]
        if allowed and value not in allowed:
            raise UsageError(f"{where}: {name} is {quoted(value)}: give {' or '.join(allowed)}")
        if not value.isascii() or not (value.isprintable() or value == ""):
            raise UsageError(f"{where}: {name} has a character that is not allowed in a header: use printable ASCII")
    return {name: value.strip() for name, value in headers.items() if value.strip()}


def _salted(hashed: str) -> bool:
    try:
        bcrypt.checkpw(b"", f"{hashed[:4]}04{hashed[6:]}".encode())  # the lowest cost: a millisecond
    except ValueError:
        return False
    return True


def _users(where: str, table: object) -> tuple[dict[bytes, bytes], bytes]:
    users = {}
    slowest = 0
    for name, value in yaml_section.pairs(where, table).items():
        match, shown = _BCRYPT.fullmatch(value), quoted(name)
        if match is None or not _salted(value):
            raise UsageError(
                f"{where}: the value of {shown} is not a bcrypt hash: make one with htpasswd -nBC 10 {shown}"
            )
        cost = int(match[1])
        if cost not in _COSTS:
            raise UsageError(f"{where}: the hash of {shown} has cost {cost}: make one of cost 4 to 18, usually 10")
        if any(0xD800 <= ord(character) <= 0xDFFF for character in name):
            raise UsageError(f"{where}: {shown} has half a character, which no client can send: choose another name")
        if ":" in name:
            raise UsageError(
                f"{where}: {shown} has a colon, which basic authentication cannot send: choose another name"
            )
        users[name.encode()] = value.encode()
        slowest = max(slowest, cost)
    # Any 53 characters will do: nobody knows a password with this hash.
    return users, f"$2b${slowest:02}${'inetprobe'.ljust(21, 'x')}u{'y' * 31}".encode() if users else b""

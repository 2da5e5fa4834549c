"""The web configuration file: the format of Prometheus' exporters (exporter-toolkit, docs/web-configuration.md).

What it has and this server has not is refused with a sentence, never ignored, with two exceptions, harmless ones:
``http2: true`` (the default) is accepted and HTTP/1.1 is spoken, which every scraper speaks too;
``client_auth_type: RequestClientCert`` asks for a certificate nobody looks at, so none is asked for.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt

from inetprobe.base.errors import UsageError
from inetprobe.commands.serve.web import tls, yaml_section
from inetprobe.commands.serve.web.yaml_section import Section

_SECTIONS = ("tls_server_config", "http_server_config", "basic_auth_users")
_UNSUPPORTED = {"rate_limit": "scrapes that come together share one page, and the queue is bounded: leave it out"}

# The headers that may be set, and their values where not any may be (extraHTTPHeaders in web/handler.go).
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
    """What a web configuration file asks for; without arguments, plain HTTP for everybody.

    ``tls`` is None for plain HTTP. ``allowed_sans`` are the subject alternative names of which a client's certificate
    must have one, None where any will do. ``users`` maps names to bcrypt hashes, both as bytes; empty, nobody needs a
    password. ``decoy`` is a hash of no password, as slow as the slowest of theirs. ``headers`` go with every answer.
    """

    tls: ssl.SSLContext | None = None
    allowed_sans: frozenset[str] | None = None
    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    decoy: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> WebConfig:
        """The file and all it names, certificates too; relative paths are relative to its folder.

        Raises UsageError, one sentence that names the file and the key: unknown or doubled keys, a wrong type, what is
        not supported, a certificate or key that cannot be read or do not belong together, a hash that is none.
        """
        top = Section(str(path), yaml_section.load(path), _SECTIONS, _UNSUPPORTED)
        context, allowed_sans = tls.read(f"{path}: tls_server_config", top.raw("tls_server_config"), path.parent)
        users, decoy = _users(f"{path}: basic_auth_users", top.raw("basic_auth_users"))
        headers = _headers(f"{path}: http_server_config", top.raw("http_server_config"))
        return cls(tls=context, allowed_sans=allowed_sans, users=users, decoy=decoy, headers=headers)


def _headers(where: str, table: object) -> dict[str, str]:
    http = Section(where, table, ("http2", "headers"))
    http.flag("http2", default=True)
    where = f"{where}.headers"
    headers = Section(where, http.raw("headers"), tuple(_HEADERS)).pairs()
    for name, value in headers.items():
        allowed = _HEADERS[name]
        if allowed and value not in allowed:
            raise UsageError(f"{where}: {name} is {value[:60]!r}: give {' or '.join(allowed)}")
        if not value.isascii() or not (value.isprintable() or value == ""):
            raise UsageError(f"{where}: {name} has a character that no header can hold: use printable ASCII")
    return {name: value.strip() for name, value in headers.items() if value.strip()}


def _salted(hashed: str) -> bool:
    try:
        bcrypt.checkpw(b"", f"{hashed[:4]}04{hashed[6:]}".encode())  # the least cost: a millisecond
    except ValueError:
        return False
    return True


def _users(where: str, table: object) -> tuple[dict[bytes, bytes], bytes]:
    users = {}
    slowest = 0
    for name, value in yaml_section.pairs(where, table).items():
        match = _BCRYPT.fullmatch(value)
        if match is None or not _salted(value):
            raise UsageError(
                f"{where}: the value of {name!r} is no bcrypt hash: make one with htpasswd -nBC 10 {name!r}"
            )
        cost = int(match[1])
        if cost not in _COSTS:
            raise UsageError(f"{where}: the hash of {name!r} has the cost {cost}: make one of 4 to 18, 10 is usual")
        if any(0xD800 <= ord(character) <= 0xDFFF for character in name):
            raise UsageError(f"{where}: {name!r} is half a character, which no client can send: take another name")
        if ":" in name:
            raise UsageError(
                f"{where}: {name!r} has a colon, which basic authentication cannot send: take another name"
            )
        users[name.encode()] = value.encode()
        slowest = max(slowest, cost)
    # Any 53 characters will do: what they are the hash of, nobody knows.
    return users, f"$2b${slowest:02}${'inetprobe'.ljust(21, 'x')}u{'y' * 31}".encode() if users else b""

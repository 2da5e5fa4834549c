"""``serve --web.config.file``: the YAML, and the certificates it names, of which only these here can be read."""

import shutil
import sys
from pathlib import Path

import trustme

from inetprobe.commands.serve.web.config import WebConfig
from tests.fuzz import checks
from tests.support.web_server import Authority

DICTIONARY = (
    "tls_server_config:", "http_server_config:", "basic_auth_users:", "cert_file: a.pem", "key_file: a.key",
    "client_ca_file: ca.pem", "client_auth_type: RequireAndVerifyClientCert", "client_allowed_sans: [a]",
    "min_version: TLS12", "max_version: TLS13", "cipher_suites: [TLS_AES_128_GCM_SHA256]", "http2: true", "headers:",
    "prefer_server_cipher_suites: false", "X-Frame-Options: deny", "Strict-Transport-Security: ", "rate_limit:",
    "$2b$04$d8fEn9QCtDLZSDWnHcmOSumScxWqroZ3DoQfETzQOl9Fpvi9b9nmu", "!!bool ", "!!int ", "!!float ", "!!timestamp ",
    "!!binary ", "!!set ", "!!omap ", "!!null ", "!!map ", "!!python/", "&a ", "*a", "<<: *a", "? ", "- ", ": ", "|\n",
    "---\n", "...\n", "%YAML 1.1\n", "2001-12-14", "0x", "0b", "1:1", ".inf", "~", "\n  ",
)  # fmt: skip

_FOLDER = checks.folder_in_memory()
Authority(_FOLDER).issue("a", "localhost")
_FILE = _FOLDER / "web.yml"
# What Python itself opens meanwhile: modules that are imported late.
_MODULES = tuple(str(path) for path in {Path(trustme.__file__).parents[1], Path(shutil.__file__).parent})
_confined = False


def run(data):
    global _confined
    _FILE.write_bytes(data)
    _confined = True
    try:
        with checks.may_refuse():
            config = WebConfig.read(_FILE)
            for name, value in config.headers.items():
                assert f"{name}{value}".isascii(), value
                assert f"{name}{value}".isprintable(), value
            assert bool(config.decoy) == bool(config.users)
            assert config.tls is not None or config.allowed_sans is None
    finally:
        _confined = False


def _confine(event, arguments):
    """A path that the fuzzer makes up may be any: none is opened."""
    if _confined and event == "open" and isinstance(arguments[0], str | bytes):
        path = Path(arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0])
        if path.parent != _FOLDER and not str(path).startswith(_MODULES):
            raise PermissionError(13, "Permission denied")


sys.addaudithook(_confine)

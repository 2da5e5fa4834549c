"""The web configuration file: exporters' files are accepted (promtool agrees), anything else is one sentence."""

import ssl

import bcrypt
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base.errors import UsageError
from inetprobe.commands.serve.web.config import WebConfig
from tests.support.prometheus import promtool
from tests.support.web_server import SECRET, Authority

TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    Authority(folder).issue("server", "localhost")
    Authority(folder, "other").issue("unrelated", "localhost")
    (folder / "text").write_text("neither a certificate nor a key\n")
    key = serialization.load_pem_private_key((folder / "server.key").read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"x")
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "encrypted.key").write_bytes(key.private_bytes(*pem, encryption))
    (folder / "empty").write_bytes(b"")
    return folder


def read(folder, text):
    path = folder / "web.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return WebConfig.read(path)


def judged_by_promtool(folder):
    """Does promtool accept the web configuration that was just read? Returns that and promtool's output."""
    done = promtool("check", "web-config", folder / "web.yml")
    return done.returncode == 0, done.stdout + done.stderr


ACCEPTED = {
    "nothing": "",
    "comments": "# later\n",
    "empty sections": "tls_server_config:\nhttp_server_config: {}\nbasic_auth_users:\n",
    "certificate": TLS,
    "every setting": f"""
tls_server_config:
  cert_file: server.pem
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  min_version: TLS12
  max_version: TLS13
  cipher_suites:
    - TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    - TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
    - TLS_AES_128_GCM_SHA256
  prefer_server_cipher_suites: false
http_server_config:
  http2: true
  headers:
    Content-Security-Policy: default-src 'self'
    X-Frame-Options: deny
    X-Content-Type-Options: nosniff
    X-XSS-Protection: 1; mode=block
    Strict-Transport-Security: max-age=31536000
basic_auth_users:
  alice: {SECRET}
  "7": "{SECRET.replace("$2b$", "$2y$")}"
""",
    "if given": TLS + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n",
    "requested, not checked": TLS + "  client_auth_type: RequestClientCert\n",
    "no http2": "http_server_config:\n  http2: false\n",
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_exporters_files_are_accepted_here_and_by_promtool(folder, name):
    config = read(folder, ACCEPTED[name])
    assert (config.tls is not None) == (name not in ("nothing", "comments", "empty sections", "no http2"))
    accepted, output = judged_by_promtool(folder)
    assert accepted, output


def test_promtool_refuses_a_missing_certificate(folder):
    (folder / "web.yml").write_text(TLS.replace("server.pem", "gone.pem"))
    accepted, output = judged_by_promtool(folder)
    assert not accepted
    assert "gone.pem" in output


def test_every_setting_of_the_file_takes_effect(folder):
    config = read(folder, ACCEPTED["every setting"])
    assert config.tls.verify_mode is ssl.CERT_REQUIRED
    assert (config.tls.minimum_version, config.tls.maximum_version) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    names = [suite["name"] for suite in config.tls.get_ciphers() if suite["protocol"] != "TLSv1.3"]
    assert names == ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"]
    assert not config.tls.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert config.tls.options & ssl.OP_NO_RENEGOTIATION
    assert set(config.users) == {b"alice", b"7"}
    assert config.headers["X-Frame-Options"] == "deny"
    assert len(config.headers) == 5


def test_suites_of_tls_13_only_exclude_older_versions(folder):
    config = read(folder, TLS + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n")
    assert config.tls.minimum_version is ssl.TLSVersion.TLSv1_3


def test_paths_may_be_absolute_or_relative_to_the_files_folder(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    read(folder, TLS)
    read(folder, TLS.replace("server.", f"{folder}/server."))


def test_the_decoy_is_as_slow_as_the_slowest_hash_and_matches_no_password(folder):
    slower = bcrypt.hashpw(b"x", bcrypt.gensalt(5)).decode()
    config = read(folder, f"basic_auth_users: {{a: {SECRET}, b: {slower}}}")
    assert config.decoy.startswith(b"$2b$05$")
    assert bcrypt.checkpw(b"inetprobe", config.decoy) is False  # an impossible salt would raise


def test_secrets_are_not_in_the_representation(folder):
    assert "$2b$" not in repr(read(folder, f"basic_auth_users: {{a: {SECRET}}}"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tls_server_confg: {}", "web.yml: unknown key 'tls_server_confg': did you mean tls_server_config?"),
        ("- a", "web.yml is a list: it must be keys with values"),
        ("a: [", "web.yml, line 1: bad YAML"),
        (
            "basic_auth_users: {}\nbasic_auth_users: {}",
            "line 2: bad YAML: 'basic_auth_users' is there",
        ),
        (f"basic_auth_users:\n  a: {SECRET}\n  a: {SECRET}", "line 3: bad YAML: 'a' is there twice"),
        ("!!set [a]", "line 1: bad YAML: expected a mapping node, but found sequence"),
        (b"\xff\xfe\xfd", "web.yml is not YAML"),
        ("[" * 5000, "web.yml is not YAML"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: !!bool x", "is not YAML"),
        ("a: !!int ''", "is not YAML"),
        ("a: !!timestamp x", "is not YAML"),
        ("a: " + "1:" * 400 + "1.0", "is not YAML"),
        ("a: *" + "b" * 5000, "line 1: bad YAML: found undefined alias"),
        ("x" * 900 + ": 1\n" + "x" * 900 + ": 1", "is there twice"),
        ("y" * 900 + ": 1", "unknown key 'yyy"),
        ("basic_auth_users: {" + "u" * 900 + ": 7}", "is a number"),
        (f"basic_auth_users: {{{'u' * 900}: x}}", "is not a bcrypt hash"),
        ("#" * (1 << 20) + "\n", "larger than 1 MiB"),
        ("rate_limit: {burst: 1}", "web.yml: rate_limit is not supported: "),
        ("tls_server_config: 7", "web.yml: tls_server_config is a number"),
        ("tls_server_config: {min_version: TLS13}", "cert_file is missing: give a file"),
        ("tls_server_config: {cert_file: server.pem}", "key_file is missing: give a file"),
        ("tls_server_config: {cert_file: 7, key_file: server.key}", "cert_file is a number: give a string"),
        (TLS.replace("server.pem", "gone.pem"), "gone.pem cannot be read: No such file"),
        (TLS.replace("server.pem", '"a\\eb"'), "a\\x1bb cannot be read: No such file"),
        (TLS.replace("server.pem", "."), "cannot be read: Is a directory"),
        (TLS.replace("server.pem", '"a\\0b"'), "cannot be read: embedded null byte"),
        (TLS.replace("server.pem", "text"), "text has no certificate in PEM format"),
        (TLS.replace("server.pem", "empty"), "empty has no certificate in PEM format"),
        (TLS.replace("server.key", "text"), "text is not a private key in PEM format"),
        (TLS.replace("server.key", "encrypted.key"), "encrypted.key is encrypted: decrypt it"),
        (TLS.replace("server.key", "unrelated.key"), "unrelated.key is not the key of cert_file"),
        (TLS + "  cert: x\n", "cert is not supported: give a file as cert_file"),
        (TLS + "  curve_preferences: [X25519]\n", "curve_preferences is not supported"),
        (TLS + "  min_version: TLS10\n", "min_version is 'TLS10': give TLS12 or TLS13 (older versions are broken)"),
        (TLS + "  max_version: TLS14\n", "max_version is 'TLS14': give TLS12 or TLS13"),
        (TLS + "  min_version: TLS13\n  max_version: TLS12\n", "min_version is above max_version"),
        (TLS + "  cipher_suites: [AES128-SHA]\n", "cipher_suites has 'AES128-SHA': give names of Go's"),
        (TLS + "  cipher_suites: TLS_AES_128_GCM_SHA256\n", "cipher_suites is a string: give a list of strings"),
        (TLS + "  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n", "has no suite for TLS12"),
        (TLS + "  prefer_server_cipher_suites: 1\n", "prefer_server_cipher_suites is a number: give true or false"),
        (TLS + "  client_auth_type: Maybe\n", "client_auth_type is 'Maybe': give one of NoClientCert"),
        (TLS + "  client_auth_type: RequireAnyClientCert\n", "RequireAnyClientCert is not supported"),
        (TLS + "  client_auth_type: RequireAndVerifyClientCert\n", "client_ca_file is missing"),
        (TLS + "  client_ca_file: ca.pem\n", "client_ca_file has no use without client_auth_type"),
        (TLS + "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: text\n", "text has no certificate"),
        (TLS + "  client_allowed_sans: [a]\n", "client_allowed_sans needs client_auth_type RequireAndVerifyClientCert"),
        ("http_server_config: {http2: maybe}", "http2 is a string: give true or false"),
        ("http_server_config: {headers: {X-Powered-By: a}}", "headers: unknown key 'X-Powered-By'"),
        ("http_server_config: {headers: {X-Frame-Options: allow}}", "X-Frame-Options is 'allow': give deny or"),
        (
            'http_server_config: {headers: {X-XSS-Protection: "a\\r\\nb"}}',
            "has a character that is not allowed in a header",
        ),
        ("basic_auth_users: [a]", "basic_auth_users is a list: it must be names with values"),
        ("basic_auth_users: {a: hunter2}", "the value of 'a' is not a bcrypt hash"),
        ("basic_auth_users: {a: 7}", "a is a number: give a string"),
        (f"basic_auth_users: {{7: {SECRET}}}", "the name '7' is a number: put it in quotes"),
        (f"basic_auth_users: {{a: {SECRET[:-1]}}}", "not a bcrypt hash"),
        (f"basic_auth_users: {{a: {SECRET[:28]}z{SECRET[29:]}}}", "not a bcrypt hash"),  # a salt of 129 bits
        (f"basic_auth_users: {{a: {SECRET.replace('$04$', '$31$')}}}", "has cost 31: make one of cost 4 to 18"),
        (f"basic_auth_users: {{'a:b': {SECRET}}}", "'a:b' has a colon"),
    ],
)
def test_a_bad_file_is_one_sentence_with_the_file_and_the_key(folder, text, expected):
    with pytest.raises(UsageError) as caught:
        read(folder, text)
    message = str(caught.value)
    assert message.startswith(str(folder / "web.yml"))
    assert expected in message
    assert "\n" not in message
    assert len(message) < 600
    assert "hunter2" not in message
    assert "$2b$" not in message


def test_a_file_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match=r"web.yml cannot be read: No such file"):
        WebConfig.read(tmp_path / "web.yml")


_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.dates(), st.binary())
_KEYS = st.one_of(
    st.sampled_from(["tls_server_config", "http_server_config", "basic_auth_users", "headers", "cert_file", "http2"]),
    _SCALARS,
)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3), max_leaves=8
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (r'basic_auth_users: {"\x1f": 5}', r"\x1f is a number"),
        (r'basic_auth_users: {"\uD800": "$2b$04$HASH"}', "half a character"),
        (r'tls_server_config: {cert_file: "\uD800", key_file: a}', "cannot be read"),
    ],
)
def test_unprintable_names_are_escaped_in_one_sentence(folder, text, says):
    hashed = bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode()
    with pytest.raises(UsageError) as caught:
        read(folder, text.replace("$2b$04$HASH", hashed))
    assert says in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.dictionaries(_KEYS, _VALUES, max_size=3))
def test_any_yaml_is_a_configuration_or_one_sentence(tmp_path_factory, value):
    only_sentences(tmp_path_factory, yaml.safe_dump(value).encode())


@given(st.binary(max_size=64) | st.text("ab:-[]{}&*!|>'\"#%@`\n\t \\<?", max_size=40).map(str.encode))
def test_any_bytes_are_a_configuration_or_one_sentence(tmp_path_factory, raw):
    only_sentences(tmp_path_factory, raw)


def only_sentences(tmp_path_factory, raw):
    folder = tmp_path_factory.getbasetemp()
    try:
        read(folder, raw)
    except UsageError as error:
        assert "\n" not in str(error)
        assert str(error).isprintable()

"""The Host header: a web page that gives our address a name of its own (DNS rebinding) gets nothing."""

import socket

import pytest

from inetprobe.commands.serve.web.hosts import is_foreign, loopback_names
from inetprobe.commands.serve.web.listen import listen
from tests.support.web_server import PAGE, SECRET, Authority, connect, curl, say, serving, to_the_end

OWN = frozenset(("localhost", "workstation", "metrics.home"))


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:10924", "localhost.", "127.0.0.1:10924", "127.0.0.9", "[::1]:10924", "[::1]",
     "192.0.2.1:80", "workstation:10924", "metrics.home"],
)  # fmt: skip
def test_an_address_and_a_name_of_this_machine_are_answered_to(host):
    assert not is_foreign(host, OWN)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:10924", "localhost.evil.example", "127.0.0.1.evil.example", "evil.localhost.example",
     "127.0.0.1@evil.example", "", ":10924", "[", "[evil]", "[::1", "localhost evil", "\xff", "work"],
)  # fmt: skip
def test_any_other_name_is_foreign(host):
    assert is_foreign(host, OWN)


@pytest.mark.parametrize(
    ("address", "more"), [("127.0.0.1:0", set()), ("127.0.0.2:0", {"127.0.0.2"}), ("LocalHost:0", set())]
)
def test_a_server_on_the_loopback_interface_has_the_machines_names(address, more):
    with listen(address) as listener:
        names = loopback_names(listener, address)
    assert {"localhost", socket.gethostname().lower()} | more <= names
    assert not any(name != name.lower() for name in names)


def test_a_server_that_others_reach_may_have_any_name():
    with listen("0.0.0.0:0") as listener:
        assert loopback_names(listener, "0.0.0.0:0") is None
    with serving(address=":0") as server:
        assert curl(f"{server.url.replace('[::]', '127.0.0.1').replace('0.0.0.0', '127.0.0.1')}/metrics",
                    "-H", "Host: node7.monitoring.svc:10924").body == PAGE  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/nothing"])
def test_a_web_pages_own_name_is_misdirected(path):
    with serving() as server:
        port = server.url.rpartition(":")[2]
        answer = curl(f"{server.url}{path}", "-H", f"Host: evil.example:{port}")
        assert curl(f"http://localhost:{port}/metrics").body == PAGE
        assert curl(f"{server.url}/metrics", "-H", f"Host: {socket.gethostname()}:{port}").body == PAGE
    assert answer.status == 421
    assert answer.body.decode() == (
        f"the Host header has 'evil.example:{port}', which may be a web page's name for this machine: ask by address "
        "or as localhost, or set a password or TLS in the web configuration\n"
    )
    assert server.said == [
        f"a request for the host 'evil.example:{port}' was refused: it may be a web page's (docs/deploy.md)"
    ]


def test_the_name_comes_back_as_one_line_of_plain_text():
    with serving() as server:
        answer = say(server, b"GET / HTTP/1.1\r\nHost: <b>\xc2\x9b31m" + b"x" * 5000 + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 421 Misdirected Request\r\n")
    assert b"\r\nContent-Type: text/plain; charset=utf-8\r\n" in answer
    assert b"\r\nX-Content-Type-Options: nosniff\r\n" in answer
    body = answer.partition(b"\r\n\r\n")[2].decode()
    assert len(body) < 300
    assert body.rstrip("\n").isprintable()


def test_http_10_needs_no_host():
    with serving() as server, connect(server) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert to_the_end(client).endswith(PAGE)


def test_with_a_password_or_tls_any_name_will_do(tmp_path):
    """A browser has no password for a foreign name, and our certificate is not for it."""
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{alice: {SECRET}}}")
    with serving(config=tmp_path / "web.yml") as server:
        named = f"{server.url}/metrics", "-H", "Host: proxy.example"
        assert curl(*named).status == 401
        assert curl(*named, "-u", "alice:secret").body == PAGE
    authority = Authority(tmp_path)
    authority.issue("server", "proxy.example")
    (tmp_path / "web.yml").write_text("tls_server_config: {cert_file: server.pem, key_file: server.key}")
    with serving(config=tmp_path / "web.yml") as server:
        port = server.url.rpartition(":")[2]
        trusting = "--cacert", authority.file, "--resolve", f"proxy.example:{port}:127.0.0.1"
        assert curl(f"https://proxy.example:{port}/metrics", *trusting).body == PAGE

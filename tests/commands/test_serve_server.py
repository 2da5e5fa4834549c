"""The web server as its clients see it: pages, TLS, passwords, a configuration that changes, an orderly end."""

import gzip
import http.client
import socket
import ssl
import threading
import time

import bcrypt
import pytest

import inetprobe
from inetprobe.base.errors import InetprobeError, UsageError
from inetprobe.commands.serve.web import Limits, Response, Server
from inetprobe.commands.serve.web.routes import accepts_gzip
from tests.support.web_server import PAGE, SECRET, Authority, address_of, connect, curl, page, say, serving, to_the_end

SECRETS = f"basic_auth_users:\n  alice: {SECRET}\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    authority.issue("server", "127.0.0.1", "localhost")
    authority.issue("prometheus", "prometheus.example", "::1", "scrape@example.org")
    authority.issue("other", "other.example")
    Authority(folder, "unrelated").issue("unrelated", "prometheus.example")
    return authority


@pytest.fixture
def web_config(authority, tmp_path):
    """Writes a web configuration: the server's certificate with ``more`` options, then the sections in ``after``."""

    def write(more="", after="", tls=True):
        section = f"tls_server_config:\n  cert_file: {authority.folder}/server.pem\n"
        section += f"  key_file: {authority.folder}/server.key\n{more}"
        (tmp_path / "web.yml").write_text((section if tls else "") + after)
        return tmp_path / "web.yml"

    return write


def trusting(authority, client=None):
    options = ["--cacert", str(authority.file)]
    if client:
        options += ["--cert", f"{authority.folder}/{client}.pem", "--key", f"{authority.folder}/{client}.key"]
    return options


def test_a_scrape_gets_the_page_as_it_is_or_gzipped():
    calls = []

    def recording(openmetrics):
        calls.append(openmetrics)
        return Response("application/openmetrics-text; version=1.0.0", PAGE)

    with serving(recording) as server:
        plain = curl(f"{server.url}/metrics?name[]=a", "-g", "-H", "Accept: application/openmetrics-text")
        zipped = curl(f"{server.url}/metrics", "-H", "Accept-Encoding: gzip", "-H", "Accept:")
    assert calls == [True, False]
    assert (plain.status, plain.body) == (200, PAGE)
    assert plain.headers["content-type"] == "application/openmetrics-text; version=1.0.0"
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(zipped.body) == PAGE
    assert zipped.headers["content-encoding"] == "gzip"
    assert len(zipped.body) < len(PAGE) / 10
    assert zipped.headers["vary"] == "Accept, Accept-Encoding"


def test_head_is_get_without_the_body_and_the_connection_goes_on():
    with serving() as server:
        client = http.client.HTTPConnection(*address_of(server), timeout=10)
        for method in ("HEAD", "GET", "HEAD", "GET"):
            client.request(method, "/metrics")
            answer = client.getresponse()
            assert answer.status == 200
            assert answer.headers["Content-Length"] == str(len(PAGE))
            assert answer.read() == (PAGE if method == "GET" else b"")
            assert client.sock is not None  # http.client forgets a connection that the server is about to close
        client.close()


def test_the_landing_page_leads_to_the_others_and_loads_nothing():
    with serving(telemetry_path="/m&m") as server:
        landing = curl(f"{server.url}/")
        assert curl(f"{server.url}/m&m").body == PAGE
        assert curl(f"{server.url}/metrics").status == 404
    assert landing.status == 200
    assert landing.headers["content-type"] == "text/html; charset=utf-8"
    assert landing.headers["content-security-policy"].startswith("default-src 'none'")
    assert b'<a href="/m&amp;m">' in landing.body
    assert inetprobe.__version__.encode() in landing.body
    assert b"src=" not in landing.body
    assert b"http" not in landing.body


@pytest.mark.parametrize("path", ["metrics", "", "/a b", "/a?b", '/"', "//host", "/healthz", "/é", "/a\r\nb"])
def test_an_impossible_telemetry_path_is_refused(path):
    with pytest.raises(UsageError, match=r"^--web.telemetry-path is .*: give"):
        Server("127.0.0.1:0", page=page, ready=lambda: True, say=print, telemetry_path=path)


def test_health_and_readiness_differ():
    up = [False]
    with serving(ready=lambda: up[0]) as server:
        assert [curl(f"{server.url}/{path}").status for path in ("healthz", "readyz")] == [200, 503]
        up[0] = True
        assert curl(f"{server.url}/readyz").status == 200


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /nothing HTTP/1.1", 404),
        ("GET /metrics/ HTTP/1.1", 404),
        ("GET /../metrics HTTP/1.1", 404),
        ("POST /metrics HTTP/1.1", 405),
        ("DELETE / HTTP/1.1", 405),
        ("OPTIONS * HTTP/1.1", 404),
        ("CONNECT example.org:443 HTTP/1.1", 404),
        ("GET http://example.org/metrics HTTP/1.1", 200),
        ("GET HTTP://example.org HTTP/1.1", 200),
        ("GET /metrics HTTP/1.0", 200),
        ("GET /metrics HTTP/2.0", 505),
    ],
)
def test_each_method_and_target_has_its_status(request_line, status):
    with serving() as server:
        answer = say(server, f"{request_line}\r\nHost: localhost\r\n\r\n".encode())
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert (b"\r\nAllow: GET, HEAD\r\n" in answer) == (status == 405)


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        ("", False), ("gzip", True), ("GZIP", True), ("deflate, gzip;q=1.0, *;q=0.5", True), ("gzip;q=0", False),
        ("*", True), ("*;q=0", False), ("gzip;q=0, *", False), ("x-gzip", True), ("identity", False), ("br", False),
        ("gzip;q=x", False), (",;=,", False), ("gzip ; q=0.5", True), ("gzip;q=nan", False),
    ],
)  # fmt: skip
def test_gzip_is_used_if_accept_encoding_allows_it(header, allowed):
    assert accepts_gzip(header) is allowed


def test_an_error_in_the_page_is_logged_once_and_hidden_from_the_client():
    def failing(openmetrics):
        raise ValueError("the secret reason\x1b[31m")

    with serving(failing) as server:
        answers = [curl(f"{server.url}/metrics") for _ in range(3)]
        assert curl(f"{server.url}/healthz").status == 200
    assert [answer.status for answer in answers] == [500] * 3
    assert b"secret" not in answers[0].body
    assert answers[0].body.count(b"\n") == 1
    assert server.said == ["GET was answered with 500: ValueError: the secret reason\\x1b[31m"]


def test_an_error_in_readiness_is_logged():
    def failing():
        raise RuntimeError("gone")

    with serving(ready=failing) as server:
        assert curl(f"{server.url}/readyz").status == 500
    assert server.said == ["GET was answered with 500: RuntimeError: gone"]


def test_https_works_for_clients_that_trust_the_certificate(authority, web_config):
    with serving(config=web_config()) as server:
        assert server.url.startswith("https://127.0.0.1:")
        assert curl(f"{server.url}/metrics", *trusting(authority)).body == PAGE
        assert curl(f"{server.url}/metrics").exit == 60  # the certificate is not trusted
        http2 = curl(f"{server.url}/metrics", "--http2", *trusting(authority))
        assert http2.body == PAGE
        assert say(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.0 400 ")
        old = curl(f"{server.url}/metrics", "--tls-max", "1.1", *trusting(authority))
        assert (old.status, old.exit) == (0, 35)


def test_a_page_larger_than_any_buffer_comes_whole_through_tls(authority, web_config):
    large = bytes(range(256)) * 40_000
    with serving(lambda *_: Response("text/plain", large), config=web_config()) as server:
        assert curl(f"{server.url}/metrics", *trusting(authority)).body == large


@pytest.mark.parametrize("version", ["TLS12", "TLS13"])
def test_a_client_needs_a_certificate_of_the_authority(authority, web_config, version):
    required = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
    required = required.replace("ca.pem", str(authority.file)) + f"  min_version: {version}\n  max_version: {version}\n"
    with serving(config=web_config(required)) as server:
        statuses = {
            client: curl(f"{server.url}/metrics", *trusting(authority, client)).status
            for client in ("prometheus", "other", "unrelated", None)
        }
    assert statuses == {"prometheus": 200, "other": 200, "unrelated": 0, None: 0}


@pytest.mark.parametrize("san", ["prometheus.example", "::1", "scrape@example.org"])
def test_only_clients_with_an_allowed_name_get_the_page(authority, web_config, san):
    required = f"  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: {authority.file}\n"
    with serving(config=web_config(f'{required}  client_allowed_sans: ["{san}", "nobody"]\n')) as server:
        assert curl(f"{server.url}/metrics", *trusting(authority, "prometheus")).status == 200
        assert curl(f"{server.url}/metrics", *trusting(authority, "other")).status == 0


def test_a_client_certificate_may_be_left_out_where_it_is_only_verified_if_given(authority, web_config):
    given = f"  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: {authority.file}\n"
    with serving(config=web_config(given)) as server:
        assert curl(f"{server.url}/healthz", *trusting(authority)).status == 200
        assert curl(f"{server.url}/healthz", *trusting(authority, "prometheus")).status == 200
        assert curl(f"{server.url}/healthz", *trusting(authority, "unrelated")).status == 0


def test_every_path_but_the_probes_needs_a_password(web_config):
    with serving(config=web_config(after=SECRETS, tls=False)) as server:
        right = ["-u", "alice:secret"]
        for path in ("/", "/metrics", "/nothing"):
            answer = curl(f"{server.url}{path}")
            assert answer.status == 401
            assert answer.headers["www-authenticate"].startswith("Basic ")
            assert curl(f"{server.url}{path}", *right).status == (404 if path == "/nothing" else 200)
        for wrong in ("alice:Secret", "alice:", "bob:secret", "alice", ":", "alice:secret:"):
            assert curl(f"{server.url}/metrics", "-u", wrong).status == 401, wrong
        for header in ("Basic", "Basic !", "Bearer YWxpY2U6c2VjcmV0", "Basic YWxpY2U6c2VjcmV0, Basic YWxpY2U6c2VjcmV0"):
            assert curl(f"{server.url}/metrics", "-H", f"Authorization: {header}").status == 401, header
        assert curl(f"{server.url}/metrics", "-H", "Authorization: basic  YWxpY2U6c2VjcmV0").status == 200
        assert curl(f"{server.url}/healthz").status == 200
        assert curl(f"{server.url}/readyz").status == 200


def test_configured_headers_go_with_every_answer(web_config):
    headers = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    Content-Security-Policy: sandbox\n"
    with serving(config=web_config(after=headers + SECRETS, tls=False)) as server:
        for path in ("/", "/healthz", "/metrics"):
            answer = curl(f"{server.url}{path}")
            assert answer.headers["x-frame-options"] == "deny"
            assert answer.headers["content-security-policy"] == "sandbox"


def test_a_reload_takes_the_new_file_and_a_bad_one_changes_nothing(authority, web_config):
    path = web_config(tls=False)
    with serving(config=path) as server:
        assert curl(f"{server.url}/metrics").status == 200
        path.write_text("basic_auth_users: {alice: secret}")
        assert server.reload() is False
        assert curl(f"{server.url}/metrics").status == 200
        web_config(after=SECRETS)
        assert server.reload() is True
        assert server.url.startswith("https://")
        assert curl(f"{server.url}/metrics", *trusting(authority)).status == 401
        assert curl(f"{server.url}/metrics", "-u", "alice:secret", *trusting(authority)).status == 200
        path.unlink()
        assert server.reload() is False
        assert curl(f"{server.url}/metrics", "-u", "alice:secret", *trusting(authority)).status == 200
        said = server.said
    assert len(said) == 3
    assert said[0].startswith(f"the web configuration stays as it was: {path}: basic_auth_users: ")
    assert said[1] == f"the web configuration is that of {path} now"
    assert said[2].startswith(f"the web configuration stays as it was: {path} cannot be read")


def test_a_changed_password_closes_old_connections(web_config):
    path = web_config(after=SECRETS, tls=False)
    headers = {"Authorization": "Basic YWxpY2U6c2VjcmV0"}
    with serving(config=path) as server:
        client = http.client.HTTPConnection(*address_of(server), timeout=10)
        client.request("GET", "/metrics", headers=headers)
        assert client.getresponse().read() == PAGE
        other = bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()
        path.write_text(f"basic_auth_users: {{alice: {other}}}")
        assert server.reload()
        client.sock.settimeout(5)
        assert to_the_end(client.sock) == b""
        client.close()
        client.request("GET", "/metrics", headers=headers)
        assert client.getresponse().status == 401
        client.close()


def test_without_a_file_there_is_nothing_to_reload():
    with serving() as server:
        assert server.reload() is False
    assert server.said == ["there is no web configuration to reload: --web.config.file was not given"]


def test_a_bad_configuration_and_a_taken_port_are_refused_before_anything_starts(tmp_path):
    (tmp_path / "web.yml").write_text("a: 1")
    with pytest.raises(UsageError, match="unknown key 'a'"), serving(config=tmp_path / "web.yml"):
        pass
    with serving() as server:
        taken = server.url.rpartition("/")[2]
        with pytest.raises(UsageError, match="another program listens there"), serving(address=taken):
            pass


def test_stop_finishes_the_answer_under_way_and_accepts_no_more_clients():
    begun, go_on = threading.Event(), threading.Event()

    def slow(openmetrics):
        begun.set()
        assert go_on.wait(10)
        return page(openmetrics)

    server = Server("127.0.0.1:0", page=slow, ready=lambda: True, say=print, limits=Limits(linger=0.1))
    server.bind()
    server.start()
    address = address_of(server)
    idle = connect(server)
    client = connect(server)
    client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert begun.wait(10)
    threading.Timer(0.2, go_on.set).start()
    began = time.monotonic()
    server.stop()
    assert 0.1 < time.monotonic() - began < 4
    answer = to_the_end(client)
    assert answer.endswith(PAGE)
    assert b"\r\nConnection: close\r\n" in answer
    assert to_the_end(idle) == b""
    idle.close()
    client.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)
    server.stop()


def test_stop_waits_for_a_limited_time_only():
    go_on = threading.Event()
    limits = Limits(stop=0.2)
    server = Server("127.0.0.1:0", page=lambda *_: go_on.wait(20), ready=lambda: True, say=print, limits=limits)
    server.bind()
    server.start()
    client = connect(server)
    client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    time.sleep(0.1)
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 3
    assert to_the_end(client) == b""
    client.close()
    go_on.set()


def test_a_failed_thread_calls_failed_and_stop_raises_the_reason(monkeypatch):
    async def broken(_server):
        raise ValueError("\x1b[1m")

    monkeypatch.setattr(Server, "_accept", broken)
    failed = threading.Event()
    server = Server("127.0.0.1:0", page=page, ready=lambda: True, say=print, failed=failed.set)
    server.bind()
    server.start()
    assert failed.wait(10)
    with pytest.raises(InetprobeError, match=r"the web server failed \(ValueError: \\x1b\[1m\)"):
        server.stop()
    server.stop()


def test_requests_wait_between_bind_and_start():
    server = Server("127.0.0.1:0", page=page, ready=lambda: True, say=print)
    before = threading.active_count()
    server.bind()
    assert threading.active_count() == before  # privileges are dropped at this point, which works for one thread only
    client = connect(server)
    client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    server.start()
    assert to_the_end(client).endswith(PAGE)
    client.close()
    server.stop()


def test_a_tls_client_gets_close_notify(authority, web_config):
    with serving(config=web_config()) as server, connect(server) as raw:
        context = ssl.create_default_context(cafile=authority.file)
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        client = context.wrap_socket(raw, server_hostname="127.0.0.1", suppress_ragged_eofs=False)
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert to_the_end(client).endswith(b"ok\n")  # without close_notify this would raise
        client.close()

"""Clients that are slow, hostile or many: each is held to its limits, and a scrape gets through meanwhile."""

import contextlib
import os
import resource
import socket
import struct
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inetprobe.commands.serve.web import Limits, Response
from tests.support.web_server import PAGE, Authority, connect, curl, page, say, serving, to_the_end

DESCRIPTORS = Path("/proc/self/fd")
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def web_config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    Authority(folder).issue("server", "127.0.0.1")
    (folder / "web.yml").write_text("tls_server_config: {cert_file: server.pem, key_file: server.key}")
    return folder / "web.yml"


def scraped(server):
    return say(server, LAST).endswith(PAGE)


def hung_up(clients, within):
    """How many of the clients did the server disconnect within that many seconds?"""
    ended = 0
    deadline = time.monotonic() + within
    for client in clients:
        client.settimeout(max(deadline - time.monotonic(), 0.01))
        with contextlib.suppress(TimeoutError):
            to_the_end(client)
            ended += 1
    return ended


def test_a_slow_head_is_cut_off():
    with serving(limits=Limits(headers=0.5)) as server, connect(server) as client:
        began = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for byte in LAST * 10:
                client.sendall(bytes([byte]))
                time.sleep(0.02)
        assert 0.4 < time.monotonic() - began < 3
        assert scraped(server)


@pytest.mark.parametrize("tls", [False, True])
def test_a_silent_client_is_cut_off(tls, web_config):
    limits = Limits(headers=0.3, handshake=0.3)
    with serving(limits=limits, config=web_config if tls else None) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(5)]
        assert hung_up(clients, 5) == 5


def test_an_idle_client_is_cut_off_later():
    with serving(limits=Limits(idle=0.5, headers=5)) as server, connect(server) as client:
        client.sendall(SCRAPE)
        began = time.monotonic()
        assert to_the_end(client).endswith(PAGE)
        assert 0.4 < time.monotonic() - began < 4


@pytest.mark.parametrize(
    "head",
    [
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
        b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["value", "count", "target"],
)
def test_a_huge_head_is_refused_with_431(head):
    with serving() as server:
        assert say(server, head).startswith(b"HTTP/1.1 431 ")
        assert scraped(server)


def test_a_head_without_an_end_is_refused_at_once():
    with serving() as server, connect(server) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(10_000):
                client.sendall(b"X" * 4096)
        assert scraped(server)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), 400),  # TLS to a port that speaks none
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: a\r\n continued\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),  # HTTP/2 at once
        (b"HEAD / HTTP/0.1\r\nHost: a\r\n\r\n", 505),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n", 400),
    ],
)
def test_each_odd_request_has_its_status(raw, status):
    with serving() as server:
        assert say(server, raw).startswith(f"HTTP/1.1 {status} ".encode())
        assert server.said == []


@pytest.fixture(scope="module")
def long_lived():
    with serving() as server:
        yield server
        assert server.said == []


_WORDS = [
    b"GET", b"HEAD", b"POST", b" ", b"/", b"/metrics", b"?", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\r\n\r\n", b"\n",
    b"Host: localhost", b"Connection: close", b"Content-Length: 3", b"Transfer-Encoding: chunked",
    b"Expect: 100-continue",
    b"Upgrade: h2c", b"Connection: Upgrade", b"Accept-Encoding: gzip", b"Authorization: Basic =", b":", b"0", b"\x00",
    SCRAPE, LAST,
]  # fmt: skip


@settings(max_examples=150)
@given(st.lists(st.sampled_from(_WORDS) | st.binary(max_size=8), max_size=12).map(b"".join))
def test_any_bytes_are_answered_or_refused(long_lived, raw):
    answer = say(long_lived, raw)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4", b"HTTP/1.1 501", b"HTTP/1.1 505"))


@settings(max_examples=30)
@given(st.binary(max_size=200) | st.binary(max_size=50).map(lambda rest: b"\x16\x03\x01\x00\x80" + rest))
def test_any_bytes_in_place_of_a_handshake_end_one_connection_only(hostile_tls, raw):
    say(hostile_tls, raw)


@pytest.fixture(scope="module")
def hostile_tls(web_config):
    with serving(config=web_config) as server:
        yield server
        assert curl(f"{server.url}/healthz", "--cacert", str(web_config.parent / "ca.pem")).status == 200
        assert server.said == []


def test_above_the_limit_the_oldest_silent_connection_is_closed():
    with serving(limits=Limits(connections=32)) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(200)]
        assert scraped(server)
        assert hung_up(clients[:160], 5) == 160
        assert hung_up(clients[-10:], 0.3) == 0
        clients[-1].settimeout(5)
        clients[-1].sendall(LAST)
        assert to_the_end(clients[-1]).endswith(PAGE)


def test_a_crowd_does_not_end_an_answer_under_way():
    go_on = threading.Event()

    def slow(openmetrics):
        assert go_on.wait(10)
        return page(openmetrics)

    with serving(slow, limits=Limits(connections=8)) as server, contextlib.ExitStack() as stack:
        scraper = stack.enter_context(connect(server))
        scraper.sendall(LAST)
        time.sleep(0.1)
        crowd = [stack.enter_context(connect(server)) for _ in range(50)]
        assert hung_up(crowd[:40], 5) == 40
        go_on.set()
        assert to_the_end(scraper).endswith(PAGE)


def test_without_a_free_descriptor_the_oldest_client_is_closed():
    with serving() as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(8)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(int(entry.name) for entry in DESCRIPTORS.iterdir())
        while (filled := os.dup(0)) < highest:
            stack.callback(os.close, filled)
        os.close(filled)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 4, hard))
        try:
            host, _, port = server.url.rpartition("/")[2].rpartition(":")
            for client in clients:
                client.connect((host, int(port)))
            clients[-1].settimeout(10)
            clients[-1].sendall(LAST)
            assert to_the_end(clients[-1]).endswith(PAGE)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert server.said == ["a client could not be accepted: Too many open files"]


LARGE = Response("text/plain", b"x" * 30_000_000)


def test_a_client_that_does_not_take_the_answer_is_cut_off():
    with serving(lambda *_: LARGE, limits=Limits(write=0.3)) as server, connect(server) as client:
        client.sendall(SCRAPE)
        time.sleep(0.8)
        assert len(to_the_end(client)) < len(LARGE.body)


def test_above_the_limit_of_writers_the_oldest_is_closed():
    with serving(lambda *_: LARGE, limits=Limits(writers=2)) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(4)]
        for client in clients:
            client.sendall(LAST)
            time.sleep(0.2)
        taken = [len(to_the_end(client)) for client in clients]
    assert [length > len(LARGE.body) for length in taken] == [False, False, True, True]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 50_000, 405),
        (b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 405),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 36\r\n\r\n" + SCRAPE, 200),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n", 400),
    ],
)
def test_a_body_is_neither_awaited_nor_taken_for_a_request(raw, status):
    with serving() as server, connect(server) as client:
        client.sendall(raw)
        answer = to_the_end(client)  # the server ends the connection: our side stays open
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in answer


def test_a_body_that_is_still_sent_does_not_reset_the_connection():
    with serving() as server, connect(server) as client:
        client.sendall(b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n")
        assert to_the_end(client).startswith(b"HTTP/1.1 405 ")
        for _ in range(6):  # an RST, which could overtake the answer, would end this with EPIPE
            client.sendall(b"x" * 10_000)
            time.sleep(0.02)


def test_pipelined_requests_are_answered_in_order():
    targets = [b"/healthz", b"/nothing", b"/metrics", b"/readyz"] * 25
    with serving() as server:
        answers = say(server, b"".join(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % target for target in targets))
    statuses = [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"404", b"200", b"200"] * 25


def test_endless_requests_do_not_keep_others_waiting():
    with serving() as server, connect(server) as greedy:
        stop = threading.Event()

        def ask():
            with contextlib.suppress(OSError):
                while not stop.is_set():
                    greedy.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500)

        def take():
            with contextlib.suppress(OSError):
                while greedy.recv(1 << 20):
                    pass

        threads = [threading.Thread(target=ask), threading.Thread(target=take)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        try:
            assert all(scraped(server) for _ in range(5))
        finally:
            stop.set()
            greedy.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def test_clients_that_vanish_leave_no_descriptors_open():
    reset = struct.pack("ii", 1, 0)
    with serving(lambda *_: LARGE) as server:
        before = len(list(DESCRIPTORS.iterdir()))
        for raw in (b"", b"GET /met", SCRAPE, SCRAPE * 3):
            for _ in range(5):
                with connect(server) as client:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                    client.sendall(raw)
        assert curl(f"{server.url}/healthz").status == 200
        deadline = time.monotonic() + 5
        while len(list(DESCRIPTORS.iterdir())) > before and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(list(DESCRIPTORS.iterdir())) <= before
        assert server.said == []

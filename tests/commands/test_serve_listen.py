"""--web.listen-address: which addresses are accepted, and the one sentence for those that are not."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base.errors import UsageError
from inetprobe.commands.serve.web.listen import client_of, host_and_port, listen
from tests.support.web_server import connect, curl, serving, to_the_end


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1:0", "127.0.0.1"),
        ("127.0.0.2:0", "127.0.0.2"),
        ("localhost:0", "127.0.0.1"),
        ("0.0.0.0:0", "0.0.0.0"),
    ],
)
def test_an_address_is_listened_on(address, host):
    with listen(address) as listener:
        assert listener.getsockname()[0] == host
        assert listener.getsockname()[1] > 0


def test_an_address_without_a_host_listens_everywhere():
    with serving(address=":0") as server:
        port = server.url.rpartition(":")[2]
        hosts = ["127.0.0.1", "[::1]"] if ipv6() else ["127.0.0.1"]
        assert [curl(f"http://{host}:{port}/healthz").status for host in hosts] == [200] * len(hosts)


def test_ipv6_goes_in_brackets():
    if not ipv6():
        with pytest.raises(UsageError, match=r"cannot listen|not known"):
            listen("[::1]:0")
        return
    with serving(address="[::1]:0") as server:
        assert server.url.startswith("http://[::1]:")
        assert curl(f"{server.url}/healthz").status == 200


def ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("", "has no port: give HOST:PORT"),
        ("127.0.0.1", "has no port"),
        ("127.0.0.1:", "has no port"),
        ("127.0.0.1:http", "has no port"),
        ("127.0.0.1:65536", "has no port"),
        ("127.0.0.1:-1", "has no port"),
        ("127.0.0.1:٣", "has no port"),
        ("::1:9000", "put an IPv6 address in brackets: [::1]:9000"),
        ("192.0.2.1:0", "cannot listen: this machine has no such address"),
        ("no such host:0", "the host 'no such host' is not known"),
        ("a\0b:0", "is not known"),
        (f"{'x' * 300}:0", "is not known"),
        ("\x1b[31m:0", "is not known"),
    ],
)
def test_a_bad_address_is_one_sentence(address, expected):
    with pytest.raises(UsageError) as caught:
        listen(address)
    assert expected in str(caught.value)
    assert str(caught.value).startswith("--web.listen-address ")
    assert str(caught.value).isprintable()


def test_a_port_in_use_is_one_sentence():
    with listen("127.0.0.1:0") as listener:
        address = host_and_port(listener.getsockname())
        with pytest.raises(UsageError, match=f"'{address}': cannot listen: another program listens there"):
            listen(address)


def test_a_port_is_free_as_soon_as_the_server_stopped():
    with serving() as server:
        address = server.url.rpartition("/")[2]
        with connect(server) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert to_the_end(client)
    listen(address).close()  # although the connection that the server ended is in TIME_WAIT


@given(st.text("0:[]%-x", max_size=8))
def test_any_text_is_an_address_or_one_sentence(address):
    try:
        listen(address).close()
    except UsageError as error:
        assert str(error).startswith("--web.listen-address ")


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("192.0.2.1", ["192.0.2.1"]),
        ("2001:db8:1:2::1", ["2001:db8:1:2:ffff::", "2001:0db8:1:2::9"]),
        ("fe80::1%eth0", ["fe80::2%eth0"]),
        ("::ffff:192.0.2.1", ["::ffff:192.0.2.1"]),
    ],
)
def test_a_client_of_ipv6_has_a_whole_network(address, same):
    assert {client_of(other) for other in same} == {client_of(address)}
    others = ("192.0.2.2", "2001:db8:1:3::1", "fe81::1", "::ffff:192.0.2.2", "::1")
    assert client_of(address) not in map(client_of, others)

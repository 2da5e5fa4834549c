"""Notifying systemd: the states that are sent, and the sockets they are sent to."""

import os
import socket
import time

import pytest

from inetprobe.base.errors import InetprobeError
from inetprobe.commands.serve.systemd import READY, STOPPING, notify, reloading


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path, monkeypatch):
    address = str(tmp_path / "notify") if request.param == "path" else f"@inetprobe-test-{os.getpid()}@x"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + address[1:] if address[0] == "@" else address)
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield systemd


def test_states_arrive_as_lines(systemd):
    assert notify(READY, "STATUS=counting") is True
    assert systemd.recv(4096) == b"READY=1\nSTATUS=counting"
    assert notify(STOPPING)
    assert systemd.recv(4096) == b"STOPPING=1"


def test_a_reload_has_the_time_it_began(systemd):
    before = time.monotonic_ns() // 1000
    notify(reloading())
    state, monotonic = systemd.recv(4096).decode().split("\n")
    assert state == "RELOADING=1"
    assert before <= int(monotonic.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_without_a_notify_socket_nothing_is_sent(monkeypatch):
    for value in (None, ""):
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
        if value is not None:
            monkeypatch.setenv("NOTIFY_SOCKET", value)
        assert notify(READY) is False


@pytest.mark.parametrize("address", ["/nowhere/at/all", "@inetprobe-nobody-listens", "vsock:2:1234", "/" + "x" * 300])
def test_a_socket_that_cannot_be_reached_is_one_sentence(monkeypatch, address):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with pytest.raises(InetprobeError) as caught:
        notify(READY)
    assert address[:60] in str(caught.value)
    assert "\n" not in str(caught.value)

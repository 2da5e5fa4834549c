"""The guest's agent, as far as it runs outside a guest."""

import threading
import time

import pytest

from inetprobe.vm.guest.agent import port_path


def port(root, number, name):
    folder = root / "sys/class/virtio-ports" / f"vport1p{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")


def test_a_port_is_found_by_its_name(tmp_path):
    port(tmp_path, 1, "inetprobe.control")
    port(tmp_path, 2, "inetprobe.stdin")
    assert port_path("inetprobe.stdin", tmp_path) == tmp_path / "dev/vport1p2"


def test_a_port_that_the_driver_has_not_made_yet_is_waited_for(tmp_path):
    later = threading.Timer(0.2, port, (tmp_path, 1, "inetprobe.control"))
    later.start()
    began = time.monotonic()
    assert port_path("inetprobe.control", tmp_path, wait_s=20.0) == tmp_path / "dev/vport1p1"
    assert time.monotonic() - began < 10.0
    later.join()


def test_a_port_that_never_comes_is_named(tmp_path):
    (tmp_path / "sys/class/virtio-ports/vport1p1").mkdir(parents=True)  # one without a name, as of another device
    with pytest.raises(FileNotFoundError, match=r"no port inetprobe\.control"):
        port_path("inetprobe.control", tmp_path, wait_s=0.1)

"""Cgroup paths of real systems, and their owners."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.base.cgroup_owner import Owner, owner_of

A = "3f4d5c6b7a8990817263544536271809fedcba98765432100123456789abcdef"
B = "00aa11bb22cc33dd44ee55ff66778899aabbccddeeff00112233445566778899"
UID = "8c1f4f3e-5a57-4d0c-9d63-2f2f2b1e7a10"
UID_ = UID.replace("-", "_")
HASH = "0123456789abcdef0123456789abcdef"

PATHS = [
    # systemd on a plain host
    ("/system.slice/ssh.service", Owner(unit="ssh.service", slice="system.slice")),
    ("/system.slice/system-getty.slice/getty@tty1.service",
     Owner(unit="getty@tty1.service", slice="system-getty.slice")),
    ("/init.scope", Owner(unit="init.scope")),
    ("/user.slice/user-1000.slice/session-3.scope", Owner(unit="session-3.scope", slice="user-1000.slice", user=1000)),
    ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-4321.scope",
     Owner(unit="app-gnome-firefox-4321.scope", slice="app.slice", user=1000)),
    ("/user.slice/user-1000.slice/user@1000.service/init.scope",
     Owner(unit="init.scope", slice="user-1000.slice", user=1000)),
    ("/user.slice/user-1000.slice/user@1000.service/app.slice/dbus-:1.2-org.gnome.Shell@0.service",
     Owner(unit="dbus-:1.2-org.gnome.Shell@0.service", slice="app.slice", user=1000)),
    ("/system.slice/nginx.service/worker", Owner(unit="nginx.service", slice="system.slice")),
    ("/system.slice/proc-sys-fs-binfmt_misc.mount", Owner(unit="proc-sys-fs-binfmt_misc.mount", slice="system.slice")),
    ("/user.slice", Owner(slice="user.slice")),
    # Docker: systemd's driver, cgroupfs, rootless, a parent of one's own, BuildKit, with an init of its own
    (f"/system.slice/docker-{A}.scope", Owner(A, "docker", slice="system.slice")),
    (f"/docker/{A}", Owner(A, "docker")),
    (f"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope",
     Owner(A, "docker", unit="user@1000.service", slice="user.slice", user=1000)),
    (f"/batch/{A}", Owner(A, None)),
    ("/docker/buildkit/ibjmcrdn0s1xgjbxmb8zlzy7u", Owner("ibjmcrdn0s1xgjbxmb8zlzy7u", "buildkit")),
    (f"/system.slice/docker-{A}.scope/init.scope", Owner(A, "docker", unit="init.scope", slice="system.slice")),
    (f"/docker/{A}/system.slice/nginx.service", Owner(A, "docker", unit="nginx.service", slice="system.slice")),
    # Amazon ECS: on EC2, by systemd, on Fargate
    (f"/ecs/{HASH}/{A}", Owner(A, None)),
    (f"/ecstasks.slice/ecstasks-{HASH}.slice/docker-{A}.scope", Owner(A, "docker", slice=f"ecstasks-{HASH}.slice")),
    (f"/ecs/{HASH}/{HASH}-1234567890", Owner(f"{HASH}-1234567890", None)),
    # Podman: root, its inner folder, in a pod of its own, rootless, cgroupfs, a quadlet's, its monitor
    (f"/machine.slice/libpod-{A}.scope", Owner(A, "podman", slice="machine.slice")),
    (f"/machine.slice/libpod-{A}.scope/container", Owner(A, "podman", slice="machine.slice")),
    (f"/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope",
     Owner(A, "podman", slice=f"machine-libpod_pod_{B}.slice")),
    (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container",
     Owner(A, "podman", unit="user@1000.service", slice="user.slice", user=1000)),
    (f"/libpod_parent/libpod-{A}", Owner(A, "podman")),
    (f"/system.slice/web.service/libpod-payload-{A}", Owner(A, "podman", unit="web.service", slice="system.slice")),
    (f"/machine.slice/libpod-conmon-{A}.scope", Owner(unit=f"libpod-conmon-{A}.scope", slice="machine.slice")),
    # containerd by hand
    (f"/system.slice/nerdctl-{A}.scope", Owner(A, "containerd", slice="system.slice")),
    (f"/default/{A}", Owner(A, None)),
    # Kubernetes, systemd's driver: each quality of service, each runtime, a static pod
    (f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/cri-containerd-{A}.scope",
     Owner(A, "containerd", UID, slice=f"kubepods-burstable-pod{UID_}.slice")),
    (f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_}.slice/crio-{A}.scope",
     Owner(A, "cri-o", UID, slice=f"kubepods-besteffort-pod{UID_}.slice")),
    (f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_}.slice/crio-{A}.scope/container",
     Owner(A, "cri-o", UID, slice=f"kubepods-besteffort-pod{UID_}.slice")),
    (f"/kubepods.slice/kubepods-pod{UID_}.slice/docker-{A}.scope",
     Owner(A, "docker", UID, slice=f"kubepods-pod{UID_}.slice")),
    (f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{HASH}.slice/cri-containerd-{A}.scope",
     Owner(A, "containerd", HASH, slice=f"kubepods-burstable-pod{HASH}.slice")),
    (f"/kubepods.slice/kubepods-pod{UID_}.slice", Owner(pod=UID, slice=f"kubepods-pod{UID_}.slice")),
    ("/kubepods.slice/kubepods-burstable.slice", Owner(slice="kubepods-burstable.slice")),
    # Kubernetes, cgroupfs
    (f"/kubepods/burstable/pod{UID}/{A}", Owner(A, None, UID)),
    (f"/kubepods/pod{UID}/{A}", Owner(A, None, UID)),
    (f"/kubepods/besteffort/pod{UID}/crio-{A}", Owner(A, "cri-o", UID)),
    (f"/kubepods/besteffort/pod{UID}", Owner(pod=UID)),
    # a kubelet and a containerd that disagree about the driver
    (f"/system.slice/containerd.service/kubepods-burstable-pod{UID_}.slice:cri-containerd:{A}",
     Owner(A, "containerd", UID, slice=f"kubepods-burstable-pod{UID_}.slice")),
    # kind: Kubernetes within Docker, both drivers
    (f"/system.slice/docker-{B}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/"
     f"kubelet-kubepods-burstable-pod{UID_}.slice/cri-containerd-{A}.scope",
     Owner(A, "containerd", UID, slice=f"kubelet-kubepods-burstable-pod{UID_}.slice")),
    (f"/docker/{B}/kubelet/kubepods/besteffort/pod{UID}/{A}", Owner(A, None, UID)),
    # LXC: plain, LXD and Incus, Proxmox, its monitor
    ("/lxc/web", Owner("web", "lxc")),
    ("/lxc.payload.web-1", Owner("web-1", "lxc")),
    ("/lxc.payload.web/system.slice/nginx.service",
     Owner("web", "lxc", unit="nginx.service", slice="system.slice")),
    ("/lxc/104/ns/system.slice/ssh.service", Owner("104", "lxc", unit="ssh.service", slice="system.slice")),
    ("/lxc.monitor.web", Owner()),
    # systemd-nspawn and libvirt
    ("/machine.slice/systemd-nspawn@debian.service/payload/system.slice/cron.service",
     Owner("debian", "systemd-nspawn", unit="cron.service", slice="system.slice")),
    (r"/machine.slice/systemd-nspawn@my\x2dbox.service/supervisor",
     Owner("my-box", "systemd-nspawn", slice="machine.slice")),
    (r"/machine.slice/machine-my\x2dbox.scope", Owner("my-box", "systemd-nspawn", slice="machine.slice")),
    (r"/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator", Owner("vm", "libvirt", slice="machine.slice")),
    # Cloud Foundry
    ("/garden/5ed5b8a1-6c2c-4c5c-8f5b-0c9c3c0a0b0d", Owner("5ed5b8a1-6c2c-4c5c-8f5b-0c9c3c0a0b0d", "garden")),
    # nobody's, and what looks like something and is not
    (None, Owner()),
    ("/", Owner()),
    ("/custom/sub", Owner()),
    (f"/system.slice/docker-{A[:40]}.scope", Owner(unit=f"docker-{A[:40]}.scope", slice="system.slice")),
    (f"/system.slice/x-docker-{A}.scope", Owner(unit=f"x-docker-{A}.scope", slice="system.slice")),
    ("/podman", Owner()),
    ("/pod123", Owner()),
    ("/.service", Owner()),
]  # fmt: skip


@pytest.mark.parametrize(("path", "expected"), PATHS)
def test_a_path_tells_the_owner(path, expected):
    assert owner_of(path) == expected


@pytest.mark.parametrize(
    ("path", "label"),
    [
        (f"/system.slice/docker-{A}.scope", "docker 3f4d5c6b"),
        (f"/kubepods/pod{UID}/{A}", "pod 8c1f4f3e container 3f4d5c6b"),
        (f"/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{A}.scope", "pod 8c1f4f3e containerd 3f4d5c6b"),
        ("/lxc.payload.a-name-longer-than-an-id/init.scope", "lxc a-name-longer-than-an-id init.scope"),
        ("/system.slice/ssh.service", "ssh.service"),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope (user 1000)"),
        ("/user.slice", "user.slice"),
        ("/custom", None),
        (None, None),
    ],
)
def test_its_label_is_short(path, label):
    assert owner_of(path).label() == label


def test_the_folders_of_one_container_have_one_owner():
    within = [f"/docker/{A}", f"/docker/{A}/init.scope", f"/docker/{A}/system.slice/x.service"]
    assert len({owner_of(path).owner for path in within}) == 1
    assert owner_of("/system.slice/a.service").owner != owner_of("/system.slice/b.service").owner


PARTS = st.sampled_from(
    [A, B, f"docker-{A}.scope", f"pod{UID}", "lxc", "kubepods", "x.service", "y.slice", "machine-\\xff.scope",
     "user-99999999999999999999.slice", "user@7.service", "buildkit", "pod" * 4000, "\x1b[31m", "",
     "..", ":"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PARTS, max_size=8).map("/".join)))
def test_any_path_is_accepted(path):
    found = owner_of(path)
    assert found.container is None or found.container
    assert found.label() is None or found.label().strip()


def test_a_folder_that_no_kernel_has_owns_nothing():
    longest = "a" * 247 + ".service"
    assert owner_of(f"/{longest}/a{longest}").unit == longest

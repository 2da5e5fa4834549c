"""Makes cgroups, and attaches a BPF program that refuses every inet socket, by bpf(2) alone."""

import contextlib
import ctypes
import os
import resource
import struct
import subprocess
from pathlib import Path

SYS_BPF, PROG_LOAD, PROG_ATTACH = 321, 5, 8
PROG_TYPE_CGROUP_SOCK, CGROUP_INET_SOCK_CREATE = 9, 2
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes.ljust(144, b"\0"), 144)
    result = libc.syscall(SYS_BPF, command, buffer, 144)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf({command})")
    return result


def program(instructions, type_, attach):
    # Before 5.11 programs and maps count as the user's locked memory, and inetprobe's are the same user's.
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    code = ctypes.create_string_buffer(b"".join(struct.pack("<BBhi", *i) for i in instructions))
    licence = ctypes.create_string_buffer(b"GPL")
    head = struct.pack("<IIQQ", type_, len(instructions), ctypes.addressof(code), ctypes.addressof(licence))
    return bpf(PROG_LOAD, head.ljust(68, b"\0") + struct.pack("<I", attach))


def cgroup2_root():
    """Returns the mount point of cgroup v2; mounts it if it is not mounted."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount_point, file_system, *_ = line.split()
        if file_system == "cgroup2":
            return Path(mount_point)
    root = Path("/run/inetprobe-cgroup2")
    root.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "cgroup2", "none", str(root)], check=True)
    return root


@contextlib.contextmanager
def cgroup(name="inetprobe-test"):
    """Makes a cgroup, yields its folder, and removes it afterwards."""
    folder = cgroup2_root() / name
    folder.mkdir(exist_ok=True)
    try:
        yield folder
    finally:
        (folder.parent / "cgroup.procs").write_text(str(os.getpid()))
        folder.rmdir()


def deny(folder):
    """Refuses every inet socket to processes of the cgroup from now on: the program is ``return 0``."""
    fd = program([(0xB7, 0, 0, 0), (0x95, 0, 0, 0)], PROG_TYPE_CGROUP_SOCK, CGROUP_INET_SOCK_CREATE)
    target = os.open(folder, os.O_RDONLY)
    bpf(PROG_ATTACH, struct.pack("<IIII", target, fd, CGROUP_INET_SOCK_CREATE, 0))
    os.close(target)
    os.close(fd)

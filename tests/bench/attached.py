"""In the guest: context managers that attach inetprobe or one of its peers to the four functions."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from inetprobe.kernel.counting import CountingSource
from inetprobe.kernel.host import syscall, tracefs
from inetprobe.kernel.host.btf import Btf
from inetprobe.kernel.host.kprobe import Kprobe
from inetprobe.kernel.maps.cells import Counting
from inetprobe.kernel.program.target import default_maxactive
from inetprobe.kernel.source import LiveSource
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.record.cheader import bpf_folder
from inetprobe.record.filter import build
from inetprobe.stats.buckets import DEFAULT_BOUNDS_NS

FUNCTIONS = ("__sys_socket", "inet_create", "sk_alloc", "sk_prot_alloc")
TRACEFS = Path("/sys/kernel/tracing")
_READY_S, _SETTLE_S = 240.0, 2.0


def silent(_line: str) -> None:
    """Discards a message."""


@contextlib.contextmanager
def empty(mechanism: str) -> Iterator[None]:
    """Programs that return at once: the floor."""
    types, folder = Btf.of_kernel(), tracefs.writable()
    with contextlib.ExitStack() as undo:
        for number, function in enumerate(FUNCTIONS):
            for side, type_ in ("entry", syscall.FENTRY), ("return", syscall.FEXIT):
                if mechanism == "fentry":
                    prototype = types.prototype(function)
                    assert prototype is not None
                    program = syscall.load_program(type_, function, syscall.RETURN_0, prototype.type_id)
                    undo.callback(os.close, syscall.attach(program))
                else:
                    program = syscall.load_program(syscall.KPROBE, function, syscall.RETURN_0)
                    maxactive = default_maxactive() if side == "return" else None
                    undo.callback(Kprobe.attach(folder, program, function, number, maxactive).close)
                os.close(program)
        yield


@contextlib.contextmanager
def ours(mechanism: str, way: str) -> Iterator[LiveSource | CountingSource]:
    """inetprobe; ``way`` is ``record``, ``counted`` or ``filtered``. The ring has room for all records and is not read.

    Raises RuntimeError if records were lost.
    """
    if way == "counted":
        counting = Counting(DEFAULT_BOUNDS_NS, slow_ns=10**12, rate_limit=1000)
        options = TraceOptions(mechanism=mechanism, counting=counting)
        source: LiveSource | CountingSource = CountingSource.of_kernel(options, silent)
    else:
        filters = build({"pid": ("1",)} if way == "filtered" else {})
        options = TraceOptions(filters=filters, mechanism=mechanism, ring_size=1 << 24)
        source = LiveSource.of_kernel(options, None, silent)
    with source:
        source.start()
        yield source
        program = source.attached.program
        program.deactivate()
        if program.counters.lost():
            raise RuntimeError(f"records were lost: {program.counters.lost()}")


@contextlib.contextmanager
def running(argv: list[str], env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a peer as its users do: its probes are attached when the body begins and gone when the context has ended.

    Raises RuntimeError if it is not installed, does not attach or does not end.
    """
    if shutil.which(argv[0]) is None:
        raise RuntimeError(f"{argv[0]} is not installed")
    with tempfile.TemporaryFile() as log:
        peer = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT, env=os.environ | (env or {}))
        try:
            _wait(lambda: all(f in _hooked() for f in FUNCTIONS), peer, log)
            time.sleep(_SETTLE_S)
            yield peer
        finally:
            # bpftrace loses a SIGINT that arrives while it reads its events (0.17, BPFtrace::poll_perf_events).
            _interrupt(peer, every_s=1 if argv[0] == "bpftrace" else _READY_S)
            _wait(lambda: not any(f in _hooked() for f in FUNCTIONS), None, log)


def _interrupt(peer: subprocess.Popen[bytes], every_s: float) -> None:
    deadline = time.monotonic() + _READY_S
    while peer.poll() is None:
        if time.monotonic() > deadline:
            raise RuntimeError("it did not end")
        peer.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            peer.wait(every_s)


def _hooked() -> set[str]:
    return {line.split()[0] for line in (TRACEFS / "enabled_functions").read_text().splitlines() if line.strip()}


def _wait(done: Callable[[], bool], peer: subprocess.Popen[bytes] | None, log: BinaryIO) -> None:
    deadline = time.monotonic() + _READY_S
    while not done():
        if (peer is not None and peer.poll() is not None) or time.monotonic() > deadline:
            log.seek(0)
            raise RuntimeError("it did not attach: " + log.read().decode(errors="replace")[-300:])
        time.sleep(0.2)


def bpftrace_hist(mechanism: str) -> AbstractContextManager[object]:
    """A histogram of durations for each function."""
    entry, leave = {"kprobe": ("kprobe", "kretprobe"), "fentry": ("kfunc", "kretfunc")}[mechanism]
    script = " ".join(
        f"{entry}:{f} {{ @s{i}[tid] = nsecs; }} "
        f"{leave}:{f} /@s{i}[tid]/ {{ @d{i} = hist(nsecs - @s{i}[tid]); delete(@s{i}[tid]); }}"
        for i, f in enumerate(FUNCTIONS)
    )
    return running(["bpftrace", "-e", script])


PRINTF = (
    "kprobe:__sys_socket { @s[tid] = nsecs; } kprobe:inet_create { @s0[tid] = nsecs; } "
    "kprobe:sk_alloc { @s1[tid] = nsecs; } kprobe:sk_prot_alloc { @s2[tid] = nsecs; } "
    "kretprobe:sk_prot_alloc { @d2[tid] = nsecs - @s2[tid]; } kretprobe:sk_alloc { @d1[tid] = nsecs - @s1[tid]; } "
    "kretprobe:inet_create { @d0[tid] = nsecs - @s0[tid]; } "
    'kretprobe:__sys_socket /@s[tid]/ { printf("%s %d %d %d %d %d %d\\n", comm, tid, (int32)retval, '
    "nsecs - @s[tid], @d0[tid], @d1[tid], @d2[tid]); delete(@s[tid]); }"
)


def bpftrace_printf() -> AbstractContextManager[object]:
    """A line per socket, with the four durations."""
    return running(["bpftrace", "-e", PRINTF])


def funclatency() -> AbstractContextManager[object]:
    """bcc's funclatency with a pattern; inetprobe's stub headers and one more replace the kernel's."""
    headers = Path(tempfile.mkdtemp())
    shutil.copytree(bpf_folder() / "include", headers / "include")
    (headers / "include/uapi/linux/ptrace.h").write_text("#include <linux/types.h>\n#include <asm/ptrace.h>\n")
    pattern = "^(" + "|".join(FUNCTIONS) + ")$"
    return running(["funclatency-bpfcc", "-r", pattern], {"BCC_KERNEL_SOURCE": str(headers)})


@contextlib.contextmanager
def function_graph() -> Iterator[None]:
    """ftrace's function_graph of the four functions, as ``trace-cmd start -p function_graph -l …`` sets it."""
    (TRACEFS / "set_ftrace_filter").write_text("\n".join(FUNCTIONS) + "\n")
    (TRACEFS / "current_tracer").write_text("function_graph\n")
    try:
        yield
    finally:
        (TRACEFS / "current_tracer").write_text("nop\n")
        (TRACEFS / "set_ftrace_filter").write_text("\n")


@contextlib.contextmanager
def kprobe_events(group: str = "bench") -> Iterator[list[str]]:
    """Kprobe events of tracefs, created but not enabled; yields their names."""
    events = [f"{probe}_{f}" for f in FUNCTIONS for probe in ("p", "r")]
    try:
        for event in events:
            _write_kprobe_events(f"{event[0]}:{group}/{event} {event[2:]}")
        yield [f"{group}:{event}" for event in events]
    finally:
        for event in events:
            _write_kprobe_events(f"-:{group}/{event}")


def _write_kprobe_events(line: str) -> None:
    # Appended, since truncating removes all events. Python's own append mode seeks to the end, and this file has none.
    file = os.open(TRACEFS / "kprobe_events", os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, line.encode() + b"\n")
    finally:
        os.close(file)


# perf looks at each module's file before it begins, which takes minutes through a VM's view of the host's disk.
_WITHOUT_MODULES = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /lib/modules && exec "$@"', "sh"]


@contextlib.contextmanager
def perf_record(data: Path, *options: str) -> Iterator[None]:
    """perf record of the three functions' kprobe events on all CPUs into ``data``, a file: perf writes to no device."""
    with kprobe_events() as events:
        picked = [word for event in events for word in ("-e", event)]
        with running([*_WITHOUT_MODULES, "perf", "record", "-a", "-q", *options, "-o", str(data), *picked]):
            yield

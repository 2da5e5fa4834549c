"""Addresses → names, with a stand-in for bcc's symbols and a folder for /proc."""

import os

import numpy as np
import pytest

from inetprobe.base.errors import HostError
from inetprobe.kernel.frames import kernel_frames, user_frames
from inetprobe.kernel.frames import naming as stack
from inetprobe.kernel.frames.kernel_frames import KernelSymbols
from inetprobe.kernel.frames.user_frames import MappedProcess, UserSymbols
from inetprobe.kernel.host import pidns
from inetprobe.kernel.host.kallsyms import Symbols
from inetprobe.record.layout import CALL_RETURNED, define, record_dtype
from inetprobe.record.stacks import Side, Stack, Stacks

TEXT, MODULE, BPF = 0xFFFFFFFF81000000, 0xFFFFFFFFC0400000, 0xFFFFFFFFC0900000
TICK = 10**9 // os.sysconf("SC_CLK_TCK")
SELF = MappedProcess(42, 7 * TICK + 5, 0x7FFD00001000)
MAPS = "55a000000000-55a000001000 r-xp 00001000 08:01 99 /opt/x/my prog\n7ffd0-7ffd1 rw-p 00000000 00:00 0 [stack]\n"


class Resolver:
    """Names every address after the last symbol before it, as bcc does for kernel addresses."""

    def __init__(self, *symbols):
        self.symbols = sorted(symbols)
        self.freed = 0

    def resolve(self, addr, demangle):
        below = [symbol for symbol in self.symbols if symbol[0] <= addr]
        if not below:
            return None, addr, None
        start, name, module = below[-1]
        return name, addr - start, module

    def free(self):
        self.freed += 1


@pytest.fixture
def kernel(tmp_path):
    (tmp_path / "kallsyms").write_text(f"{TEXT:x} T _stext\n{TEXT + 0x9000:x} T _etext\n{TEXT + 0x1000:x} t other\n")
    (tmp_path / "modules").write_text(f"mptcp 4096 1 - Live 0x{MODULE:016x} (E)\n")
    resolver = Resolver(
        (TEXT, b"_stext", b"kernel"),
        (TEXT + 0x1000, b"__sock_create", b"kernel"),
        (TEXT + 0x2000, b"inet_create", b"kernel"),
        (TEXT + 0x3000, b"arch_rethook_trampoline", b"kernel"),
        (MODULE, b"mptcp_init", b"mptcp"),
        (BPF, b"bpf_prog_1", b"bpf"),
    )
    return KernelSymbols(resolver, tmp_path / "kallsyms", tmp_path / "modules")


def test_kernel_callers_without_the_frames_of_tracing(kernel):
    after = ["__sock_create+0x11e", "mptcp_init+0x20 [mptcp]"]
    callers = [TEXT + 0x111E, MODULE + 0x20]
    by_fentry = [BPF + 5, BPF + 0x500, TEXT + 0x2005, *callers]
    assert list(kernel.callers(by_fentry, "inet_create", "fentry")) == after
    assert list(kernel.callers([BPF + 9, *by_fentry], "inet_create", "fentry")) == after
    assert list(kernel.callers([*by_fentry[:2], MODULE + 0x5000, *callers], "sk_alloc", "fentry")) == [
        kernel_frames.UNKNOWN,
        *after,
    ]
    assert list(kernel.callers([TEXT + 0x3001, *callers], "inet_create", "kprobe")) == after
    assert list(kernel.callers(callers, "inet_create", "kprobe")) == after


def test_addresses_of_later_modules_have_no_name(kernel):
    later = MODULE + 0x5000
    assert list(kernel.callers([TEXT + 0x1001, later, TEXT + 0xA000], "inet_create", "kprobe")) == [
        "__sock_create+0x1", kernel_frames.UNKNOWN, kernel_frames.UNKNOWN,
    ]  # fmt: skip
    assert list(kernel.callers([later], "sk_alloc", "kprobe")) == [kernel_frames.UNKNOWN]


def test_a_return_address_after_a_function_s_last_call_names_that_function(kernel):
    assert list(kernel.callers([TEXT + 0x2000], "sk_alloc", "kprobe")) == ["__sock_create+0x1000"]


@pytest.mark.parametrize("end", ["0000000000000000 T _etext\n", ""])
@pytest.mark.parametrize("start", ["0000000000000000", "ffffffff81000000"])
def test_hidden_addresses_are_an_error(tmp_path, start, end):
    (tmp_path / "kallsyms").write_text(f"{start} T _stext\n{end}")
    with pytest.raises(HostError, match="CAP_SYSLOG"):
        KernelSymbols(Resolver(), tmp_path / "kallsyms", tmp_path / "none")


class Proc:
    """A /proc with process 42 in it."""

    def __init__(self, folder):
        self.root = folder
        self.opened = []
        self.live()

    def live(self, start=7, stack=SELF.start_stack, state="S", maps=MAPS):
        own = self.root / "42"
        (own / "root" / "tmp").mkdir(parents=True, exist_ok=True)
        fields = [state, *["0"] * 18, start, *["0"] * 5, stack, *["0"] * 24]
        (own / "stat").write_text(f"42 (a) Z (b) {' '.join(map(str, fields))}\n")
        (own / "maps").write_text(maps)
        (own / "status").write_text("Name:\ta\nNSpid:\t42\t7\n")

    def gone(self):
        for name in ("stat", "maps", "status"):
            (self.root / "42" / name).unlink()

    def open(self, pid):
        assert pid == 42
        self.opened.append(
            Resolver(
                (0x1000, b"__socket", b"/lib/libc.so.6"),
                (0x2000, b"culprit", b"/opt/x/my prog"),
                (0x3000, b"main", b"/opt/x/my prog"),
                (0x4000, None, b"/opt/x/lib\x1b.so"),
                (0x5000, None, None),
                (0x6000, b"f" * 9999, b"/x/y"),
            )
        )
        return self.opened[-1]


@pytest.fixture
def proc(tmp_path):
    return Proc(tmp_path)


@pytest.fixture
def user(proc):
    return UserSymbols(proc.open, proc.root)


def test_user_frames_are_named(user):
    frames = user.named(SELF, [0x2010, 0x3020, 0x4030, 0x5000 + 1], 0).frames
    assert frames == ("culprit+0x10 (my prog)", "main+0x20 (my prog)", "[unknown]+0x30 (lib\x1b.so)", "[unknown]")
    (long,) = user.named(SELF, [0x6010], 0).frames
    assert len(long) < 300


def test_a_return_address_after_a_user_function_s_last_call_names_that_function(user):
    assert user.named(SELF, [0x3000], 0).frames == ("main+0x0 (my prog)",)
    assert user.named(SELF, [0x3000, 0x3000], 0).frames[1] == "culprit+0x1000 (my prog)"


def test_the_skipped_caller_of_libc_s_wrapper_is_inserted(user):
    def names(addresses, caller):
        return [frame.partition("+")[0] for frame in user.named(SELF, addresses, caller).frames]

    assert names([0x1007, 0x3020], 0x2018) == ["__socket", "culprit", "main"]
    assert names([0x1007, 0x2018], 0x2018) == ["__socket", "culprit"]
    assert names([0x1007], 0x5008) == ["__socket"], "only an address in mapped code is a caller"
    assert names([0x1107, 0x3020], 0x2018) == ["__socket", "main"], "too far from the start for the wrapper"
    assert names([0x2007, 0x3020], 0x2018) == ["culprit", "main"]


@pytest.mark.parametrize(
    ("now", "why"),
    [
        ({"start": 8}, "exited"),
        ({"state": "Z", "stack": 0}, "exited"),
        ({"stack": 0x7FFD00002000}, "executed"),
        ({"stack": 0}, "unreadable"),
    ],
)
def test_another_process_gives_no_names(user, proc, now, why):
    proc.live(**now)
    assert user.named(SELF, [0x2010], 0) == Side((), why)
    assert not proc.opened


def test_an_ended_process_is_named_only_from_cached_symbols(user, proc):
    assert user.named(SELF, [0x2010], 0).lost is None
    proc.gone()
    assert user.named(SELF, [0x3010], 0).frames == ("main+0x10 (my prog)",)
    assert user.named(SELF._replace(start_ns=9 * TICK), [0x3010], 0) == Side((), "exited")


def test_a_process_that_executes_while_it_is_read_gives_no_names(proc):
    def open_late(pid):
        proc.live(stack=0x7FFD00009000)
        return proc.open(pid)

    assert UserSymbols(open_late, proc.root).named(SELF, [0x2010], 0) == Side((), "executed")
    assert proc.opened[0].freed == 1


def test_symbols_are_read_again_after_the_map_has_changed(user, proc):
    user.named(SELF, [0x2010], 0)
    user.named(SELF, [0x2010], 0)
    assert len(proc.opened) == 1
    proc.live(maps=MAPS + "7f0000000000-7f0000001000 r-xp 00000000 08:01 7 /lib/late.so\n")
    user.named(SELF, [0x2010], 0)
    assert len(proc.opened) == 2
    assert proc.opened[0].freed == 1


@pytest.mark.parametrize("fifo", ["tmp/perf-7.map", "opt/x/my prog"])
def test_a_fifo_is_not_opened(user, proc, fifo):
    path = proc.root / "42" / "root" / fifo
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    assert user.named(SELF, [0x2010], 0) == Side((), "unreadable")
    assert not proc.opened


@pytest.mark.parametrize(
    ("file", "most"), [("tmp/perf-7.map", user_frames._MOST_MAP), ("opt/x/my prog", user_frames._MOST_ELF)]
)
def test_a_file_that_is_too_large_is_not_read(user, proc, file, most):
    path = proc.root / "42" / "root" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.truncate(path, most + 1)
    assert user.named(SELF, [0x2010], 0) == Side((), "unreadable")
    os.truncate(path, most)
    assert user.named(SELF, [0x2010], 0).lost is None


@pytest.mark.parametrize("end", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_what_ends_a_line_elsewhere_may_be_in_a_name(user, proc, end):
    """The kernel escapes only the newline. Neither does the rest of a name become a line, nor a FIFO of it unseen."""
    proc.live(maps=f"55a000000000-55a000001000 r-xp 00001000 08:01 99 /opt/a{end}b\n")
    (proc.root / "42" / "status").write_bytes(f"Name:\ta{end}NSpid:\tx\nNSpid:\t42\t7\n".encode())
    assert user.named(SELF, [0x2010], 0).frames == ("culprit+0x10 (my prog)",)
    path = proc.root / "42" / "root" / f"opt/c{end}d"
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    proc.live(maps=f"55a000000000-55a000001000 r-xp 00001000 08:01 99 /opt/c{end}d\n")
    assert user.named(SELF, [0x2010], 0) == Side((), "unreadable")


def test_the_oldest_processes_leave_the_cache(proc):
    user = UserSymbols(lambda _: proc.open(42), proc.root)
    for pid in range(100, 100 + user_frames._MAX_PROCESSES + 3):
        (proc.root / str(pid)).symlink_to(proc.root / "42")
        user.named(SELF._replace(pid=pid), [0x2010], 0)
    assert sum(symbols.freed for symbols in proc.opened) == 3


def drained(*frames):
    """One record per argument, the members of its frames, as the kernel sends them."""
    records = np.zeros(len(frames), record_dtype(stack=True, frames=True))
    records["pid"] = 42
    records["seq"] = np.arange(len(frames))
    records["calls"]["flags"][:, 0] = CALL_RETURNED
    for row, members in enumerate(frames):
        for name, value in members.items():
            if name in ("kernel", "user"):
                records["frames"][name][row, 0, : len(value)] = value
            else:
                records["frames"][name][row, 0] = value
    return records


@pytest.fixture
def naming(kernel, user, tmp_path):
    (tmp_path / "max_stack").write_text("127\n")
    return stack.Naming(
        kernel, user, {0: "inet_create"}, {"inet_create": "kprobe"}, Symbols([]), tmp_path / "max_stack"
    )


def test_numbered_records_have_no_addresses(naming):
    stacks = Stacks()
    mine = {"process_start": SELF.start_ns, "start_stack": SELF.start_stack, "caller": 0x2018}
    records = drained(
        {},
        {
            "kernel_size": 8,
            "kernel": [TEXT + 0x1010],
            "user_size": 16,
            "user": [0x1007, 0x3020],
            "caller": 0x2018,
            **mine,
        },
        {"kernel_size": -14, "user_size": -22},
        {"kernel_size": 8 * 33, "kernel": [TEXT + 0x1010] * 33},
    )
    dtype = record_dtype(stack=True)
    assert len(naming.numbered(records[:0], dtype, stacks)) == 0
    numbered = naming.numbered(records, dtype, stacks)
    assert numbered.dtype == dtype
    assert numbered["seq"].tolist() == [0, 1, 2, 3]
    assert TEXT.to_bytes(8, "little")[4:] not in numbered.tobytes()
    none, named, refused, deep = [stacks.get(int(number)) for number in numbered["stack"].ravel()]
    assert none is None
    assert named.kernel.frames == ("__sock_create+0x10",)
    assert [frame.partition("+")[0] for frame in named.user.frames] == ["__socket", "culprit", "main"]
    assert refused == Stack(Side((), "EFAULT"), Side((), "EINVAL"))
    assert (len(deep.kernel.frames), deep.kernel.lost) == (define("KERNEL_FRAMES") - 1, "truncated")
    assert naming.lost == {"kernel:EFAULT": 1, "user:EINVAL": 1, "kernel:truncated": 1}


@pytest.mark.parametrize(
    ("trampoline", "mechanism", "named"),
    [
        ("kretprobe_trampoline", "kprobe", ("__sock_create+0x10",)),
        ("kretprobe_trampoline", "fentry", ("_stext+0x1000", "__sock_create+0x10")),
        ("__kretprobe_trampoline", "kprobe", ("_stext+0x1000", "__sock_create+0x10")),
    ],
)
def test_the_function_itself_is_cut_from_a_stack_taken_at_the_entry(kernel, tmp_path, trampoline, mechanism, named):
    (tmp_path / "max_stack").write_text("127\n")
    symbols, mechanisms = Symbols([trampoline]), {"inet_create": mechanism}
    naming = stack.Naming(kernel, None, {0: "inet_create"}, mechanisms, symbols, tmp_path / "max_stack")
    stacks = Stacks()
    records = drained({"kernel_size": 16, "kernel": [TEXT + 0x1000, TEXT + 0x1010]})
    naming.numbered(records, record_dtype(stack=True), stacks)
    assert stacks.get(1).kernel.frames == named


def test_user_stacks_are_refused_in_a_pid_namespace_of_its_own(monkeypatch):
    monkeypatch.setattr(pidns, "is_initial", lambda: False)
    with pytest.raises(HostError, match="pid namespace"):
        stack.StackOptions(kernel=False, user=True, slow_ns=0).constants(None, Symbols([]))


def test_a_process_is_the_same_in_a_time_namespace(proc, monkeypatch):
    """/proc/PID/stat has the start by the namespace's clock, the record by the kernel's."""
    monkeypatch.setattr("inetprobe.kernel.host.clock.namespace_offset_ns", lambda: 100 * TICK)
    proc.live(start=107)
    assert UserSymbols(proc.open, proc.root).named(SELF, [0x2010], 0).lost is None
    proc.live(start=7)
    assert UserSymbols(proc.open, proc.root).named(SELF, [0x2010], 0) == Side((), "exited")

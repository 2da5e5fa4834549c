"""Live tests run as root on a kernel that can be traced: `make live` boots VMs for them."""

import contextlib
import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import pytest

# What a forked inetprobe finds loaded already, with numpy.ma, which run_live() imports.
import inetprobe.commands.record
import inetprobe.commands.replay
import inetprobe.commands.trace
import inetprobe.record.arrow.writer
import inetprobe.trace.output.json_lines
import inetprobe.trace.output.line
import inetprobe.trace.output.tree
from inetprobe.cli.main import main
from inetprobe.kernel.host.btf import VMLINUX, Btf, offsets
from inetprobe.kernel.host.kallsyms import KALLSYMS, Symbols
from inetprobe.vm.guest.protocol import COMPILER_VARIABLE
from tests.support.paths import ROOT

importlib.import_module("numpy.ma")
HERE = Path(__file__).parent
MECHANISMS = pytest.mark.parametrize("mechanism", ["kprobe", "fentry"])
TWO_CPUS = pytest.mark.two_cpus
KERNEL = tuple(map(int, os.uname().release.split(".")[:2]))
BOOKS = ROOT / "build" / f"books-{os.uname().release}-{os.environ.get('INETPROBE_LIVE_NAME', 'live')}.jsonl"


@dataclass
class Result:
    status: int
    out: str
    err: str

    @property
    def lines(self):
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]

    @property
    def traces(self):
        return [line for line in self.lines if line["kind"] == "trace"]

    @property
    def summary(self):
        assert self.lines[-1]["kind"] == "summary"
        return self.lines[-1]


def command(*argv):
    """The command line, for tests that need a process begun the ordinary way."""
    return [sys.executable, "-m", "inetprobe", *map(str, argv)]


def become_inetprobe(argv):
    """In a forked child: `inetprobe ARGV` over file descriptors 0 to 2, and the end of the process."""
    status = 1
    try:
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(fd, mode) for fd, mode in ((0, "r"), (1, "w"), (2, "w")))
        sys.argv = ["inetprobe", *map(str, argv)]
        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  # the child of a test ends here, whatever it was
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class Forked:
    """`inetprobe ARGV` in a fork of this process, which has the libraries loaded: that saves most of a start."""

    def __init__(self, argv, out, err):
        self.returncode = None
        Symbols.of_kernel()  # read here if a module has come since, for this fork and the later ones
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            for number, fd in enumerate((os.open(os.devnull, os.O_RDONLY), out.fileno(), err.fileno())):
                os.dup2(fd, number)
            become_inetprobe(argv)

    def poll(self):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout):
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.send_signal(signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise TimeoutError(f"inetprobe was not done after {timeout} s")
            time.sleep(0.02)
        return self.returncode

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number):
        os.kill(self.pid, number)


def inetprobe(*argv, timeout=300):
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        status = Forked(argv, out, err).wait(timeout)
        out.seek(0)
        err.seek(0)
        result = Result(status, out.read(), err.read())
    return booked(argv, result)


@pytest.fixture(scope="session", autouse=True)
def _new_books():
    BOOKS.unlink(missing_ok=True)


SUMMARY = re.compile(r"inetprobe: (\S+ calls?, .*)")


def booked(argv, result):
    """Keeps the summary of every live run for the table of `make test-kernels`; the books must balance in each."""
    summary = SUMMARY.search(result.err)
    if summary and argv[0] in ("trace", "record"):
        assert "UNACCOUNTED" not in summary[1], summary[1]
        book(argv, summary[1], rules_of(result.traces) if "json" in argv else ())
    return result


def rules_of(traces):
    return {trace["rule"] for trace in traces if trace["verdict"] == "as_predicted"}


def book(argv, summary, rules=()):
    """One row of the table: the test that runs now, what a run or a part of one came to, and by which rules."""
    case = os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split(" ")[0]
    row = {"kernel": os.uname().release, "case": case, "argv": list(map(str, argv)), "summary": summary}
    row["rules"] = sorted(rules)
    BOOKS.parent.mkdir(exist_ok=True)
    with BOOKS.open("a") as books:
        books.write(json.dumps(row) + "\n")


def accounted(summary):
    """Both identities, from the summary's own numbers."""
    ended = summary["complete"] + sum(summary["incomplete"].values()) + sum(summary["lost"].values())
    if summary["entries"] != ended + summary["filtered"] + summary["in_flight"]:
        return False
    calls = summary["calls"]
    if not calls:
        return True
    known = sum(calls[where] for where in ("ok", "before", "in_create", "after", "not_told"))
    creates = calls["creates"] - sum(calls[end] for end in ("created_ok", "in_create", "after", "creates_not_told"))
    return all(0 <= rest <= summary["in_flight"] for rest in (calls["returned"] - known, creates))


def skipped(summary):
    """Programs of traced functions that the kernel did not run. Threads are followed all the same."""
    return sum(count for probe, count in summary["program_skipped"].items() if not probe.startswith("sched_"))


def shape(trace):
    """(depth, function) of each call."""
    return [(call["depth"], call["function"]) for call in trace["calls"]]


def in_socket(*calls):
    """The shape of a socket(2) with these calls below it, (depth, function) each as without it."""
    return [(0, "__sys_socket"), *((depth + 1, function) for depth, function in calls)]


class Tracer(Result):
    """A background `inetprobe trace --format json` of the whole machine."""

    process: Forked
    path: Path  # what it prints

    def read(self):
        """What it has printed by now."""
        lines = self.path.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("}\n")]


class Shared:
    """One tracer for many tests: ``run`` gives the traces of what one program did."""

    def __init__(self, tracer, mechanism):
        self._tracer = tracer
        self._mechanism = mechanism
        self.spoilt = 0  # traces that are not there, or not whole

    def run(self, program, expected):
        """The complete traces of ``program``, which makes ``expected`` sockets."""
        start = len(self._tracer.read())
        subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
        # Records come in the order in which creations end: once this one is there, so are all before it.
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
        deadline = time.monotonic() + 60
        lines = []
        while not any(line.get("pid") == os.getpid() for line in lines):
            assert time.monotonic() < deadline, "the tracer does not show this process's own socket"
            time.sleep(0.1)
            lines = self._tracer.read()[start:]
        lost = sum(line["count"] for line in lines if line["kind"] == "lost")
        traces = [line for line in lines if line["kind"] == "trace" and line["pid"] != os.getpid()]
        missing = sum(not trace["complete"] for trace in traces)
        counts = f"{len(traces)} calls, {len(traces) - missing} complete, {missing} incomplete, {lost} lost"
        book(["trace", "--mechanism", self._mechanism], counts, rules_of(traces))
        self.spoilt += expected - len(traces) + missing
        return [trace for trace in traces if trace["complete"]]

    def of_shape(self, traces, wanted):
        """Those of this shape: another lacks the system call, or a call, whose programs the kernel skipped."""
        kept = [trace for trace in traces if shape(trace) == wanted]
        self.spoilt += len(traces) - len(kept)
        return kept


@contextlib.contextmanager
def tracing(*options):
    """Traces while the body runs; afterwards the result has everything, unless the body killed it."""
    argv = ("trace", "--format", "json", *options)
    with tempfile.NamedTemporaryFile("w+") as out, tempfile.NamedTemporaryFile("w+") as err:
        tracer = Tracer(0, "", "")
        tracer.path = Path(out.name)
        tracer.process = Forked(argv, out, err)
        deadline = time.monotonic() + 120
        while "tracing" not in Path(err.name).read_text():
            assert tracer.process.poll() is None, Path(err.name).read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        try:
            yield tracer
        finally:
            tracer.process.send_signal(signal.SIGINT)
            tracer.status = tracer.process.wait(60)
        tracer.out, tracer.err = tracer.path.read_text(), Path(err.name).read_text()
        booked(argv, tracer)


@pytest.fixture
def preempting():
    """The kernel preempts itself wherever it can; can it at all? With CONFIG_PREEMPT_DYNAMIC."""
    preempt = Path("/sys/kernel/debug/sched/preempt")
    if not preempt.exists():
        subprocess.run(["mount", "-t", "debugfs", "none", "/sys/kernel/debug"], check=False)
    if not preempt.exists():
        yield False
        return
    before = preempt.read_text().partition("(")[2].partition(")")[0]
    preempt.write_text("full")
    yield True
    preempt.write_text(before)


@pytest.fixture
def preempted_scrapers(preempting):
    """A busy reader of a BPF map on each CPU; are there any? Where they are not preempted, the kernel skips nothing for
    them, and they would only take the CPUs."""
    if not preempting:
        yield False
        return
    # One on each CPU: both on one would leave the other CPU, and whatever makes sockets there, in peace.
    scrapers = [
        subprocess.Popen([sys.executable, HERE / "scraper.py", str(cpu)], stdout=subprocess.PIPE)
        for cpu in sorted(os.sched_getaffinity(0))
    ]
    try:
        assert all(scraper.stdout.readline() for scraper in scrapers), "a busy reader does not read"
        yield True
    finally:
        for scraper in scrapers:
            scraper.kill()
            scraper.communicate()


@pytest.fixture(scope="session", autouse=True)
def kernel_read_once():
    """BTF and symbols are read once for all forks, the symbols again when they have changed: the two take an
    emulated machine three seconds at each start. A process begun with ``command`` reads them itself."""
    types, read_symbols, read = Btf.of_kernel(), Symbols.of_kernel, {}
    offsets(types)  # makes its index

    def symbols(path=KALLSYMS):
        modules = frozenset(line.split()[0] for line in Path("/proc/modules").read_text().splitlines())
        state = path, modules, Path("/proc/sys/kernel/kptr_restrict").read_text()
        if state not in read:
            read.clear()
            read[state] = read_symbols(path)
        return read[state]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Btf, "of_kernel", lambda path=VMLINUX: types)
        patch.setattr(Symbols, "of_kernel", symbols)
        yield


@pytest.fixture
def compiling_here(monkeypatch):
    """Processes compile here, and not on the host of this VM."""
    monkeypatch.delenv(COMPILER_VARIABLE, raising=False)


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """No probe of ours outlives the command that set it."""
    yield
    left = [line for line in Path("/sys/kernel/tracing/kprobe_events").read_text().splitlines() if "inetprobe_" in line]
    assert not left


def pytest_configure(config):
    if os.geteuid():
        raise pytest.UsageError("the live tests need root: run make live")

    BOOKS.unlink(missing_ok=True)


# It loads SCTP, which the first of the others want absent: named by itself, it is run in a boot of its own.
collect_ignore = ["test_tutorial.py"]

# What counts on modules that are not loaded yet comes first, since SCTP stays once it is in.
FIRST = ("test_known.py", "test_sweep.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))

"""A thread whose return and end are both missed, and a later one that gets its task_struct: ``unseen_exit.py HELPER``.

The trace of the first may not be shown as the later one's. Prints how many sockets were made, how many records there
are, how many of them are incomplete, and how many traces were counted as lost.
"""

import os
import socket
import sys
import time
from pathlib import Path

from inetprobe.kernel.host import btf
from inetprobe.kernel.host.cgroups import Cgroups
from inetprobe.kernel.host.kallsyms import Symbols
from inetprobe.kernel.program import program as bpf
from inetprobe.kernel.program.target import Target
from inetprobe.kernel.trace_options import TraceOptions
from inetprobe.record.layout import INCOMPLETE_FLAGS
from tests.live.modprobe_setting import modprobe_is, shell_program

ROUNDS, AT_ONCE = 50, 20


def child(body):
    pid = os.fork()
    if not pid:
        body()
        os._exit(0)
    return pid


def make():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 0).close()


def make_one_after_another(number):
    """Children that live at once, so that they need as many task_structs, each with its turn: two sockets at once
    would need two instances of each kretprobe."""
    turns, waiting = [], []
    for _ in range(number):
        turn, give = os.pipe()
        waiting.append(child(lambda turn=turn: (os.read(turn, 1), make())))
        os.close(turn)
        turns.append(give)
    for give, pid in zip(turns, waiting, strict=True):
        os.write(give, b"!")
        os.waitpid(pid, 0)
        os.close(give)


def ask_for_a_module():
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, 200)
    except OSError:
        return
    raise AssertionError("there is no protocol 200")


def leave_a_trace(program, helper):
    """The only instance of inet_create's kretprobe is taken, so the other child's return is missed."""
    with modprobe_is(shell_program(helper, "sleep 2\nexit 1")):
        holder = child(ask_for_a_module)
        while not program.counters.read("begun"):
            time.sleep(0.01)
        os.waitpid(child(make), 0)
        os.waitpid(holder, 0)


def main(helper):
    options = TraceOptions(mechanism="kprobe", maxactive=1)
    target = Target.of_kernel(options, btf.Btf.of_kernel(), Symbols.of_kernel(), Cgroups.of_host())
    program = bpf.Program(options, target, print)
    read = program.counters.read
    end = next(link for link in program.probes.tracepoints if link.name == "sched_process_exit")
    program.probes.tracepoints.remove(end)
    os.close(end.fd)
    program.activate()
    leave_a_trace(program, helper)
    assert read("begun") - read("ended") == 1, "no return was missed: the test shows nothing"
    made = 2
    while read("begun") != read("ended") and made < ROUNDS * AT_ONCE:
        make_one_after_another(AT_ONCE)
        made += AT_ONCE
    program.deactivate()
    assert read("begun") == read("ended"), "no task_struct was used again: the test shows nothing"
    records = program.ring.drain()
    incomplete = sum(bool(flags & sum(INCOMPLETE_FLAGS)) for flags in records["flags"].tolist())
    print(made, len(records), incomplete, read("lost_return_missed"))
    program.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

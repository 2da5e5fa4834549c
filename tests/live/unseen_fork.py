"""Forks while the BPF program on sched_process_fork is detached, as if the kernel had skipped it.

Prints how many of the children are followed all the same, and how many are not.
"""

import os
import socket

from inetprobe.kernel.host import btf
from inetprobe.kernel.host.cgroups import Cgroups
from inetprobe.kernel.host.kallsyms import Symbols
from inetprobe.kernel.program import program as bpf
from inetprobe.kernel.program.target import Target
from inetprobe.kernel.trace_options import TraceOptions


def in_a_child(body):
    child = os.fork()
    if not child:
        body()
        os._exit(0)
    os.waitpid(child, 0)


def make():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 0).close()


def main():
    options = TraceOptions()
    target = Target.of_kernel(options, btf.Btf.of_kernel(), Symbols.of_kernel(), Cgroups.of_host(), follow=True)
    program = bpf.Program(options, target, print)
    program.follow(os.getpid())
    fork = next(link for link in program.probes.tracepoints if link.name == "sched_process_fork")
    program.probes.tracepoints.remove(fork)
    os.close(fork.fd)
    program.activate()
    in_a_child(make)
    in_a_child(lambda: in_a_child(make))
    program.deactivate()
    records = program.ring.drain()
    assert os.getpid() not in records["pid"]
    print(len(set(records["pid"].tolist())), "followed,", program.counters.read("unfollowed"), "not")
    program.close()


if __name__ == "__main__":
    main()

"""sk_alloc() fails in the kernel itself: in a cgroup without memory."""

import sys
from collections import Counter

from tests.live import cgroup_denial
from tests.live.conftest import HERE, accounted, in_socket, inetprobe, shape

FAILED = in_socket((0, "inet_create"), (1, "sk_alloc"), (2, "sk_prot_alloc"))


def check_verdict(trace):
    assert (trace["complete"], trace["verdict"]) == (True, "as_predicted"), trace
    assert trace["evidence"] == ["sk_prot_alloc returned NULL"]
    assert [call.get("pointer") for call in trace["calls"]] == [None, None, "NULL", "NULL"]


def test_out_of_memory_in_a_cgroup_is_traced_as_a_failed_sk_prot_alloc():
    with cgroup_denial.cgroup("inetprobe-starved") as cgroup:
        result = inetprobe("trace", "--format", "json", "--", sys.executable, HERE / "starved.py", cgroup)
    assert result.status == 0, (result.status, result.err)
    assert accounted(result.summary)
    starved = [trace for trace in result.traces if trace["errno"]]
    found = Counter(trace["stage"] for trace in starved)
    for trace in starved:
        if trace["stage"] == "inode":
            assert (trace["rule"], trace["errno"], shape(trace)) == ("inode", "ENFILE", in_socket())
        elif trace["stage"] == "descriptor":
            assert (trace["rule"], trace["errno"], shape(trace)) == ("file-memory", "ENOMEM", FAILED)
        else:
            assert shape(trace) == FAILED
            assert trace["errno"] in ("ENOBUFS", "ENOMEM")
            check_verdict(trace)
    print(f"of {len(result.traces)} sockets these found no memory: {found}")
    assert found["create"], "only inodes and files found no memory, never a sock: the test shows nothing"

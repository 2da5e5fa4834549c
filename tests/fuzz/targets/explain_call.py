"""``explain CALL``: a call pasted from strace."""

import io
import json
import os
from contextlib import redirect_stdout

from inetprobe.commands.explain.command import explain_command
from tests.fuzz import checks

DICTIONARY = (
    "socket(", "socketpair(", "AF_INET", "PF_INET6", "AF_UNIX", "SOCK_STREAM", "SOCK_RAW", "|SOCK_CLOEXEC",
    "|SOCK_NONBLOCK", "IPPROTO_ICMP", "IPPROTO_SCTP", "0x", "-1", ", [3, 4]", ") = 3", ") = -1 EPERM (Operation)",
    ") = -1 EFAULT", "/* ", " */", "cap-net-raw",
)  # fmt: skip


def run(data):
    call = os.fsdecode(data)
    if call.startswith("-"):
        return  # an option, which click reads
    for form in ("tree", "json"):
        out = io.StringIO()
        with checks.may_refuse(), redirect_stdout(out):
            explain_command.main([call, "--profile", "6.1", "--format", form], standalone_mode=False)
            checks.is_shown(out.getvalue())
            if form == "json" and out.getvalue().startswith("{"):
                json.loads(out.getvalue())

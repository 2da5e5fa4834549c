"""The filters of a command line, a line NAME=VALUE each: built, described, and asked about records."""

import os

from inetprobe.kernel.program import kernel_filter
from inetprobe.record.filter import build
from tests.fuzz import checks
from tests.support import builders

_NAMES = ("pid", "comm", "uid", "cgroup", "netns", "family", "type", "protocol", "errno")
DICTIONARY = (
    *(f"{name}=" for name in _NAMES), "failed", "module_requests", "min_duration=", "5ms", "1.5s", "µs", "!", ",",
    "*", "[!a-z]", "?", "root", "net:[4026531840]", "/proc/self/ns/net", "all", "AF_INET6", "SOCK_RAW", "IPPROTO_MPTCP",
    "NETLINK_AUDIT", "EPERM", "4294967295", "0x7fffffff", "\n",
)  # fmt: skip

_RUN = builders.run()
_RECORDS = builders.every_kind()


def run(data):
    values, flags = {}, {}
    for line in os.fsdecode(data).split("\n"):
        name, equals, value = line.partition("=")
        if name in _NAMES:
            values.setdefault(name, []).append(value)
        elif name == "min_duration":
            flags[name] = value
        elif name in ("failed", "module_requests") and not equals:
            flags[name] = True
    if any("\0" in value for words in values.values() for value in words):
        return  # no argument of a program has one
    with checks.may_refuse():
        filters = build(values, **flags)
        for part in filters.describe():
            checks.can_be_shown(part)
        assert filters.mask(_RECORDS, _RUN).shape == _RECORDS.shape
        kernel_filter.constants(filters, follow=False)

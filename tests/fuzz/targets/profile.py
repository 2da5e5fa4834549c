"""A profile, as a recording carries it: read, written again, and asked."""

import itertools
import json

from inetprobe.model.profile import Profile
from inetprobe.model.question import SocketQuestion
from tests.fuzz import checks
from tests.fuzz.mutate import mutate_json

DICTIONARY = (
    '"kernel":', '"features":', '"built_in":', '"loaded":', '"loadable":', '"blocked":', '"remedies":',
    '"left_alone":', '"aliases":', '"families":', '"registered":', '"ipv6_disabled":', '"mptcp_enabled":',
    '"ping_group_range":', '"ip_no_pmtu_disc":', '"modprobe":', '"modules_disabled":', '"file_max":',
    '"security_modules":', '"module":', '"obstacle":', '"net-pf-2-proto-132"', '"sctp"', "null", "true", "4294967295",
)  # fmt: skip

mutate = mutate_json
# Where a profile decides: the types of inetsw, protocols of modules, families of modules, what is out of range.
_ASKED = tuple(
    itertools.product((2, 10, 1, 16, 31, 45, 46), (1, 3, 5, 2 | 0o2000000, 11), (0, 1, 132, 262, -1, 2**31 - 1))
)


def run(data):
    try:
        profile = Profile.from_dict(json.loads(data))
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return  # as its docstring says; the last is json's
    written = json.dumps(profile.to_dict())
    assert json.dumps(Profile.from_dict(json.loads(written)).to_dict()) == written
    for family, type_, protocol in _ASKED:
        for caller in (True, False):
            asked = SocketQuestion(profile, family, type_, protocol, cap_net_raw=caller, ping_group_allowed=caller)
            explained = asked.explain(asked.answer())
            json.dumps(explained.to_dict()).encode()
            for line in explained.lines():
                checks.can_be_shown(line)

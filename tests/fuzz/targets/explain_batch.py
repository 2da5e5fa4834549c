"""``explain --batch``: requests as JSON lines."""

import io
import json
import sys
from contextlib import contextmanager
from types import SimpleNamespace

from inetprobe.commands.explain.command import explain_command
from tests.fuzz import checks
from tests.fuzz.mutate import mutate_json

DICTIONARY = (
    '"family": ', '"type": ', '"protocol": ', '"kernel": "6.1"', '"kernel": "3.x"', '"syscall": "socketpair"',
    '"kern": true', '"cap_net_raw": false', '"ping_group_allowed": true', '"mptcp_enabled": false',
    '"initial_netns": false', '"loaded": ["sctp"]', '"loadable": ["sctp", "smc"]', '"failures": {"alloc": "memory"}',
    '"security": "EPERM"', '"inode": "ENFILE"', '"array": "EFAULT"', '"inet6"', '"SOCK_RAW|SOCK_CLOEXEC"',
    '"IPPROTO_SCTP"', "262", "-1", "2147483647", "null", "\n", "\\ud800", "[[", "{}", "1e5", "NaN",
)  # fmt: skip


def mutate(data, rng):
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    lines[place] = mutate_json(lines[place], rng)
    return b"\n".join(lines)


def run(data):
    with _standard_streams(data) as out:
        try:
            explain_command.main(["--batch", "--profile", "6.1"], standalone_mode=False)
        except SystemExit as exit_:
            assert exit_.code in (0, 2), exit_.code
    answers = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(answers) == sum(bool(line.strip()) for line in data.split(b"\n"))
    for answer in answers:
        if "error" in answer:
            checks.is_sentence(answer["error"])
        else:
            assert answer["outcome"] in ("ok", "failed", "unknown"), answer


@contextmanager
def _standard_streams(data):
    out = io.BytesIO()
    kept = sys.stdin, sys.stdout
    sys.stdin, sys.stdout = SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(data))), SimpleNamespace(buffer=out)
    try:
        yield out
    finally:
        sys.stdin, sys.stdout = kept

"""``inetprobe explain``: what the model says a socket() would do, why, and what would change it."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import click

from inetprobe.base.errors import EXIT_USAGE, HostError, UsageError
from inetprobe.base.text import printable
from inetprobe.base.uapi import FAMILIES, PROTOCOLS, TYPES, parse
from inetprobe.base.words import result as result_text
from inetprobe.base.words import tree_branches
from inetprobe.cli.terminal import say
from inetprobe.model import question as request
from inetprobe.model.inet_create import Outcome
from inetprobe.model.profile import BUILT_IN_PROFILES, Profile
from inetprobe.model.question import REQUEST, SocketQuestion

_CAP_NET_RAW = 13
_CHUNK = 1 << 16


@click.command("explain")
@click.argument("call", required=False)
@click.option("--family", metavar="NAME", help="inet, inet6 or a number.")
@click.option("--type", "type_", metavar="NAME", help="stream, dgram, raw, … or a number; flags after |.")
@click.option("--protocol", metavar="NAME", help="tcp, udp, icmp, sctp, … or a number.  [default: 0]")
@click.option(
    "--profile",
    metavar="V",
    help=f"A kernel ({', '.join(BUILT_IN_PROFILES)}) or a recording.  [default: the running kernel]",
)
@click.option("--cap-net-raw/--no-cap-net-raw", default=None, help="Does the caller hold it?  [default: as you do]")
@click.option("--ping-group-allowed/--no-ping-group-allowed", default=None, help="Is a group in ping_group_range?")
@click.option("--mptcp-enabled/--no-mptcp-enabled", default=None, help="net.mptcp.enabled.")
@click.option("--initial-netns/--no-initial-netns", default=True, help="Is it the initial net namespace?")
@click.option("--kern", is_flag=True, help="A socket of the kernel's own.")
@click.option("--loaded", metavar="MODULE[,…]", help="Modules that are in already.")
@click.option("--loadable", metavar="MODULE[,…]", help="Modules that modprobe would find.")
@click.option("--fail", multiple=True, metavar="WHAT=WHY", help="alloc=memory|security|module, hash|init|cgroup=ERRNO.")
@click.option("--format", "form", type=click.Choice(["tree", "json"]), default="tree", show_default=True)
@click.option("--batch", is_flag=True, help=f"JSON lines in, JSON lines out; a request: {REQUEST}.")
@click.option("-q", "--quiet", is_flag=True, help="No notes.")
def explain_command(
    call: str | None,
    family: str | None,
    type_: str | None,
    protocol: str | None,
    profile: str | None,
    form: str,
    batch: bool,
    quiet: bool,
    **inputs: Any,
) -> None:
    """Say what socket() would do: the calls, the errno, why, and what would change it.

    \b
    Examples:
      inetprobe explain 'socket(AF_INET, SOCK_RAW|SOCK_CLOEXEC, IPPROTO_ICMP)' --no-cap-net-raw
      inetprobe explain --family inet --type stream --protocol sctp --profile 6.1
    """
    tell = say(quiet)
    if batch:
        if call is not None:
            raise UsageError("--batch takes its requests from stdin, and no call beside them")
        sys.exit(_batch(None if profile is None else _profile(profile, tell)))
    result = None
    if call is not None:
        if (family, type_, protocol) != (None, None, None):
            raise UsageError("give a call or --family, --type and --protocol, not both")
        numbers = request.parse_call(call)
        asked, result = numbers[:3], numbers[3]
    elif type_ is None:
        raise UsageError("give a call such as 'socket(AF_INET, SOCK_STREAM, 0)', or --type")
    else:
        asked = parse("family", family or "inet"), request.parse_type(type_), parse("protocol", protocol or "0")
    known = _profile(profile, tell)
    question = _question(asked, known, own=profile is None, **inputs)
    outcome = question.answer()
    changes = list(_changes(question, outcome))
    if form == "json":
        click.echo(_object(question, outcome)[:-1] + f', "would_change": {json.dumps(dict(changes))}}}')
    else:
        click.echo("\n".join(_tree(question, outcome, changes, result)))


def _question(
    asked: tuple[int, int, int],
    profile: Profile,
    *,
    own: bool,
    cap_net_raw: bool | None,
    ping_group_allowed: bool | None,
    mptcp_enabled: bool | None,
    initial_netns: bool,
    kern: bool,
    loaded: str | None,
    loadable: str | None,
    fail: Sequence[str],
) -> SocketQuestion:
    """``own``: what the caller is stands for this very process where the options do not say."""
    failures = {}
    for word in fail:
        kind, _, what = word.partition("=")
        failures[kind] = request.failure(kind, what)
    if cap_net_raw is None:
        cap_net_raw = _holds(_CAP_NET_RAW) if own else True
    if ping_group_allowed is None:
        span = profile.ping_group_range
        ping_group_allowed = own and span is not None and any(span[0] <= g <= span[1] for g in _groups())
    return SocketQuestion(
        profile,
        *asked,
        kern=kern,
        cap_net_raw=cap_net_raw,
        ping_group_allowed=ping_group_allowed,
        mptcp_enabled=profile.mptcp_enabled is not False if mptcp_enabled is None else mptcp_enabled,
        initial_netns=initial_netns,
        loaded=_modules("--loaded", loaded, profile),
        loadable=_modules("--loadable", loadable, profile),
        failures=failures,
    )


def _modules(option: str, words: str | None, profile: Profile) -> tuple[str, ...] | None:
    """Raises UsageError for what would silently change nothing: no module of this kernel that has to do with inetsw."""
    if words is None:
        return None
    names = tuple(word.strip() for word in words.split(",") if word.strip())
    known = (*profile.loaded, *profile.loadable, *profile.blocked)
    for name in names:
        if name not in known:
            there = ", ".join(known) or "no such module"
            raise UsageError(f"{option}: {name!r} registers nothing in inetsw on {profile.kernel}, which has {there}")
    return names


def _groups() -> set[int]:
    return {os.getegid(), *os.getgroups()}


def _holds(capability: int, status: Path = Path("/proc/self/status")) -> bool:
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)$", status.read_text(), re.MULTILINE)
    return effective is not None and bool(int(effective[1], 16) >> capability & 1)


def _profile(name: str | None, tell: Callable[[str], None]) -> Profile:
    """The built-in profile, a recording's, or the running kernel's."""
    if name is None:
        return _running(tell)
    if name in BUILT_IN_PROFILES:
        return BUILT_IN_PROFILES[name]
    if not Path(name).exists():
        raise UsageError(f"--profile {name!r} is neither a recording nor one of {', '.join(BUILT_IN_PROFILES)}")
    from inetprobe.record.arrow.reader import RecordingReader

    found = RecordingReader(Path(name)).run.profile
    if found is None:
        raise UsageError(f"the recording {name} has no profile: give a kernel instead")
    return found


def _running(tell: Callable[[str], None]) -> Profile:
    from inetprobe.kernel.host import probed_profile as profile
    from inetprobe.kernel.host.btf import Btf
    from inetprobe.kernel.host.kallsyms import Symbols

    try:
        return profile.probe(Btf.of_kernel(), Symbols.of_kernel())
    except HostError as error:
        nearest = _nearest(os.uname().release)
        tell(f"this kernel cannot be asked ({error}): this is Debian's {nearest}, another is chosen with --profile")
        return BUILT_IN_PROFILES[nearest]


def _nearest(release: str) -> str:
    numbers = {name: tuple(map(int, name.split("."))) for name in BUILT_IN_PROFILES if name != "3.x"}
    own = tuple(map(int, re.findall(r"\d+", release)[:2]))
    older = [name for name, number in numbers.items() if number <= own]
    return max(older or numbers, key=lambda name: numbers[name]) if older else "3.x"


def _changes(question: SocketQuestion, outcome: Outcome) -> Iterator[tuple[str, str | None]]:
    """Each one thing that, changed alone, would give another errno: (what, the errno then)."""
    profile = question.profile
    loaded = profile.loaded if question.loaded is None else question.loaded
    with_or_without = "without" if question.cap_net_raw else "with"
    out_or_in = "outside ping_group_range" if question.ping_group_allowed else "with a group in ping_group_range"
    enabled = not question.mptcp_enabled
    others = {
        f"{with_or_without} CAP_NET_RAW": question._replace(cap_net_raw=not question.cap_net_raw),
        out_or_in: question._replace(ping_group_allowed=not question.ping_group_allowed),
        f"with net.mptcp.enabled={int(enabled)}": question._replace(mptcp_enabled=enabled),
    }
    for module in (*profile.loaded, *profile.loadable, *profile.blocked):
        if module not in loaded:
            others[f"with {module} loaded"] = question._replace(loaded=(*loaded, module))
    for what, other in others.items():
        errno = other.answer().errno
        if errno != outcome.errno:
            yield what, errno


def _tree(
    question: SocketQuestion, outcome: Outcome, changes: list[tuple[str, str | None]], result: str | None
) -> Iterator[str]:
    head = f"{_call_text(question)} = {'-1 ' + outcome.errno if outcome.errno else 'ok'}"
    yield f"{head}  ({question.profile.kernel})"
    depths = [call.depth for call in outcome.calls]
    for index, call in enumerate(outcome.calls):
        text = f"{tree_branches(depths, index)}{call.function}({call.module or ''})"
        yield f"{text:<60}  {result_text(call.result, call.pointer)}".rstrip()
    yield f"why: {printable(question.reason(outcome))}"
    for what, errno in changes:
        yield f"{what}: {errno or 'ok'}"
    if result is not None and result != (outcome.errno or "ok"):
        yield f"the call pasted here ended with {result}: not what this machine would do"


def _call_text(question: SocketQuestion) -> str:
    kind = question.type & ~(request.SOCK_CLOEXEC | request.SOCK_NONBLOCK)
    flags = [name for name in ("SOCK_CLOEXEC", "SOCK_NONBLOCK") if question.type & getattr(request, name)]
    type_ = "|".join([TYPES.get(kind, str(kind)), *flags])
    protocol = PROTOCOLS.get(question.protocol, str(question.protocol))
    return f"socket({FAMILIES.get(question.family, question.family)}, {type_}, {protocol})"


def _batch(default: Profile | None) -> int:
    """Answers requests as they come: whatever has arrived is answered before more is waited for."""
    source, out = cast(io.BufferedReader, sys.stdin.buffer), sys.stdout.buffer
    rest = b""
    status = 0
    while chunk := source.read1(_CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        status |= _answer(lines, default, out)
    return EXIT_USAGE if status | _answer([rest], default, out) else 0


def _answer(lines: list[bytes], default: Profile | None, out: Any) -> int:
    answers, failed = [], 0
    for line in lines:
        if not line.strip():
            continue
        try:
            question = request.parse_line(line, default)
            answers.append(_object(question, question.answer()))
        except UsageError as error:
            failed = 1
            answers.append(json.dumps({"error": str(error)}))
    if answers:
        out.write(("\n".join(answers) + "\n").encode())
        out.flush()
    return failed


def _object(question: SocketQuestion, outcome: Outcome) -> str:
    calls = ", ".join([_call_object(call.function, call.depth, call.module) for call in outcome.calls])
    errno, why = json.dumps(outcome.errno), json.dumps(question.reason(outcome))
    return f'{{"errno": {errno}, "calls": [{calls}], "reason": {why}}}'


@lru_cache(maxsize=8192)
def _call_object(function: str, depth: int, module: str | None) -> str:
    fields: dict[str, str | int] = {"function": function, "depth": depth}
    if module is not None:
        fields["module"] = module
    return json.dumps(fields)

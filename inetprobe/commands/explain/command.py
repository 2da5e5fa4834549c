"""``inetprobe explain``: what the model predicts for a call, why, and what would change it; or a rule."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import click

from inetprobe.base.errors import EXIT_USAGE, HostError, UsageError
from inetprobe.base.text import printable
from inetprobe.base.uapi import parse, result_text
from inetprobe.base.words import quoted, tree_branches
from inetprobe.cli.terminal import say
from inetprobe.commands.explain import rule_page
from inetprobe.kernel.host import privileges, process
from inetprobe.model.caller import Caller
from inetprobe.model.inet_create import Outcome
from inetprobe.model.profile import BUILT_IN_PROFILES, Profile
from inetprobe.model.question import REQUEST, SocketQuestion, failure, parse_call, parse_line, parse_type
from inetprobe.model.rules import Rule

_CAP_NET_RAW = 13
_CHUNK = 1 << 16
_LONGEST = 1 << 20  # bytes of a request


@click.command("explain")
@click.argument("call", required=False)
@click.option("--family", metavar="NAME", help="inet, inet6, unix, … or a number.")
@click.option("--type", "type_", metavar="NAME", help="stream, dgram, raw, … or a number; flags after |.")
@click.option("--protocol", metavar="NAME", help="tcp, udp, icmp, sctp, … or a number.  [default: 0]")
@click.option(
    "--profile",
    metavar="V",
    help=f"A kernel ({', '.join(BUILT_IN_PROFILES)}) or a recording.  [default: the running kernel]",
)
@click.option(
    "--cap-net-raw/--no-cap-net-raw", default=None, help="Whether the caller has CAP_NET_RAW.  [default: as you do]"
)
@click.option(
    "--ping-group-allowed/--no-ping-group-allowed",
    default=None,
    help="Whether net.ipv4.ping_group_range has one of the caller's groups.",
)
@click.option("--mptcp-enabled/--no-mptcp-enabled", default=None, help="Whether the sysctl net.mptcp.enabled is on.")
@click.option(
    "--initial-netns/--no-initial-netns", default=True, help="Whether the caller is in the initial net namespace."
)
@click.option("--kern", is_flag=True, help="A socket created by the kernel itself.")
@click.option("--loaded", metavar="MODULE[,…]", help="Modules already loaded.")
@click.option("--loadable", metavar="MODULE[,…]", help="Modules that modprobe would find and load.")
@click.option(
    "--fail",
    multiple=True,
    metavar="STEP=CAUSE",
    help="Make a step fail: alloc=memory|security|module, inode=ENFILE, descriptor=EMFILE|ENFILE|ENOMEM, "
    "array=EFAULT, or security|hash|init|cgroup|post_create=ERRNO.",
)
@click.option(
    "-p",
    "--pid",
    type=click.IntRange(1),
    metavar="PID",
    help="As this process or thread would be answered: with its capability, groups and seccomp filters, which stop it "
    "for a moment to be read.",
)
@click.option("--format", "form", type=click.Choice(["tree", "json"]), default="tree", show_default=True)
@click.option(
    "--batch",
    is_flag=True,
    help=f"Read requests as JSON lines from stdin, such as {REQUEST}, for a pair with "
    '"syscall": "socketpair"; write answers as JSON lines.',
)
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
    pid: int | None,
    **inputs: Any,
) -> None:
    """Say what socket() or socketpair() would do: the calls, the errno, why, and what would change it. CALL may also
    be a rule's name.

    \b
    Examples:
      inetprobe explain 'socket(AF_INET, SOCK_RAW|SOCK_CLOEXEC, IPPROTO_ICMP)' --no-cap-net-raw
      inetprobe explain --family inet --type stream --protocol sctp --profile 6.1
      inetprobe explain cap-net-raw
      inetprobe explain 'socketpair(AF_UNIX, SOCK_STREAM, 0, [3, 4]) = 0' --profile 6.1
      inetprobe explain 'socket(AF_INET6, SOCK_DGRAM, 0)' --pid $$
    """
    tell = say(quiet)
    if batch:
        if call is not None:
            raise UsageError("--batch takes its requests from stdin, not from the command line")
        if pid is not None:
            raise UsageError("--batch answers for no live process: give one call with --pid")
        sys.exit(_batch(None if profile is None else _profile(profile, tell)))
    syscall, result = "socket", None  # of a pasted call
    rules = {rule.value: rule for rule in Rule}
    if call in rules:
        click.echo(rule_page.of_rule(rules[call]), nl=False)
        return
    if call is not None:
        if (family, type_, protocol) != (None, None, None):
            raise UsageError("give a call or --family, --type and --protocol, not both")
        syscall, numbers, result = parse_call(call)
        if (syscall, result) == ("socketpair", "EFAULT"):  # of which the paste shows no more
            inputs["fail"] = (*inputs["fail"], "array=EFAULT")
    elif type_ is None:
        raise UsageError("give a call such as 'socket(AF_INET, SOCK_STREAM, 0)', or --type")
    else:
        numbers = parse("family", family or "inet"), parse_type(type_), parse("protocol", protocol or "0")
    caller = None if pid is None else process.caller(pid)
    asked = _question(syscall, numbers, _profile(profile, tell), for_self=profile is None, caller=caller, **inputs)
    outcome = asked.answer()
    changes = list(_changes(asked, outcome))
    if form == "json":
        click.echo(_object(asked, outcome)[:-1] + f', "would_change": {json.dumps(dict(changes))}}}')
    else:
        click.echo("\n".join(_tree(asked, outcome, changes, result)))


def _question(
    syscall: str,
    numbers: tuple[int, int, int],
    profile: Profile,
    *,
    for_self: bool,
    caller: Caller | None,
    cap_net_raw: bool | None,
    ping_group_allowed: bool | None,
    mptcp_enabled: bool | None,
    initial_netns: bool,
    kern: bool,
    loaded: str | None,
    loadable: str | None,
    fail: Sequence[str],
) -> SocketQuestion:
    """``numbers`` are family, type and protocol. ``for_self``: without ``caller`` this process is the caller. Options
    come before what is known of either."""
    failures = {}
    for word in fail:
        step, _, cause = word.partition("=")
        failures[step] = failure(step, cause)
    if cap_net_raw is None:
        own = _CAP_NET_RAW in privileges.effective() if for_self else True
        cap_net_raw = own if caller is None else caller.cap_net_raw
    if ping_group_allowed is None:
        span = profile.ping_group_range
        groups = caller.groups if caller is not None else _groups() if for_self else ()
        ping_group_allowed = span is not None and any(span[0] <= group <= span[1] for group in groups)
    return SocketQuestion(
        profile,
        *numbers,
        kern=kern,
        cap_net_raw=cap_net_raw,
        ping_group_allowed=ping_group_allowed,
        mptcp_enabled=profile.mptcp_enabled is not False if mptcp_enabled is None else mptcp_enabled,
        initial_netns=initial_netns,
        loaded=_modules("--loaded", loaded, profile),
        loadable=_modules("--loadable", loadable, profile),
        failures=failures,
        caller=caller,
        syscall=syscall,
    )


def _modules(option: str, words: str | None, profile: Profile) -> tuple[str, ...] | None:
    """The names in an option. Raises UsageError for a module that registers nothing in inetsw on this kernel."""
    if words is None:
        return None
    names = tuple(word.strip() for word in words.split(",") if word.strip())
    modules = (*profile.loaded, *profile.loadable, *profile.blocked)
    for name in names:
        if name not in modules:
            listed = ", ".join(modules) or "no module that does"
            raise UsageError(
                f"{option}: {quoted(name)} registers nothing in inetsw on {profile.kernel}, which has {listed}"
            )
    return names


def _groups() -> set[int]:
    return {os.getegid(), *os.getgroups()}


def _profile(name: str | None, tell: Callable[[str], None]) -> Profile:
    """A built-in profile, that of a recording, or that of the running kernel."""
    if name is None:
        return _running(tell)
    if name in BUILT_IN_PROFILES:
        return BUILT_IN_PROFILES[name]
    if not Path(name).exists():
        raise UsageError(f"--profile {quoted(name)} is neither a recording nor one of {', '.join(BUILT_IN_PROFILES)}")
    from inetprobe.record.arrow.reader import RecordingReader

    profile = RecordingReader(Path(name)).run.profile
    if profile is None:
        raise UsageError(f"the recording {name} has no profile: give a kernel instead")
    return profile


def _running(tell: Callable[[str], None]) -> Profile:
    from inetprobe.kernel.host import probed_profile
    from inetprobe.kernel.host.btf import Btf
    from inetprobe.kernel.host.kallsyms import Symbols

    try:
        return probed_profile.probe(Btf.of_kernel(), Symbols.of_kernel())
    except HostError as error:
        nearest = _nearest(os.uname().release)
        tell(f"cannot probe this kernel ({error}): this is Debian's {nearest}, choose another with --profile")
        return BUILT_IN_PROFILES[nearest]


def _nearest(release: str) -> str:
    numbers = {name: tuple(map(int, name.split("."))) for name in BUILT_IN_PROFILES if name != "3.x"}
    running = tuple(map(int, re.findall(r"\d+", release)[:2]))
    older = [name for name, number in numbers.items() if number <= running]
    return max(older, key=lambda name: numbers[name]) if older else "3.x"


def _changes(question: SocketQuestion, outcome: Outcome) -> Iterator[tuple[str, str | None]]:
    """Each single change that would give another outcome: (the change, the errno after it, or ``unknown``)."""
    profile = question.profile
    loaded = profile.loaded if question.loaded is None else question.loaded
    with_or_without = "without" if question.cap_net_raw else "with"
    out_or_in = "outside ping_group_range" if question.ping_group_allowed else "with a group in ping_group_range"
    enabled = not question.mptcp_enabled
    changed = {
        f"{with_or_without} CAP_NET_RAW": question._replace(cap_net_raw=not question.cap_net_raw),
        out_or_in: question._replace(ping_group_allowed=not question.ping_group_allowed),
        f"with net.mptcp.enabled={int(enabled)}": question._replace(mptcp_enabled=enabled),
    }
    if profile.ipv6_disabled:
        changed["with IPv6 enabled"] = question._replace(profile=replace(profile, ipv6_disabled=False))
    if question.caller is not None and question.caller.filters:
        changed["without its seccomp filters"] = question._replace(caller=question.caller._replace(filters=()))
    for module in (*profile.loaded, *profile.loadable, *profile.blocked):
        if module not in loaded:
            changed[f"with {module} loaded"] = question._replace(loaded=(*loaded, module))
    for change, other in changed.items():
        after = other.answer()
        if (after.errno, after.word) != (outcome.errno, outcome.word):
            yield change, after.errno or ("unknown" if after.word == "unknown" else None)


def _tree(
    question: SocketQuestion, outcome: Outcome, changes: list[tuple[str, str | None]], result: str | None
) -> Iterator[str]:
    yield f"{rule_page.call(question, outcome)}  ({question.profile.kernel})"
    depths = [call.depth for call in outcome.calls]
    for index, call in enumerate(outcome.calls):
        text = f"{tree_branches(depths, index)}{call.function}({call.module or ''})"
        yield f"{text:<60}  {result_text(call.result, call.pointer)}".rstrip()
    yield from map(printable, question.explain(outcome).lines())
    for change, errno in changes:
        yield f"{change}: {errno or 'ok'}"
    if outcome.word != "unknown" and result is not None and result != (outcome.errno or "ok"):
        yield f"the pasted call ended with {result}: this machine would not return that"


def _batch(default: Profile | None) -> int:
    """Answers requests as they arrive: every complete line is answered before the next read."""
    source, out = cast(io.BufferedReader, sys.stdin.buffer), sys.stdout.buffer
    rest = b""
    status = 0
    while chunk := source.read1(_CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        status |= _answer(lines, default, out)
        if len(rest) > _LONGEST:
            raise UsageError("a line of stdin is longer than 1 MiB: --batch takes a small JSON object a line")
    return EXIT_USAGE if status | _answer([rest], default, out) else 0


def _answer(lines: list[bytes], default: Profile | None, out: Any) -> int:
    answers, failed = [], 0
    for line in lines:
        if not line.strip():
            continue
        try:
            question = parse_line(line, default)
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
    head = {"outcome": outcome.word, "errno": outcome.errno, "stage": outcome.rule.stage}
    why = {"rule": outcome.rule, **question.explain(outcome).to_dict()}
    return f'{json.dumps(head)[:-1]}, "calls": [{calls}], {json.dumps(why)[1:]}'


@lru_cache(maxsize=8192)
def _call_object(function: str, depth: int, module: str | None) -> str:
    fields: dict[str, str | int] = {"function": function, "depth": depth}
    if module is not None:
        fields["module"] = module
    return json.dumps(fields)

"""The requests of ``explain``: a call pasted from strace, or a JSON line of ``--batch``; and their answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from inetprobe.base.errors import UsageError
from inetprobe.base.uapi import SOCK_CLOEXEC, SOCK_NONBLOCK, errno_name, parse
from inetprobe.base.words import quoted
from inetprobe.model import seccomp, sys_socket
from inetprobe.model.caller import Caller
from inetprobe.model.explanation import Explanation, Request, explain
from inetprobe.model.inet_create import Outcome
from inetprobe.model.profile import BUILT_IN_PROFILES, Profile
from inetprobe.model.protocols import UNITS
from inetprobe.model.rules import Rule
from inetprobe.model.world import FAILURES, Machine, known_modules

#: An example of a line of ``--batch``.
REQUEST = '{"family": "inet", "type": "stream", "protocol": 0}'
_FLAGS = {"SOCK_NONBLOCK": SOCK_NONBLOCK, "SOCK_CLOEXEC": SOCK_CLOEXEC}
_CALL = re.compile(
    r"\b(?:socket|(socketpair))\s*\(\s*([^,()]+),\s*([^,()]+),\s*([^,()]+)(?(1)(?:,\s*(?:\[[^]()]*\]|[^,()]+))?)\)"
    r"(?:\s*=\s*-1\s+(E[A-Z0-9]+)|\s*=\s*(\d+))?"
)
_COMMENT = re.compile(r"/\*.*?\*/")


class SocketQuestion(NamedTuple):
    """One request, and the machine and the caller that it is asked of.

    ``type`` may carry flags. ``loaded`` and ``loadable`` are None for those of the profile. ``failures`` is as for
    ``Machine``. ``caller`` is a live process, whose seccomp filters come before all else. ``syscall`` is a key of
    SYSCALLS.
    """

    profile: Profile
    family: int
    type: int
    protocol: int
    kern: bool = False
    cap_net_raw: bool = True
    ping_group_allowed: bool = False
    mptcp_enabled: bool = True
    initial_netns: bool = True
    loaded: tuple[str, ...] | None = None
    loadable: tuple[str, ...] | None = None
    failures: Mapping[str, str] = MappingProxyType({})
    caller: Caller | None = None
    syscall: str = "socket"

    def answer(self) -> Outcome:
        """The outcome. Raises UsageError if the kernel itself is to make a pair of sockets."""
        ask = sys_socket.kernel_socket if self.kern else SYSCALLS[self.syscall]
        if self.kern and self.syscall == "socketpair":
            raise UsageError("the kernel itself makes no pairs of sockets: leave out kern, or ask about socket()")
        request = self.family, self.type, self.protocol
        if self.caller is not None and self.caller.filters:
            said = seccomp.answer(self.caller.filters, self.caller.machine, *request, self.syscall)
            if not said.passes:
                errno = errno_name(said.errno) if said.errno else None
                return Outcome(Rule.SECCOMP, errno, seccomp=said)
        machine = Machine(
            _with_aliases(self.profile, known_modules(self.profile, self.loadable or ())),
            loaded=self.loaded,
            loadable=self.loadable,
            cap_net_raw=self.cap_net_raw,
            ping_group_allowed=self.ping_group_allowed,
            mptcp_enabled=self.mptcp_enabled,
            initial_netns=self.initial_netns,
            failures=self.failures,
        )
        return ask(machine, *request)

    def explain(self, outcome: Outcome, *, seen: bool = False) -> Explanation:
        """Why it ended in ``outcome``; ``seen`` as for ``Request``."""
        type_ = self.type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)
        return explain(Request(self.family, type_, self.protocol, self.profile, seen, self.caller), outcome)


#: The system calls that can be asked about.
SYSCALLS = {"socket": sys_socket.socket, "socketpair": sys_socket.socketpair}


@lru_cache(maxsize=256)
def _with_aliases(profile: Profile, loadable: tuple[str, ...]) -> Profile:
    """``profile`` with upstream's aliases for the ``loadable`` modules that have none on this kernel."""
    without = [name for name in loadable if name not in profile.aliases.values()]
    if not without:
        return profile
    upstream = {alias: name for name in without for alias in UNITS[name].aliases}
    return replace(profile, aliases={**upstream, **profile.aliases})


def parse_call(text: str) -> tuple[str, tuple[int, int, int], str | None]:
    """(system call, (family, type with its flags, protocol), result) of ``socket(AF_INET, SOCK_STREAM, 0) = -1 EPERM``.

    The result is an errno's name, ``"ok"``, or None if the text has none. Raises UsageError.
    """
    match = _CALL.search(_COMMENT.sub("", text))
    if match is None:
        raise UsageError(
            f"cannot parse {quoted(text)} as a call of socket() or socketpair(): give one such as "
            "'socket(AF_INET, SOCK_STREAM, 0)'"
        )
    pair, family, type_, protocol, failed, descriptor = match.groups()
    result = failed or ("ok" if descriptor is not None else None)
    return pair or "socket", (parse("family", family), parse_type(type_), parse("protocol", protocol)), result


def parse_type(text: str) -> int:
    """``SOCK_RAW|SOCK_CLOEXEC`` or a number. Raises UsageError."""
    value = 0
    for word in text.split("|"):
        name = word.strip().upper()
        value |= _FLAGS[name] if name in _FLAGS else parse("type", word)
    return value


def parse_line(line: str | bytes, default: Profile | None) -> SocketQuestion:
    """One line of ``--batch``; ``default`` is the profile for a line without a kernel. Raises UsageError."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"this is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise UsageError(f"a request is an object such as {REQUEST}")
    values: dict[str, Any] = {"profile": default}
    for key, value in data.items():
        reader = _KEYS.get(key)
        if reader is None:
            raise UsageError(f"unknown key {quoted(key)}: a request has {', '.join(_KEYS)}")
        values["profile" if key == "kernel" else key] = reader(key, value)
    for key in ("family", "type", "protocol"):
        if key not in values:
            raise UsageError(f"the request has no {key}: give one, such as {REQUEST}")
    if values["profile"] is None:
        raise UsageError(f"the request has no kernel: one of {', '.join(BUILT_IN_PROFILES)}")
    return SocketQuestion(**values)


def kernel(name: str) -> Profile:
    """The built-in profile of this name. Raises UsageError."""
    profile = BUILT_IN_PROFILES.get(name)
    if profile is None:
        raise UsageError(f"unknown kernel {quoted(name)}: one of {', '.join(BUILT_IN_PROFILES)}")
    return profile


def failure(step: str, cause: str) -> str:
    """The cause of a failure, checked: one of those of FAILURES, or an errno's name. Raises UsageError."""
    if step not in FAILURES:
        raise UsageError(f"unknown failure {quoted(step)}: one of {', '.join(FAILURES)}")
    causes = FAILURES[step]
    if causes is None:
        return errno_name(parse("errno", cause))
    if cause not in causes:
        raise UsageError(f"unknown cause {quoted(cause)} of {step}: one of {', '.join(causes)}")
    return cause


def _integer(key: str, value: Any) -> int:
    if isinstance(value, str):
        value = parse_type(value) if key == "type" else parse(key, value)
    if type(value) is not int or not -(1 << 31) <= value < 1 << 31:
        raise UsageError(f"{key} {quoted(value)} is neither a name nor a C int")
    return value


def _syscall(key: str, value: Any) -> str:
    if value not in tuple(SYSCALLS):
        raise UsageError(f"{key} {quoted(value)} is none of {', '.join(SYSCALLS)}")
    return str(value)


def _truth(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{key} {quoted(value)} is neither true nor false")
    return value


def _modules(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise UsageError(f"{key} {quoted(value)} is not a list of module names")
    return tuple(dict.fromkeys(value))


def _failures(key: str, value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(cause, str) for cause in value.values()):
        raise UsageError(f'{key} {quoted(value)} is not an object such as {{"alloc": "memory"}}')
    return {step: failure(step, cause) for step, cause in value.items()}


def _profile(key: str, value: Any) -> Profile:
    if not isinstance(value, str):
        raise UsageError(f"{key} {quoted(value)} is not a kernel's name")
    return kernel(value)


_KEYS: Mapping[str, Callable[[str, Any], Any]] = {
    "kernel": _profile,
    "syscall": _syscall,
    "family": _integer,
    "type": _integer,
    "protocol": _integer,
    "kern": _truth,
    "cap_net_raw": _truth,
    "ping_group_allowed": _truth,
    "mptcp_enabled": _truth,
    "initial_netns": _truth,
    "loaded": _modules,
    "loadable": _modules,
    "failures": _failures,
}

"""The security modules (LSMs) that may refuse a socket, by their functions: the one that did is then known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from inetprobe.model.rules import Rule

_NAMES = {"apparmor": "AppArmor", "selinux": "SELinux", "smack": "Smack", "bpf_lsm": "a BPF LSM program"}
#: For people, a module that Linux does not have.
ANOTHER = "another security module"
# Those of Linux 7.2 with neither of the two hooks.
_WITHOUT_HOOKS = frozenset(
    {"capability", "lockdown", "landlock", "yama", "loadpin", "safesetid", "integrity", "ima", "evm", "ipe", "tomoyo"}
)
_CREATE, _POST_CREATE = "_socket_create", "_socket_post_create"


#: The modules' functions for security_socket_create() and security_socket_post_create() (security/security.c).
HOOKS = tuple(f"{module}{hook}" for module in _NAMES for hook in (_CREATE, _POST_CREATE))


def deciding(active: Sequence[str], rule: Rule) -> list[str]:
    """The ``active`` modules, named as in /sys/kernel/security/lsm, that can refuse by ``rule``; for people.

    Smack has no socket_create hook (security/smack/smack_lsm.c).
    """
    without = _WITHOUT_HOOKS if rule is Rule.POST_CREATE else _WITHOUT_HOOKS | {"smack"}
    hooked = ("bpf_lsm" if name == "bpf" else name for name in active if name not in without)
    return list(dict.fromkeys(_NAMES.get(name, ANOTHER) for name in hooked))


class Refusal(NamedTuple):
    """A module's function that was seen to return ``errno``, a name."""

    function: str
    errno: str

    @property
    def is_after(self) -> bool:
        """Had the sock been made?"""
        return self.function.endswith(_POST_CREATE)

    @property
    def rule(self) -> Rule:
        """The rule by which the call then fails."""
        return Rule.POST_CREATE if self.is_after else Rule.SECURITY

    @property
    def module(self) -> str:
        """For people."""
        return _NAMES[self.function.removesuffix(_POST_CREATE if self.is_after else _CREATE)]

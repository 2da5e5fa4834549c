"""KVM where it really boots this kernel, software emulation where not.

``/dev/kvm`` existing says little: on some machines (nested virtualisation above all) it opens, and a stock kernel then
hangs in its first instructions. So the first boot of a kernel is tried with KVM, a silent console ends it, and the
result is remembered for that kernel on this host kernel.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from inetprobe.base import cache
from inetprobe.base.errors import UsageError
from inetprobe.base.trust import distrust
from inetprobe.vm.debian import Progress

KVM_DEVICE = Path("/dev/kvm")
KVM_SILENCE_S = 8.0
"""A kernel that boots on KVM is up in three to ten seconds, and its console is never silent for this long."""
CHOICES = ("auto", "kvm", "tcg")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to boot, and why."""

    kvm: bool
    why: str
    boot_timeout_s: float
    trial: bool = False
    """A first try: if the boot fails, the next attempt follows."""
    may_fail: bool = False
    """It works, but for a boot now and then: if that fails, the next attempt follows."""

    @property
    def silence_s(self) -> float | None:
        """How long the console may be silent before the boot counts as hung, in seconds; None: any time."""
        return KVM_SILENCE_S if self.trial else None

    @property
    def name(self) -> str:
        """For the progress line."""
        return "KVM" if self.kvm else "software emulation"


class KvmHistory:
    """Whether KVM booted a kernel on this host, cached in a file; ``say`` is told why it cannot be."""

    def __init__(self, folder: Path, kernel: Path, say: Progress) -> None:
        self._say = say
        identity = f"{kernel.resolve()} {kernel.stat().st_size} {platform.release()} {platform.node()}"
        self._file = folder / "kvm" / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"

    def recall(self) -> bool | None:
        """True: it boots. False: it does not. None: unknown."""
        try:
            if (why := distrust(self._file)) is not None:
                self._say(f"what was learnt about KVM is not used: {why}")
                return None
            content = json.loads(self._file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return content["boots"] if isinstance(content, dict) and isinstance(content.get("boots"), bool) else None

    def remember(self, boots: bool) -> None:
        """Stores the result; no half-written file is left behind."""
        try:
            why = cache.create(self._file.parent)
            if why is None:
                temporary = self._file.with_suffix(f".{os.getpid()}")
                temporary.write_text(json.dumps({"boots": boots}) + "\n")
                temporary.replace(self._file)
        except OSError as error:
            why = error.strerror
        if why is not None:
            self._say(f"what was learnt about KVM is not cached in {self._file.parent}: {why}")


def obstacle(device: Path = KVM_DEVICE) -> str | None:
    """Why KVM cannot be tried; None if it can."""
    if not device.exists():
        return f"this machine has no {device}"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"{device} may not be opened by this user"
    return None


def plan(accel: str, known: bool | None, obstacle: str | None, boot_timeout_s: float) -> list[Attempt]:
    """The attempts to make, in order. Raises UsageError for an unknown ``accel``."""
    if accel not in CHOICES:
        raise UsageError(f"unknown accelerator '{accel}': use one of {', '.join(CHOICES)}")
    if accel == "tcg":
        return _emulations("as asked", boot_timeout_s)
    if accel == "kvm":
        return [Attempt(True, "as asked", boot_timeout_s)]
    if obstacle is not None:
        return _emulations(obstacle, boot_timeout_s)
    if known is True:
        return [Attempt(True, "it booted this kernel before", boot_timeout_s)]
    fallback = _emulations("KVM is here, but this kernel does not boot on it", boot_timeout_s)
    if known is False:
        return fallback
    return [Attempt(True, "a first try on this machine", boot_timeout_s, trial=True), *fallback]


def _emulations(why: str, boot_timeout_s: float) -> list[Attempt]:
    # Seen with QEMU 10.0 and four virtual CPUs on two: one slept although its timer was due, and RCU waited for it. A
    # machine that is only slow gets the whole time in the last attempt.
    again = "the last boot failed, as an emulated one may: once more"
    hasty = boot_timeout_s / 3
    return [
        Attempt(False, why, hasty, may_fail=True),
        Attempt(False, again, hasty, may_fail=True),
        Attempt(False, again, boot_timeout_s),
    ]

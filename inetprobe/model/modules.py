"""Modules: what the kernel asked modprobe for, what keeps a module from being loaded, and how to get it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from inetprobe.base.uapi import ERRNOS
from inetprobe.base.words import listed
from inetprobe.model.fix import Fix
from inetprobe.model.inet_create import PredictedCall
from inetprobe.model.profile import Profile
from inetprobe.model.protocols import BUILT_IN, Unit
from inetprobe.model.world import LOADED

#: A name that the kernel asked modprobe for, and the result of __request_module(); None: it was not seen to return.
Requested = tuple[str, int | None]


def requests(calls: Iterable[PredictedCall]) -> list[Requested]:
    """The modules that this socket asked for, not a nested one, each with the result of __request_module()."""
    return [(call.module, call.result) for call in calls if call.module is not None and call.depth == 1]


def autoload(profile: Profile, requested: Sequence[Requested]) -> tuple[str, ...]:
    """The modules that the kernel asked for, and whether modprobe loaded them."""
    if not profile.features.request_module:
        return ("this kernel has no modules (CONFIG_MODULES is not set)",)
    if not requested:
        return ()
    blocked = [profile.aliases.get(name) in profile.blocked for name, _ in requested]
    modprobe = _modprobe([result for _, result in requested], blocked)
    return (f"the kernel asked for {listed((name for name, _ in requested), 'and')}, {modprobe}",)


_ORDINALS = ("first", "second")


def _modprobe(results: Sequence[int | None], blocked: Sequence[bool]) -> str:
    """The work of modprobe; ``blocked`` says for each request whether it leads to a module that must not be loaded."""
    error = next((result for result in results if result is not None and result < 0), None)
    if error is not None:
        name = ERRNOS.get(-error, str(-error))
        why = {"ENOENT": "there is no such program, or autoloading is off (/proc/sys/kernel/modprobe)"}.get(name, name)
        return f"but could not run modprobe: {why}"
    if any(blocked) and all(result != LOADED or barred for result, barred in zip(results, blocked, strict=True)):
        # modprobe's exit status is 0 for a blacklisted module that it does not load, as is that of /bin/true instead.
        which = listed((word for word, result in zip(_ORDINALS, results, strict=False) if result == LOADED), "and")
        none = "modprobe loaded neither" if len(results) == 2 else "modprobe did not load it"
        return f"{none}, though its exit status was 0 for the {which}" if LOADED in results else none
    if len(results) == 2 and all(result == LOADED for result in results):
        return "modprobe loaded both and neither registered it"
    if LOADED in results:
        which = "the first" if results[0] == LOADED else "the second"
        return f"modprobe loaded a module for {which}, which did not register it"
    return "modprobe found neither" if len(results) == 2 else "modprobe did not find it"


def way_to(unit: Unit, profile: Profile, requested: Sequence[Requested]) -> tuple[tuple[str, ...], tuple[Fix, ...]]:
    """What this machine has of a module that would register the protocol, and how to get it."""
    name = unit.name
    if name in BUILT_IN or not profile.features.request_module:
        # Never a word of modprobe where there are no modules.
        absent = () if not profile.features.request_module else (f"{profile.kernel} is built without {name}",)
        return absent, (Fix(f"use a kernel that is built with {name}"),)
    if name in profile.blocked:
        on_disk = (f"{name} is on this machine but {profile.blocked[name]}",)
        remedy = profile.remedies.get(name)
        return on_disk, (Fix(f"modprobe {name}", "widens") if remedy is None else Fix(remedy, "weakens"),)
    not_found = any(alias in unit.aliases and result != LOADED for alias, result in requested)
    if not not_found and name in (*profile.loadable, *profile.loaded):
        return (), (Fix(f"modprobe {name}", "widens"),)
    return (), (Fix(f"install the kernel module {name}, or remove the line that blacklists it", "widens"),)

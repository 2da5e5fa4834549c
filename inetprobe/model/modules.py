"""Modules: what the kernel asked modprobe for, what keeps a module from being loaded, and how to get it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from inetprobe.base.uapi import ERRNOS
from inetprobe.base.words import listed
from inetprobe.model.fix import Effect, Fix
from inetprobe.model.inet_create import PredictedCall
from inetprobe.model.profile import WITHOUT_SOCKETS, Profile
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
    modprobe = _modprobe([result for _, result in requested], [_is_barred(name, profile) for name, _ in requested])
    return (f"the kernel asked for {listed((name for name, _ in requested), 'and')}, {modprobe}",)


def _is_barred(name: str, profile: Profile) -> bool:
    """Does ``name`` lead to a module that must not be loaded?"""
    module, family = profile.aliases.get(name), (profile.families or {}).get(name)
    if profile.modules_disabled and (module is not None or family is not None):
        return True
    return module in profile.blocked or (family is not None and family.obstacle is not None)


_ORDINALS = ("first", "second")


def _modprobe(results: Sequence[int | None], barred: Sequence[bool]) -> str:
    """The work of modprobe; ``barred`` says for each request whether it leads to a module that must not be loaded."""
    error = next((result for result in results if result is not None and result < 0), None)
    if error is not None:
        name = ERRNOS.get(-error, str(-error))
        why = {"ENOENT": "there is no such program, or autoloading is off (/proc/sys/kernel/modprobe)"}.get(name, name)
        return f"but could not run modprobe: {why}"
    if len(results) == 1:  # a family's: no exit status tells whether modprobe found a module
        none = "modprobe did not load it"
        if LOADED not in results:
            return none
        return f"{none}, though its exit status was 0" if any(barred) else "modprobe gave status 0"
    if any(barred) and all(result != LOADED or bar for result, bar in zip(results, barred, strict=True)):
        # modprobe's exit status is 0 for a blacklisted module that it does not load, as is that of /bin/true instead.
        which = listed((word for word, result in zip(_ORDINALS, results, strict=False) if result == LOADED), "and")
        none = "modprobe loaded neither"
        return f"{none}, though its exit status was 0 for the {which}" if LOADED in results else none
    if all(result == LOADED for result in results):
        return "modprobe loaded both and neither registered it"
    if LOADED in results:
        which = "the first" if results[0] == LOADED else "the second"
        return f"modprobe loaded a module for {which}, which did not register it"
    return "modprobe found neither"


def way_to(unit: Unit, profile: Profile, requested: Sequence[Requested]) -> tuple[tuple[str, ...], tuple[Fix, ...]]:
    """What this machine has of a module that would register the protocol, and how to get it."""
    name = unit.name
    if name in BUILT_IN or not profile.features.request_module:
        # Never a word of modprobe where there are no modules.
        absent = () if not profile.features.request_module else (f"{profile.kernel} is built without {name}",)
        return absent, (Fix(f"use a kernel that is built with {name}"),)
    if name in profile.blocked:
        return _way_past(profile, name, profile.blocked[name], profile.remedies.get(name))
    # Where modprobe did not run, or could load nothing, its result does not tell what it would have found.
    not_found = any(alias in unit.aliases and result != LOADED for alias, result in requested)
    if name in (*profile.loadable, *profile.loaded) and (not not_found or _forbidden(profile)):
        return _way_past(profile, name)
    install = Fix(f"install the kernel module {name}, or remove the line that blacklists it", "widens")
    return _forbidden(profile), (install,)


def way_to_family(alias: str, family: str, profile: Profile) -> tuple[tuple[str, ...], tuple[Fix, ...]]:
    """What this machine has of an address family's module, whose alias is net-pf-N, and how to get it."""
    if family in WITHOUT_SOCKETS and alias not in (profile.families or ()):
        return (f"Linux makes no sockets of {family}",), (Fix("pass another family, such as AF_INET (2)"),)
    if not profile.features.request_module:
        return (), (Fix(f"use a kernel with {family}"),)
    look = Fix(f"see what keeps its module away: modprobe -n -v {alias}")
    if profile.families is None:
        evidence, fix = _way_past(profile, alias)
        return evidence, fix if evidence else (look, *fix)
    if alias not in profile.families:
        install = Fix(f"install a kernel module with the alias {alias}, or use a kernel with {family}", "widens")
        return (f"no module on this machine has the alias {alias}", *_forbidden(profile)), (install,)
    found = profile.families[alias]
    evidence, fix = _way_past(profile, found.module, found.obstacle, found.remedy)
    return (evidence, fix) if evidence else ((f"its module {found.module} is on this machine",), (look, *fix))


def _way_past(
    profile: Profile, name: str, obstacle: str | None = None, remedy: str | None = None
) -> tuple[tuple[str, ...], tuple[Fix, ...]]:
    """What keeps a module of this machine from being loaded, and how to load it nevertheless."""
    on_disk = () if obstacle is None else (f"{name} is on this machine but {obstacle}",)
    evidence = (*on_disk, *_forbidden(profile))
    by_hand = f"modprobe {name}"
    unblock = (remedy or "").removesuffix(f", or {by_hand}")
    effect: Effect = "weakens" if remedy else "widens"
    if profile.modules_disabled:
        # systemd loads what is named there before it sets sysctls; it leaves out blacklisted modules as well.
        at_boot = f"name {name} in a file of /etc/modules-load.d, and boot"
        return evidence, (Fix(f"{unblock}, {at_boot}" if unblock else at_boot, effect),)
    if profile.modprobe == "":
        load = by_hand if remedy is None or remedy.endswith(by_hand) else f"{remedy}, then {by_hand}"
        autoload = () if on_disk else (Fix("sysctl -w kernel.modprobe=/sbin/modprobe", "weakens"),)
        return evidence, (Fix(load, effect), *autoload)
    return evidence, (Fix(remedy or by_hand, effect),)


def _forbidden(profile: Profile) -> tuple[str, ...]:
    """What forbids to load any module, or the kernel to have one loaded.

    kernel/module/main.c may_init_module(), kernel/module/kmod.c __request_module().
    """
    if profile.modules_disabled:
        return ("kernel.modules_disabled is 1: no module can be loaded until the next boot",)
    if profile.modprobe == "":
        return ("/proc/sys/kernel/modprobe is empty: the kernel does not load modules by itself",)
    return ()

"""Why a seccomp filter refuses a call, and whose it likely is: the parts of an explanation."""

from __future__ import annotations

from collections.abc import Mapping

from inetprobe.base.cgroup_owner import Owner
from inetprobe.base.uapi import ERRNOS, SIGKILL, SIGSYS
from inetprobe.model.caller import Caller
from inetprobe.model.fix import Fix
from inetprobe.model.seccomp import Action, FilterAnswer

#: Reason, evidence and fix, as in ``model.explanation.Explanation``.
Parts = tuple[str, tuple[str, ...], tuple[Fix, ...]]

_ANSWERS: Mapping[Action, str] = {
    Action.KILL_PROCESS: "kills the process (SIGSYS)",
    Action.KILL_THREAD: "kills the thread (SIGSYS)",
    Action.TRAP: "sends SIGSYS to the thread, whose handler decides",
    Action.USER_NOTIF: "leaves the call to a supervisor, whose answer is not known",
    Action.TRACE: "leaves the call to a tracer, and there is none",
}


def of_filter(answer: FilterAnswer, caller: Caller) -> Parts:
    """Of a refusal by one of the caller's seccomp filters."""
    errno = ERRNOS.get(answer.errno, str(answer.errno))
    does = _ANSWERS.get(answer.action) or f"refuses it with {errno}"
    which = f"filter {answer.filter} of {answer.filters} of {caller.name}, in the order of installation"
    evidence = f"{which}, answers {answer.action.name}{f'({errno})' if answer.action is Action.ERRNO else ''}"
    whose, fix = whose_filter(errno if answer.action is Action.ERRNO else None, caller.owner)
    return (f"a seccomp filter {does}", (evidence, whose), (fix,))


def of_some_filter(call: str, errno: str | None) -> Parts:
    """Of a refusal of ``call`` that was seen, by a filter that was not."""
    ask = Fix(f"inetprobe explain '{call}' --pid PID, which says by which filter, and whose that likely is")
    if errno == ERRNOS[SIGKILL]:
        strict = "seccomp's strict mode, which allows read(), write(), exit() and sigreturn() alone, kills the thread"
        return (strict, (), (Fix("make the socket before prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)"),))
    if errno == ERRNOS[SIGSYS]:
        return ("a seccomp filter sends SIGSYS to the thread in the place of the call", (), (ask,))
    return (f"a seccomp filter, or the supervisor or tracer that it asks, refuses the call with {errno}", (), (ask,))


def whose_filter(errno: str | None, owner: Owner) -> tuple[str, Fix]:
    """Whose filter it likely is that answers ``errno``, None for another answer; and what to change."""
    if owner.container is not None:
        runtime = owner.runtime or "the container runtime"
        return (
            f"the process is in a container of {runtime}: most likely its profile",
            Fix(
                "docker run --security-opt seccomp=PROFILE.json with a profile that allows the call; in a pod: "
                "securityContext: {seccompProfile: {type: Localhost, localhostProfile: …}}",
                "widens",
            ),
        )
    unit = owner.unit
    if unit is not None and unit.endswith(".service"):
        families = errno == "EAFNOSUPPORT"
        setting = "RestrictAddressFamilies=" if families else "SystemCallFilter="
        return (
            f"the process is in {unit}: most likely its {setting}{', which answers so' * families}",
            Fix(f"systemctl edit {unit}, and allow it in [Service] {setting}", "widens"),
        )
    return "the process is in no container and no service: most likely its own sandbox", Fix(
        "look for the setting of the program that allows it", "widens"
    )

"""What a trace amounts to, in one word and one sentence."""

from __future__ import annotations

from dataclasses import dataclass

_INCOMPLETE = {
    "return_missed": "a return was missed: more threads were inside a traced function than the probes had room for",
    "entry_missed": "an entry was missed: a call returned that was not seen to begin",
    "truncated": "there were more calls than a record holds",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """``verdict`` is ``ok``, ``deviation``, ``incomplete`` or ``unmodelled``; ``reason`` is one sentence."""

    verdict: str
    reason: str


_UNMODELLED = Verdict("unmodelled", "this version of inetprobe has no model of inet_create to hold the trace against")

_BARE = Verdict("unmodelled", "inet_create did not make this sock: another family, or an accepted connection, did")


def judge(incomplete: str | None, bare: bool) -> Verdict:
    """The verdict on a trace that is incomplete for this reason, or complete (None)."""
    if incomplete is not None:
        return Verdict("incomplete", _INCOMPLETE[incomplete])
    return _BARE if bare else _UNMODELLED

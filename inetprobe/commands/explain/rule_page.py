"""The page of a rule, in Markdown: ``inetprobe explain RULE`` prints it, and docs/rules has them all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from inetprobe.base.uapi import call_text
from inetprobe.model.examples import examples
from inetprobe.model.inet_create import Outcome
from inetprobe.model.question import SocketQuestion
from inetprobe.model.rules import Rule

_ANY = "any errno"


def of_rule(rule: Rule) -> str:
    """The page of one rule."""
    return "\n".join(_of_rule(rule)) + "\n"


def index() -> str:
    """The page that leads to the others, by the message of the errno."""
    return "\n".join(_index()) + "\n"


def call(question: SocketQuestion, outcome: Outcome) -> str:
    """The call as strace shows it: ``socket(AF_INET, SOCK_RAW|SOCK_CLOEXEC, IPPROTO_ICMP) = -1 EPERM``."""
    ended = f"-1 {outcome.errno}" if outcome.errno else "ok" if outcome.word == "ok" else "?"
    return f"{call_text(question.family, question.type, question.protocol, question.syscall)} = {ended}"


def _of_rule(rule: Rule) -> Iterator[str]:
    yield f"# {rule}"
    yield ""
    yield f"{rule.sentence[0].upper()}{rule.sentence[1:]}."
    yield ""
    if rule.stage is None:
        yield "- outcome: the socket is made"
    else:
        yield f"- errno: {', '.join(map(_message, rule.errnos)) or _ANY}"
        yield f"- stage: `{rule.stage}`"
    yield f"- decided in: {rule.source}"
    if rule.alike:
        yield f"- inferred: {rule.alike}"
    for one in examples(rule):
        yield ""
        yield f"    {call(one.question, one.outcome)}"
        yield from (f"      {line}" for line in one.why.lines())


def _index() -> Iterator[str]:
    yield "# Why a socket was refused"
    yield ""
    yield "Each rule by which the kernel refuses a socket, under the message that a program prints. `inetprobe explain`"
    yield "prints the page of a rule that it is given."
    yield ""
    yield "A fix is *safe*, or it *widens* what is allowed, or it *weakens* a protection."
    yield ""
    yield "| message | errno | stage | rule | |"
    yield "| --- | --- | --- | --- | --- |"
    for name in sorted({name for rule in Rule for name in rule.errnos}, key=_strerror):
        for rule in Rule:
            if name in rule.errnos:
                yield f"| {_strerror(name)} | `{name}` {_row(rule)}"
    for rule in Rule:
        if rule.stage is not None and not rule.errnos:
            yield f"| any | {_row(rule)}"
    yield ""
    yield f"The rules of a socket that is made: {', '.join(map(_link, (rule for rule in Rule if rule.stage is None)))}."


def _row(rule: Rule) -> str:
    return f"| `{rule.stage}` | {_link(rule)} | {rule.sentence} |"


def _link(rule: Rule) -> str:
    return f"[{rule}]({rule}.md)"


def _message(name: str) -> str:
    return f'`{name}`, "{_strerror(name)}"'


def _strerror(name: str) -> str:
    number: int = getattr(errno, name)
    return os.strerror(number)

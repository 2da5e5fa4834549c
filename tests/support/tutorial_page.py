"""A page that was typed: its files, its commands and what they printed, to be typed again and held against it.

A block fenced as ``console`` holds commands after ``$ ``, a line each, and below each what it printed. Any other block
below a line that ends with ```NAME`:`` is the file of that name.
"""

import difflib
import re
import textwrap
from dataclasses import dataclass

WIDTH = 104  # where longer lines are folded: a browser would hide their end
#: All that may differ from one run to the next.
VARIES = {
    "TIME PID": re.compile(r"\d\d:\d\d:\d\d\.\d+ +\d+\b"),  # the first columns of --format line
    "TIME": re.compile(r"\d\d:\d\d:\d\d\.\d+"),
    " TOOK": re.compile(r" +\d+(?:\.\d+)?(?:ns|µs|ms|s)\b"),  # with the blanks that align it
    "pid PID": re.compile(r"\bpid \d+"),
    " ID ": re.compile(r"^ +\d+-\d+ "),  # of a trace: its CPU, and its number there
    "RELEASE": re.compile(r"\b\d+\.\d+\.\d+-\d+-amd64\b"),
}
_FENCE = re.compile(r"```(\w*)$")
_NAMED = re.compile(r"`([\w.-]+)`:$")


@dataclass(frozen=True)
class File:
    """To be made before the next command."""

    name: str
    text: str


@dataclass(frozen=True)
class Step:
    """A command and the lines it printed, the first of which stands in line ``place`` of the page (from 0)."""

    command: str
    shown: tuple[str, ...]
    place: int


def parse(page):
    """The files and steps of a page, in order."""
    found, lines, place, before = [], page.split("\n"), 0, ""
    while place < len(lines):
        fence = _FENCE.match(lines[place])
        if fence:
            end = lines.index("```", place + 1)
            named = _NAMED.search(before)
            if fence[1] == "console":
                found += _steps(lines, place + 1, end)
            elif named:
                found.append(File(named[1], "\n".join(lines[place + 1 : end]) + "\n"))
            place = end
        before = lines[place] or before
        place += 1
    return found


def _steps(lines, start, end):
    places = [place for place in range(start, end) if lines[place].startswith("$ ")]
    assert places[:1] == [start], f"line {start + 1} is no command: {lines[start]!r}"
    for place, after in zip(places, [*places[1:], end], strict=True):
        yield Step(lines[place][2:], tuple(lines[place + 1 : after]), place + 1)


def fold(printed):
    """Lines as the page shows them."""
    folded = []
    for line in printed:
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        parts = textwrap.wrap(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        folded += parts if len(line) > WIDTH else [line.rstrip()]
    return folded


def alike(lines):
    """Folded lines without what varies, and without the empty ones, which say nothing."""
    for word, pattern in VARIES.items():
        lines = [pattern.sub(word, line) for line in lines]
    return [line for line in lines if line]


def difference(step, out, err, printed):
    """What is wrong with what the page shows of a step, or None. ``printed``: the lines of both, as they came.

    Lines of stdout and of stderr may mix as they like, each stream's own are in order.
    """
    shown = alike(step.shown)
    if mixes(shown, alike(fold(out)), alike(fold(err))):
        return None
    unlike = difflib.unified_diff(shown, alike(fold(printed)), "page", "printed", n=99, lineterm="")
    return "\n".join([f"$ {step.command}", *unlike])


def mixes(lines, one, other):
    """Are ``lines`` all of ``one`` and all of ``other``, each in order?"""
    reached = {0}  # how many of ``one`` may have been used up
    for number, line in enumerate(lines):
        reached = {
            used + step
            for used in reached
            for step, left in ((1, one[used:]), (0, other[number - used :]))
            if left and left[0] == line
        }
    return len(lines) == len(one) + len(other) and len(one) in reached


def renewed(page, printed):
    """The page with the lines ``printed`` by each step, a step that shows as much as before left as it is."""
    lines = page.split("\n")
    steps = [step for step in parse(page) if isinstance(step, Step)]
    for step, now in reversed(list(zip(steps, printed, strict=True))):
        if now is not None:
            lines[step.place : step.place + len(step.shown)] = "\n".join(fold(now)).rstrip().splitlines()
    return "\n".join(lines)

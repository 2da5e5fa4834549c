"""What README.md and docs/ name is there: files behind links, commands and their options, targets of make, tests."""

import re
from pathlib import Path

import click
import pytest

from inetprobe.cli.main import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
CALL = re.compile(r"(?:^|[\s/])inetprobe ([a-z]+)(?= |$)([^|#>]*)")
OPTION = re.compile(r"(?<!\S)--?[a-z]+(?:[.-][a-z]+)*")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
TARGET = re.compile(r"(?:^|\s)make ([a-z][a-z-]*)")


def code(page):
    """Lines of indented and fenced blocks, and what stands in backticks."""
    fenced, lines = False, []
    for line in page.read_text().replace("\\\n", " ").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            lines.append(line)
        else:
            lines += CODE.findall(line)
    return lines


@PAGE
def test_every_relative_link_leads_to_a_file(page):
    links = [link for link in LINK.findall(page.read_text()) if not re.match(r"[a-z]+:|#", link)]
    assert not [link for link in links if not (page.parent / link.partition("#")[0]).exists()]


@PAGE
def test_every_command_and_option_is_there(page):
    wrong = []
    for line in code(page):
        for name, rest in CALL.findall(line):
            command = cli.get_command(click.Context(cli), name)
            known = {"-h", "--help"}
            for param in command.params if command else ():
                known |= {*param.opts, *param.secondary_opts}
            used = OPTION.findall(rest.partition(" -- ")[0])
            wrong += [line] if command is None else [f"{name} {option}" for option in used if option not in known]
    assert not wrong


@PAGE
def test_every_make_target_is_there(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for line in code(page) for target in TARGET.findall(line.partition("#")[0])}
    assert named <= targets | {"integration-test"}  # somebody else's, in the README's example of CI


def test_the_readme_shows_calls_to_check():
    assert sum(len(CALL.findall(line)) for line in code(ROOT / "README.md")) > 15


@PAGE
def test_every_named_test_is_there(page):
    named = TEST.findall(page.read_text())
    assert not [name for file, name in named if f"\ndef {name}(" not in (ROOT / file).read_text()]


def test_every_fault_has_a_test():
    rows = [line for line in (ROOT / "docs/reliability.md").read_text().splitlines() if line.startswith("| ")]
    faults = [row for row in rows if not re.match(r"\| (fault|---) \|", row)]
    assert len(faults) > 15
    assert not [row for row in faults if not TEST.search(row)]

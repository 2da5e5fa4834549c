"""``inetprobe check``: recordings against the model, budgets and an older recording."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import click

from inetprobe.base.errors import EXIT_CHECK_FAILED, EXIT_OK, EXIT_RECORDING, UsageError
from inetprobe.base.files import same_file, write_whole
from inetprobe.base.words import counted, did_you_mean
from inetprobe.cli.complete import FILE
from inetprobe.cli.options import Filtering, coloured, filter_options, stdout_option
from inetprobe.cli.progress import reading
from inetprobe.cli.terminal import lenient_stdout, say
from inetprobe.commands.check.budget import load
from inetprobe.commands.check.examine import FAILURES, Plan, examine
from inetprobe.commands.check.result import CheckResult
from inetprobe.record.filter import Filters
from inetprobe.trace.output import Style

#: Each is ``render`` of ``inetprobe.commands.check.formats.<name>``.
FORMATS = ("text", "json", "junit", "github")


@click.command("check", cls=Filtering)
@filter_options
@click.option("--budget", type=FILE, metavar="FILE", help="TOML file of limits, in [[budget]] tables.")
@click.option(
    "--baseline",
    type=FILE,
    metavar="FILE",
    help="Recording to compare with: fail where durations or failures got worse.",
)
@click.option(
    "--fail-on",
    multiple=True,
    metavar="WHAT[,…]",
    default=("deviation",),
    show_default=True,
    help=f"Fail if any socket is one of these: {', '.join(FAILURES)}. (A lossy recording always has status 4.)",
)
@click.option(
    "--min-sockets",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Do not judge a recording with fewer sockets.",
)
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
@stdout_option("report")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
@click.option("-q", "--quiet", is_flag=True, help="Print only what failed, and no summary.")
@click.argument("recordings", type=FILE, metavar="FILE...", nargs=-1, required=True)
def check_command(
    filters: Filters,
    budget: str | None,
    baseline: str | None,
    fail_on: tuple[str, ...],
    min_sockets: int,
    form: str,
    output: str | None,
    color: str,
    quiet: bool,
    recordings: tuple[str, ...],
) -> None:
    """Check recordings against the model, against budgets and against an older recording.

    Exit status: 0 no check failed; 1 a check failed; 4 not judged, because a recording is empty, damaged, cut short or
    lossy. Of several recordings the highest status counts.

    \b
    Examples:
      inetprobe check boot.arrows
      inetprobe check new.arrows --budget budget.toml --baseline old.arrows --format junit -o check.xml
    """
    plan = Plan(
        filters=filters,
        budgets=() if budget is None else load(Path(budget)),
        baseline=None if baseline is None else Path(baseline),
        fail_on=_named(fail_on),
        min_sockets=min_sockets,
    )
    inputs = [name for name in (*recordings, budget, baseline) if name is not None]
    if output is not None and same_file(output, *inputs):
        raise UsageError("-o names an input file: give another file")
    paths = [Path(name) for name in recordings]
    with reading([*paths, *([] if plan.baseline is None else [plan.baseline])], quiet=quiet) as advance:
        report = examine(paths, plan, advance)
    render = importlib.import_module(f"inetprobe.commands.check.formats.{form}").render
    style = Style(colour=coloured(color) if output is None else color == "always")
    _write(render(report, style, quiet=quiet), output)
    say(quiet)(_conclusion(report))
    sys.exit(report.status)


def _named(words: tuple[str, ...]) -> frozenset[str]:
    named = frozenset(word.strip() for given in words for word in given.split(",") if word.strip())
    for word in sorted(named - FAILURES.keys()):
        hint = did_you_mean(word, FAILURES.keys(), f"give some of {', '.join(FAILURES)}")
        raise UsageError(f"--fail-on: unknown {word!r}: {hint}")
    return named


def _write(text: str, output: str | None) -> None:
    if output is None:
        lenient_stdout()
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    write_whole("report", output, text)


def _conclusion(report: CheckResult) -> str:
    """The number of recordings by outcome, and why the others were not judged."""
    counts = {
        "passed": sum(result.status == EXIT_OK for result in report.files),
        "failed": sum(result.status == EXIT_CHECK_FAILED for result in report.files),
        "not judged": sum(result.status == EXIT_RECORDING for result in report.files),
    }
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    reasons = dict.fromkeys(
        f"{result.file} {case.message}" if case.group == "recording" else case.message
        for result in report.files
        for case in result.cases
        if case.status == "unjudged"
    )
    return f"{counted(len(report.files), 'recording')} checked: {outcomes}" + (
        f" ({'; '.join(reasons)})" if reasons else ""
    )

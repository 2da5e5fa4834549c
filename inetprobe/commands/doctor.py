"""``inetprobe doctor``: can this machine be traced?"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from inetprobe.base.errors import EXIT_HOST
from inetprobe.base.text import printable
from inetprobe.kernel import host_checks

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failed": ("✗", "red")}


@click.command("doctor")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("-q", "--quiet", is_flag=True, help="Print only the checks that failed.")
def doctor_command(form: str, quiet: bool) -> None:
    """Check whether this machine can be traced.

    Each check prints its finding and, if something is missing, the fix. If no check fails, a program of two
    instructions is attached for a moment by each mechanism. Exit status: 0 it can be traced, 3 it cannot.

    \b
    Examples:
      inetprobe doctor
      inetprobe doctor --format json | jq '.checks[] | select(.status != "ok")'
    """
    checks = host_checks.examine()
    able = host_checks.traceable(checks)
    if form == "json":
        report = {
            "v": 1,
            "kind": "doctor",
            "traceable": able,
            "checks": [asdict(check) for check in checks],
            "next": host_checks.next_command(checks),
        }
        click.echo(json.dumps(report))
    else:
        _print(checks, able, quiet)
    sys.exit(0 if able else EXIT_HOST)


def _print(checks: list[host_checks.Check], able: bool, quiet: bool) -> None:
    for check in checks:
        if quiet and check.status != "failed":
            continue
        mark, colour = _MARKS[check.status]
        click.echo(f"{click.style(mark, fg=colour)} {check.name:<10} {printable(check.finding)}")
        if check.fix:
            click.echo(f"  {'':<10} → {check.fix}")
    if not quiet:
        click.echo()
        verdict = "This machine can be traced." if able else "This machine cannot be traced as it is."
        click.echo(f"{verdict} Next: {host_checks.next_command(checks)}")

"""``inetprobe completion``: a script with which a shell completes inetprobe's command lines."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from inetprobe.cli.main import COMPLETE_VARIABLE, cli


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print a script that makes a shell complete commands, options and filter values.

    It works in shells that are opened afterwards.

    \b
    Examples:
      inetprobe completion bash >> ~/.bashrc
      inetprobe completion zsh >> ~/.zshrc
      inetprobe completion fish > ~/.config/fish/completions/inetprobe.fish
    """
    completer = get_completion_class(shell)
    assert completer is not None  # click has all three
    script = completer(cli, {}, "inetprobe", COMPLETE_VARIABLE).source()
    # A filter's values are separated by commas, and click's script for fish would split at each of them.
    click.echo(script.replace('string split ","', 'string split -m 1 ","'))

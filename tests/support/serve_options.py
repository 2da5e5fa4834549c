"""The options of ``inetprobe serve`` as the command line reads them."""

import click

from inetprobe.cli.main import cli
from inetprobe.commands.serve.command import serve_command


def params(options):
    """Each option's value. A command keeps the names of its --help, which are its group's."""
    with click.Context(cli, info_name="inetprobe", **cli.context_settings) as group:
        return serve_command.make_context("serve", list(options), parent=group).params

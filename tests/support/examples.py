"""The examples of every command's --help, and what they need around them to be run as they stand."""

import itertools
import os
import re
import shlex
import sys

import click
import numpy as np

from inetprobe.base.cache import cache_folder
from inetprobe.cli.main import _COMMANDS, cli
from tests.support import builders, recorded
from tests.support.paths import ROOT

#: These look at a kernel, the others at what they are given.
_OF_A_KERNEL = ("trace", "why", "record", "top", "serve", "doctor", "vm")
_FLAMEGRAPH = "/usr/share/perl5/Devel/NYTProf"  # where libdevel-nytprof-perl keeps flamegraph.pl
_WRITES = ("-o", ">", ">>")
_BUDGET = '[[budget]]\nname = "few failures"\nmax_failures = 3\n'
_WEB = "basic_auth_users:\n  prometheus: $2b$04$QQAzeVmhUQrBV29CwoPPoepivRfcet0Y3U5/OwF.heIyugCDEDNfS\n"
_MAKEFILE = "check:\n\tpython3 -c 'import socket; socket.socket()'\n"


def of(command):
    """The examples as --help prints them."""
    parent = click.Context(cli, info_name="inetprobe", **cli.context_settings)
    found = cli.get_command(parent, command)
    text = found.get_help(click.Context(found, parent, command, terminal_width=80))
    block = re.search(r"^ *Examples:\n((?: +inetprobe .*\n?)+)", text, re.MULTILINE)
    return [] if block is None else [line.strip() for line in block[1].splitlines()]


def needs_kernel(example):
    words = shlex.split(example)
    return words[1] in _OF_A_KERNEL and "--replay" not in words


def collect(wanted):
    return [example for command in _COMMANDS for example in of(command) if wanted(example)]


def prepare(folder, example):
    """Makes the files that the example reads, under the names it gives them; the environment to run it in."""
    words = shlex.split(example)
    for before, word in itertools.pairwise(words):
        if word.endswith(".arrows") and before not in _WRITES:
            recording(folder / word.replace("*", "one"))
    (folder / "budget.toml").write_text(_BUDGET)
    (folder / "web.yml").write_text(_WEB)
    (folder / "Makefile").write_text(_MAKEFILE)
    (folder / ".config/fish/completions").mkdir(parents=True)
    path = f"{install(folder / 'bin')}:{os.environ['PATH']}:{_FLAMEGRAPH}"
    return os.environ | {"PATH": path, "HOME": str(folder)}


def install(folder):
    """A new ``folder`` for PATH, whose ``inetprobe`` is this checkout's."""
    program = folder / "inetprobe"
    folder.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {sys.executable} -m inetprobe "$@"\n')
    program.chmod(0o755)
    return folder


def cache():
    """Where Debian's kernels are kept: not under the HOME that ``prepare`` gives."""
    return cache_folder()


def recording(path):
    """Sockets as they are in life: nearly all made, some refused."""
    refused = builders.record(
        [builders.call(builders.CREATE, 0, 0, 20_000, -1)], kind=3, protocol=1, uid=1000, comm=b"nginx"
    )
    recorded.write(path, np.concatenate([np.tile(builders.created(prot=b"TCP", comm=b"nginx"), 40), refused]))

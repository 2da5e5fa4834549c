"""A module of the tests' own, run in a process of its own."""

import os
import subprocess
import sys


def run_module(name, *argv, **streams):
    """``python -m NAME ARGV``: the completed process, with its text; numpy starts no threads in it."""
    return subprocess.run(
        [sys.executable, "-m", name, *argv],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        text=True, check=False, timeout=120,
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams),
    )  # fmt: skip

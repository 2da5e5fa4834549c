"""Where things are in the checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
GOLDENS = TESTS / "goldens"
#: A kernel's BTF each, reduced to what is asked of it (``reduce_btf``).
BTF = TESTS / "btf"

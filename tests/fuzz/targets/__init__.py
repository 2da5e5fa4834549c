"""What is fuzzed: a module for each kind of input that strangers feed, named as the target is, with _ for -.

A module has ``run(data)``, which raises for a bug and for nothing else. It may have ``DICTIONARY``, words of the format
for libFuzzer to try, ``SEEDS``, a folder with more seeds than those of the target's corpus, and ``mutate(data, rng)``,
a mutant that random bytes seldom are.
"""

import importlib
import pkgutil
from pathlib import Path

NAMES = tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)))
_CORPUS = Path(__file__).parents[1] / "corpus"


def load(name):
    """The module of the target ``name``."""
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def seeds(name):
    """The folders with the target's seeds and earlier finds, all in the repository."""
    return [folder for folder in (_CORPUS / name, getattr(load(name), "SEEDS", None)) if folder and folder.is_dir()]

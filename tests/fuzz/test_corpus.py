"""Every target over its seeds and earlier finds, without the fuzzer (make fuzz), and a few mutants."""

import random

import pytest

from tests.fuzz import targets

_INPUTS = [
    (name, path) for name in targets.NAMES for folder in targets.seeds(name) for path in sorted(folder.iterdir())
]
_MUTATED = [(name, path) for name, path in _INPUTS if hasattr(targets.load(name), "mutate")]


def _identity(value):
    return value if isinstance(value, str) else value.name


@pytest.mark.parametrize(("name", "path"), _INPUTS, ids=_identity)
def test_the_corpus(name, path):
    targets.load(name).run(path.read_bytes())


@pytest.mark.parametrize(("name", "path"), _MUTATED, ids=_identity)
def test_mutants_of_the_corpus(name, path):
    target = targets.load(name)
    for number in range(8):
        target.run(target.mutate(path.read_bytes(), random.Random(number)))


def test_every_target_has_a_seed():
    assert {name for name, _ in _INPUTS} == set(targets.NAMES)

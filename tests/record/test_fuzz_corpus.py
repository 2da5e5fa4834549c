"""The fuzzer's corpus and a few of its mutants, without the fuzzer (make fuzz)."""

import random

import pytest

from tests.fuzz.entry import replay
from tests.fuzz.mutate import mutate
from tests.fuzz.seeds import CORPUS


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_the_corpus(path):
    replay(path.read_bytes())


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_mutants_of_the_corpus(path):
    for number in range(8):
        replay(mutate(path.read_bytes(), random.Random(number)))

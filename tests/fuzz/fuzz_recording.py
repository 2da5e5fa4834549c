"""Fuzzes the reader of recordings: make fuzz, or python -m tests.fuzz.fuzz_recording [libFuzzer's options] FOLDER"""

import random
import sys

import atheris

# atheris leaks what a comparison of numpy arrays returns, and these two hardly do anything else.
with atheris.instrument_imports(
    include=["inetprobe"], exclude=["inetprobe.trace.call_trace", "inetprobe.record.filter"]
):
    from tests.fuzz.entry import replay

from tests.fuzz.mutate import mutate


def mutator(data, max_size, seed):
    rng = random.Random(seed)
    if rng.random() < 0.25:
        return atheris.Mutate(data, max_size)
    mutant = mutate(data, rng)
    if rng.random() < 0.1:
        mutant = atheris.Mutate(mutant, max_size)
    return mutant if len(mutant) <= max_size else data


def main():
    atheris.Setup(sys.argv, replay, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""Fuzzes one target: python -m tests.fuzz NAME [libFuzzer's options]; what it finds stays in build/fuzz/NAME/."""

import random
import sys

import atheris

from tests.fuzz import targets
from tests.support.paths import ROOT

# atheris leaks what a comparison of numpy arrays returns, and these two hardly do anything else.
_LEAKING = ["inetprobe.trace.call_trace", "inetprobe.record.filter"]
# The libraries that parse for inetprobe, so that inputs come far enough.
_INSTRUMENTED = ["inetprobe", "h11", "tomllib", "yaml"]
_LIMITS = ("-rss_limit_mb=1024", "-timeout=10", "-max_len=65536", "-print_final_stats=1")


def main():
    name, *options = sys.argv[1:] or [""]
    if name not in targets.NAMES:
        sys.exit(f"python -m tests.fuzz NAME: give one of {', '.join(targets.NAMES)}")
    with atheris.instrument_imports(include=_INSTRUMENTED, exclude=_LEAKING):
        target = targets.load(name)
    folder = ROOT / "build" / "fuzz" / name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    places = [f"-artifact_prefix={folder}/"]
    if hasattr(target, "DICTIONARY"):
        dictionary = folder / "dictionary"
        dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in target.DICTIONARY))
        places.append(f"-dict={dictionary}")
    corpora = [str(path) for path in (folder / "corpus", *targets.seeds(name))]
    mutator = {"custom_mutator": _mutator(target.mutate)} if hasattr(target, "mutate") else {}
    atheris.Setup([sys.argv[0], *_LIMITS, *places, *options, *corpora], target.run, **mutator)
    atheris.Fuzz()


def _mutator(mutate):
    def mutator(data, max_size, seed):
        rng = random.Random(seed)
        if rng.random() < 0.25:
            return atheris.Mutate(data, max_size)
        mutant = mutate(data, rng)
        if rng.random() < 0.1:
            mutant = atheris.Mutate(mutant, max_size)
        return mutant if len(mutant) <= max_size else data

    return mutator


def _escaped(word):
    return "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    main()

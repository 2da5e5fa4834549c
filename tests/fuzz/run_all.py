"""Fuzzes every target for a time, two side by side: python -m tests.fuzz.run_all SECONDS [NAME …]

Exits with 1 where one found something. Its input and its log are in build/fuzz/NAME/.
"""

import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from tests.fuzz import targets
from tests.support.paths import ROOT

_AT_ONCE = 2


def fuzz(name, seconds):
    """The exit status of one target's fuzzer."""
    log = ROOT / "build" / "fuzz" / name / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz", name, f"-max_total_time={seconds}"]
    began = time.monotonic()
    with log.open("w") as file:
        status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=file).returncode
    result = "nothing found" if status == 0 else f"status {status}: see {log.relative_to(ROOT)}"
    inputs = _executions(log.read_text(errors="replace"))
    print(f"{name}: {inputs} in {time.monotonic() - began:.0f} s, {result}", flush=True)
    return status


def _executions(log):
    done = re.findall(r"^stat::number_of_executed_units: (\d+)$|^#(\d+)\t", log, re.MULTILINE)
    return f"{int(''.join(done[-1])):,} inputs" if done else "no input"


def main():
    if len(sys.argv) < 2:
        sys.exit("python -m tests.fuzz.run_all SECONDS [NAME …]: how long is each target to be fuzzed?")
    seconds, *names = sys.argv[1:]
    names = names or targets.NAMES
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        statuses = list(pool.map(lambda name: fuzz(name, seconds), names))
    found = [name for name, status in zip(names, statuses, strict=True) if status]
    if found:
        sys.exit(f"found something: {', '.join(found)}")


if __name__ == "__main__":
    main()

"""inetprobe as an installed package on other releases of Debian: ``systems.py [--part PART] [SUITE …]``.

Each suite has a root file system in the cache folder, made once by mmdebstrap. In it inetprobe is installed with that
system's own Python, and a VM boots from it, with that system's QEMU, kernel and bcc. The parts:

- ``short``, a part of `make test`: traces a workload, and makes the known sockets.
- ``vm``: the live tests of ``LIVE``.
- ``native``: in another root of the suite and without a VM, `make check`; pipx and uv install the package.

Without --part, ``vm`` and ``native`` run. docs/support.md is written from build/systems/SUITE.json, what they add to;
each step's output is beside it. A user who is not root is root in a user namespace of this run's own: mounts need that.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from inetprobe.base.cache import cache_folder
from inetprobe.vm import apt_sources, debian

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "systems"
PAGE = ROOT / "docs" / "support.md"
TITLES = {"bookworm": "Debian 12", "trixie": "Debian 13", "sid": "Debian sid"}
MECHANISMS = ("kprobe", "fentry")
#: The mechanism of a live test that names none.
UNSAID = "auto, or both"

#: Folders in a root. The VM's init hides what is in /var/cache and /tmp: the kernels have to be elsewhere.
TREE, VENV, CACHE = "/srv/inetprobe", "/opt/inetprobe", "/srv/cache"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
#: The environment variables by which this machine reaches its package index.
INDEX = re.compile(r"(https?|no)_proxy|PIP_(INDEX_URL|DEFAULT_TIMEOUT)", re.IGNORECASE)

INSTALLED = "a wheel, installed by pip"
WORKLOAD = "`make trace`'s workload"
KNOWN = "23 known sockets, and strace's view of them"
#: Live tests: the file, and a part of their names. A test belongs to the first row that it fits.
LIVE = {
    KNOWN: ("test_known.py", ""),
    "`--also`": ("test_hard.py", "test_also"),
    "the hard cases": ("test_hard.py", ""),
    "`--sock`": ("test_sock.py", ""),
    "`--stack`": ("test_stack.py", ""),
    "`serve`, scraped by Prometheus": ("test_serve.py", ""),
    "filters, and following a command": ("test_trace.py", ""),
    "a user without root is told so in one sentence": ("test_closed_home.py", ""),
}
#: It starts the checkout's own inetprobe.
FROM_A_CHECKOUT = "tests/live/test_closed_home.py::test_root_traces_from_a_closed_home"

INTRODUCTION = """\
# Where inetprobe was tested

`make test-systems` wrote this page. It makes a root file system of each Debian below, installs inetprobe there as a
package, and boots a VM of one CPU from it, with that Debian's own kernel, bcc, Python and QEMU (where that is too old
to be sound, with its backport, as `inetprobe vm` does). The live tests then run in that VM; `make check`, pipx and uv
run in another such root file system, without a VM. A test that names no mechanism takes the default, or compares
both. Tests of two CPUs at once are left to `make test-kernels`.
"""


@dataclass(frozen=True)
class Outcome:
    """What ran, by which mechanism ("" where that makes no difference), how many tests it was, and why it failed."""

    title: str
    mechanism: str
    tests: int
    failure: str = ""


class System:
    """The root file system of a suite, and what runs in it."""

    def __init__(self, suite: str, variant: str = "") -> None:
        self.name = f"{suite}{variant}"
        self._suite = suite
        self._root = cache_folder() / "systems" / self.name

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One run at a time in a root."""
        self._root.parent.mkdir(parents=True, exist_ok=True)
        with self._root.with_name(f".{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def make(self) -> None:
        """Makes the root with what tracing needs; one that is there is kept. Raises SystemExit."""
        if self._root.is_dir():
            return
        source = apt_sources.debian_mirror(apt_sources.read(), debian.codename())
        if source is None:
            sys.exit("systems: this system's apt sources have no mirror of Debian")
        with tempfile.TemporaryDirectory(prefix=f".{self.name}-", dir=self._root.parent) as folder:
            new = Path(folder) / "root"
            include = ",".join([*packages("trace"), "strace"])
            # A mirror that stands still has a Release file that has expired.
            options = ["--variant=minbase", '--aptopt=Acquire::Check-Valid-Until "false"', f"--include={include}"]
            status, _ = self._log("root", ["mmdebstrap", *options, self._suite, str(new), source.uri])
            if status:
                sys.exit(f"systems: mmdebstrap failed: see {BUILD}/{self.name}-root.txt")
            new.rename(self._root)

    def clone(self) -> Path:
        """Copies the checkout into the root's TREE: its last commit, and what has changed in git's files since."""
        tree = self._root / TREE.lstrip("/")
        shutil.rmtree(tree, ignore_errors=True)
        subprocess.run(["git", "clone", "-q", "--no-hardlinks", ROOT, tree], check=True)
        changes = subprocess.run(
            ["git", "diff", "--binary", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, check=True
        ).stdout
        if changes:
            subprocess.run(["git", "apply", "--index"], cwd=tree, input=changes, check=True)
        (tree / "build").mkdir()
        return tree

    def install(self, extras: str, witnesses: Sequence[str], tests: Sequence[str]) -> Outcome:
        """Installs a wheel of the checkout, and the Debian and Python packages that the tests need.

        What stays in TREE are the tests, without the package that they test.
        """
        tree = self.clone()
        wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
        subprocess.run([*wheel, "-w", tree / "build", tree], check=True)
        shutil.rmtree(tree / "inetprobe")
        (tree / "build/versions.txt").write_text(locked_versions())
        (path,) = (tree / "build").glob("*.whl")
        setup = f"tools/setup.sh packages {' '.join([*packages('trace'), *witnesses])}"
        pip = f"{VENV}/bin/pip install -c build/versions.txt 'build/{path.name}[{extras}]' {' '.join(tests)}"
        script = f"{setup} && /usr/bin/python3 -m venv --clear {VENV} && {pip}"
        status, text = self.run("install", ["sh", "-c", script])
        return Outcome(INSTALLED, "", 1, reason(status, text))

    def trace(self, mechanism: str) -> Outcome:
        """`make trace`'s workload, by the console script, and compiled in the VM."""
        # --kernel is left out: it is the system's own.
        vm = [f"{VENV}/bin/inetprobe", "vm", "--cpus", "1", "--", "trace", "--mechanism", mechanism]
        status, text = self.run(f"trace-{mechanism}", [*vm, "--", "/usr/bin/python3", "tools/workload.py"])
        whole = ", 7 complete, 0 incomplete, 0 lost" in text
        failure = reason(status, text) or ("" if whole else "not 7 of 7 sockets are complete")
        return Outcome(WORKLOAD, mechanism, 1, failure)

    def live(self, titles: Sequence[str]) -> list[Outcome]:
        """The live tests of these rows of LIVE, in a VM of one CPU."""
        wanted = {f"tests/live/{file}": None for title, (file, _) in LIVE.items() if title in titles}
        argv = [f"{VENV}/bin/python", "-m", "tools.live", "--name", "systems", "--cpus", "1", "-q"]
        argv += ["-m", "live and not two_cpus", "--deselect", FROM_A_CHECKOUT, "--junitxml=build/tests.xml", *wanted]
        status, text = self.run("live", argv)
        report = self._root / TREE.lstrip("/") / "build/tests.xml"
        if not report.exists():
            return [Outcome(title, "", 0, reason(status or 1, text)) for title in titles]
        rows = outcomes(ElementTree.parse(report).iter("testcase"))
        if status and not any(row.failure for row in rows):
            rows.append(Outcome("the VM itself", "", 0, reason(status, text)))
        return rows

    def check(self) -> Outcome:
        """`make check`, in a virtual environment of the checkout's own."""
        self.clone()
        status, text = self.run("check", ["sh", "-c", "tools/setup.sh packages make git && make check"])
        passed = re.search(r"(\d+) passed", text)
        return Outcome("`make check`", "", int(passed[1]) if passed else 0, reason(status, text))

    def installer(self, name: str, command: str) -> Outcome:
        """Does inetprobe, installed by ``command``, find the system's bcc?"""
        # Whether this kernel can be traced is not asked.
        script = f"rm -rf /root/.local && {command} && (/root/.local/bin/inetprobe doctor || true)"
        status, text = self.run(name, ["sh", "-c", script])
        failure = "" if "✓ bcc" in text else reason(status or 1, text)
        return Outcome(f"installed by {name}, it finds bcc", "", 1, failure)

    def versions(self) -> dict[str, str]:
        """The versions that the page names."""
        query = "dpkg-query -W -f '${Package} ${Version}\\n' python3 libbpfcc qemu-system-x86"
        _, text = self.run("versions", ["sh", "-c", f"{query}; {VENV}/bin/pip list"])
        booted = (BUILD / f"{self.name}-live.txt").read_text(errors="replace")
        patterns = {
            "Linux": r"Linux (\S+) is up",
            "Python": r"^python3 ([\d.]+)",
            "numpy": r"^numpy +([\d.]+)",
            "bcc": r"^libbpfcc ([\d.]+)",
            "QEMU": r"^qemu-system-x86 (?:\d+:)?([\d.]+)",
        }
        versions = {name: re.search(pattern, booted + text, re.MULTILINE) for name, pattern in patterns.items()}
        return {name: match[1] for name, match in versions.items() if match}

    def run(self, step: str, argv: Sequence[str]) -> tuple[int, str]:
        """Runs ``argv`` in the root's TREE: its exit status and all that it printed.

        The mounts are in a namespace of their own, which ends with the process.
        """
        root = self._root
        environment = {"HOME": "/root", "LANG": "C.UTF-8", "INETPROBE_CACHE": CACHE}
        environment["PATH"] = f"{VENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        environment |= {name: value for name, value in os.environ.items() if INDEX.fullmatch(name)}
        for name in ("hosts", "resolv.conf"):
            shutil.copy(f"/etc/{name}", root / "etc" / name)
        if Path(CERTIFICATES).exists():
            shutil.copy(CERTIFICATES, root / "srv/certificates.pem")
            environment |= {"PIP_CERT": "/srv/certificates.pem", "SSL_CERT_FILE": "/srv/certificates.pem"}
        (root / CACHE.lstrip("/")).mkdir(exist_ok=True)
        # Not by chroot, in which the kernel refuses user namespaces, and "/" is no mount: see pivot_root(2), NOTES.
        mounts = [f"mount --bind {root} {root}"]
        mounts += [f"mount --rbind /{folder} {root}/{folder}" for folder in ("dev", "proc", "sys")]
        mounts += [f"mount --bind {cache_folder()} {root}{CACHE}", f"cd {root}", "pivot_root . .", "umount -l ."]
        mounts += [f'exec env -i -C {TREE} "$@"']
        words = [f"{name}={value}" for name, value in environment.items()]
        return self._log(step, ["unshare", "--mount", "sh", "-ec", "\n".join(mounts), "sh", *words, *argv])

    def _log(self, step: str, argv: Sequence[str]) -> tuple[int, str]:
        """Runs ``argv``, its output going to build/systems/NAME-STEP.txt; it is also printed where ``argv`` fails."""
        BUILD.mkdir(parents=True, exist_ok=True)
        log = BUILD / f"{self.name}-{step}.txt"
        began = time.monotonic()
        with log.open("wb") as out:
            status = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False).returncode
        print(f"systems: {self.name}: {step}: status {status} in {time.monotonic() - began:.0f} s", flush=True)
        text = log.read_text(errors="replace")
        if status:
            print(text, flush=True)
        return status, text


def packages(stage: str) -> list[str]:
    """The Debian packages of a stage of tools/setup.sh."""
    script = (ROOT / "tools/setup.sh").read_text()
    words = re.search(rf'^{stage}_packages="([^"]*)"', script, re.MULTILINE)
    assert words, f"tools/setup.sh has no {stage}_packages"
    return words[1].split()


def locked_versions() -> str:
    """The versions of the lock without their digests, which pip would want of the wheel as well."""
    lock = (ROOT / "tools/lock/tests.txt").read_text()
    return "".join(f"{line.strip()}\n" for line in re.findall(r"^[a-z][^\\\n]*", lock, re.MULTILINE))


def reason(status: int, text: str) -> str:
    """Why a command failed, from what it printed; "" where it did not."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["it printed nothing"]
    telling = [line for line in lines if re.search(r"^(FAILED|ERROR|E:|error:|✗)|: error:", line)] or lines[-1:]
    return f"status {status}: {'; '.join(telling[:3])}"[:300] if status else ""


def outcomes(cases: Iterable[ElementTree.Element]) -> list[Outcome]:
    """The rows of LIVE that a JUnit report's test cases belong to; a skipped test is no test."""
    rows: dict[tuple[str, str], list[str]] = {}
    for case in cases:
        file, name = f"{case.get('classname', '').rpartition('.')[2]}.py", case.get("name", "")
        title = next(title for title, (own, part) in LIVE.items() if file == own and part in name)
        mechanism = next((word for word in MECHANISMS if word in name.partition("[")[2]), UNSAID)
        failed = next((case.find(kind) for kind in ("failure", "error") if case.find(kind) is not None), None)
        if case.find("skipped") is None:
            failure = "" if failed is None else f"{name}: {failed.get('message', '').partition(chr(10))[0]}"
            rows.setdefault((title, mechanism), []).append(failure)
    return [
        Outcome(title, mechanism, len(tests), "; ".join(filter(None, tests))[:300])
        for (title, mechanism), tests in rows.items()
    ]


def short(system: System) -> list[Outcome]:
    """The part of `make test`."""
    installed = system.install("vm", ["strace"], ["pytest", "hypothesis"])
    return [installed, *([] if installed.failure else [system.trace("auto"), *system.live([KNOWN])])]


def full(system: System) -> list[Outcome]:
    """What needs a VM."""
    witnesses = ["strace", "gcc", "libc6-dev", "bpftrace"]
    installed = system.install("all", witnesses, ["pytest", "hypothesis", "trustme", "pyte"])
    if installed.failure:
        return [installed]
    return [installed, *map(system.trace, MECHANISMS), *system.live(list(LIVE))]


def native(system: System) -> list[Outcome]:
    """What needs no VM."""
    uv = "python3 -m venv /opt/uv && /opt/uv/bin/pip install -q uv && "
    return [
        system.check(),
        system.installer("pipx", "tools/setup.sh packages pipx && pipx install ."),
        system.installer("uv", f"{uv} /opt/uv/bin/uv tool install --python /usr/bin/python3 ."),
    ]


def keep(suite: str, rows: Iterable[Outcome], versions: dict[str, str]) -> None:
    """Puts these rows into build/systems/SUITE.json, in the place of older ones."""
    file = BUILD / f"{suite}.json"
    kept = json.loads(file.read_text()) if file.exists() else {"versions": {}, "rows": []}
    fresh = [asdict(row) for row in rows]
    titles = {row["title"] for row in fresh}
    kept["rows"] = [row for row in kept["rows"] if row["title"] not in titles] + fresh
    kept["versions"] |= versions
    file.write_text(json.dumps(kept, indent=1) + "\n")


def write_page() -> None:
    """docs/support.md, of what is in build/systems/."""
    files = {suite: BUILD / f"{suite}.json" for suite in TITLES}
    PAGE.write_text(page({suite: json.loads(file.read_text()) for suite, file in files.items() if file.exists()}))


def page(results: Mapping[str, Any]) -> str:
    """The text of docs/support.md, from the content of each SUITE.json."""
    heads = " | ".join(TITLES[suite] for suite in results)
    rule = " --- |" * len(results)
    lines = [INTRODUCTION, f"| | {heads} |", f"| --- |{rule}"]
    for name in dict.fromkeys(name for kept in results.values() for name in kept["versions"]):
        lines.append(f"| {name} | {' | '.join(kept['versions'].get(name, '') for kept in results.values())} |")
    lines += ["", f"| what ran | mechanism | {heads} |", f"| --- | --- |{rule}"]
    cells = {
        (row["title"], row["mechanism"], suite): Outcome(**row)
        for suite, kept in results.items()
        for row in kept["rows"]
    }
    order = [INSTALLED, WORKLOAD, *LIVE, *dict.fromkeys(title for title, _, _ in cells)]
    for title, mechanism in sorted(dict.fromkeys(key[:2] for key in cells), key=lambda key: order.index(key[0])):
        words = [cell(cells.get((title, mechanism, suite))) for suite in results]
        lines.append(f"| {title} | {mechanism} | {' | '.join(words)} |")
    failures = [
        f"- {', '.join(filter(None, (TITLES[suite], title, mechanism)))}: `{outcome.failure.replace('`', chr(39))}`"
        for (title, mechanism, suite), outcome in cells.items()
        if outcome.failure
    ]
    return "\n".join([*lines, *(["", "## What failed", "", *failures] if failures else []), ""])


def cell(outcome: Outcome | None) -> str:
    """A cell of the table."""
    if outcome is None:
        return "not run"
    if outcome.failure:
        return "**failed**"
    return "passed" if outcome.tests == 1 else f"passed ({outcome.tests} tests)"


#: The parts of a run: what runs, and the variant of the suite's root that it has for itself.
PARTS = {"short": (short, ""), "vm": (full, ""), "native": (native, "-check")}


def main() -> int:
    """0 if everything passed."""
    parser = argparse.ArgumentParser(description="inetprobe, installed, on other releases of Debian")
    parser.add_argument("--part", choices=PARTS, action="append", help="default: vm and native")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(TITLES)}; default: all")
    options = parser.parse_args()
    if os.geteuid():
        # The user's own files are root's there, and what belongs to others in a root to the user's subordinate IDs.
        unshare = ["unshare", "--user", "--map-root-user", "--map-auto", "--mount", "--"]
        os.execvp(unshare[0], [*unshare, sys.executable, "-m", "tools.systems", *sys.argv[1:]])
    rows: list[Outcome] = []
    for suite in options.suites or TITLES:
        for part in options.part or ("vm", "native"):
            run, variant = PARTS[part]
            system = System(suite, variant)
            with system.locked():
                system.make()
                new = run(system)
                rows += new
                if part != "short":
                    keep(suite, new, system.versions() if part == "vm" else {})
                    write_page()
    failed = [row for row in rows if row.failure]
    for row in failed:
        print(f"systems: {row.title} {row.mechanism}: {row.failure}")
    print(f"systems: {sum(row.tests for row in rows if not row.failure)} passed, {len(failed)} failed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

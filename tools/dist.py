"""What is published, in dist/: sdist, wheel, CycloneDX SBOM and the list of licences; see ``make dist``.

The packages are those that the wheel with [all] installs by tools/lock/all.txt on this Python. A second run writes the
same bytes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from license_expression import get_spdx_licensing
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from inetprobe import __version__

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "tools" / "lock" / "all.txt"
VENDOR = ROOT / "inetprobe" / "commands" / "report" / "assets" / "vendor"

ALLOWED = frozenset(
    ["0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MPL-2.0", "PSF-2.0", "Zlib"]
)
#: A program that `inetprobe vm` starts; nothing of it is imported.
ALLOWED_ALSO = {"virtme-ng": frozenset(["GPL-2.0-only"])}
#: Read from the licence's text, where a package's metadata has no expression.
READ = {"argcomplete": "Apache-2.0", "jinja2": "BSD-3-Clause", "protobuf": "BSD-3-Clause"}
#: The chart libraries in the wheel: file → npm's name, and licence.
VENDORED = {"d3.min.js": ("d3", "ISC"), "plot.umd.min.js": ("@observablehq/plot", "ISC")}


class Refused(Exception):
    """Nothing can be published, for the reason of the message."""


def locked(lock: str) -> dict[str, str]:
    """The version of each package, by canonical name, that ``lock`` has for this Python and machine."""
    lines = re.findall(r"^([a-z].*?) *\\?$", lock, re.MULTILINE)
    wanted = [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate()]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in wanted}


def sbom(packages: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, Any]:
    """The bill of these packages, which are installed here, and of the chart libraries, as CycloneDX 1.6.

    Raises Refused for a package that is not installed, or has another version.
    """
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=False)
        (site,) = Path(folder).glob("lib/python*/site-packages")
        for name, version in packages.items():
            path = _metadata_folder(name, version)
            (site / path.name).symlink_to(path)
        command = ["environment", "--pyproject", "pyproject.toml", "--output-reproducible", f"{folder}/bin/python"]
        done = subprocess.run(
            [sys.executable, "-m", "cyclonedx_py", *command],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        )
    bill: dict[str, Any] = json.loads(done.stdout)
    bill["metadata"]["component"] |= {"version": __version__, "purl": f"pkg:pypi/inetprobe@{__version__}"}
    for component in bill["components"]:
        expression = READ.get(canonicalize_name(component["name"]))
        if expression:
            component["licenses"] = [{"expression": expression, "acknowledgement": "concluded"}]
    bill["components"] += [_vendored(file, *what) for file, what in VENDORED.items()]
    return bill


def licences(bill: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """The licence expression of each name and version of ``bill``, the project's own first; empty for none."""
    components = [bill["metadata"]["component"], *bill["components"]]
    return {(each["name"], each["version"]): _expression(each.get("licenses", ())) for each in components}


def not_allowed(found: Mapping[tuple[str, str], str]) -> list[str]:
    """A sentence for each licence that is neither in ``ALLOWED`` nor allowed for its package."""
    spdx = get_spdx_licensing()
    sentences = []
    for (name, version), expression in found.items():
        allowed = ALLOWED | ALLOWED_ALSO.get(canonicalize_name(name), frozenset())
        parsed = spdx.parse(expression)
        truth = {one: spdx.TRUE if one.key in allowed else spdx.FALSE for one in spdx.license_symbols(parsed)}
        if parsed is None or parsed.subs(truth).simplify() != spdx.TRUE:
            sentences.append(f"{name} {version}: its licence is {expression or 'not known'}, which is not allowed")
    return sentences


def build(folder: Path, environment: Mapping[str, str]) -> Path:
    """Writes the sdist and the wheel into ``folder``, and returns the wheel."""
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, env=environment, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def licence_list(found: Mapping[tuple[str, str], str], wheel: Path) -> str:
    """A line for each package, and the texts of the licences in the wheel."""
    lines = [f"{name} {version}: {expression}\n" for (name, version), expression in found.items()]
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            _, is_licence, path = name.partition(".dist-info/licenses/")
            if is_licence:
                lines.append(f"\n{'-' * 80}\n{path}\n{'-' * 80}\n\n{archive.read(name).decode()}")
    return "".join(lines)


def reproducible() -> dict[str, str]:
    """This process's environment with the time of the last commit, and without other folders' packages."""
    commit = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "SOURCE_DATE_EPOCH": commit.strip()}


def main(folder: Path = ROOT / "dist") -> None:
    """Writes ``folder`` anew. Ends with a sentence, and leaves it as it was, for what must not be published."""
    environment = reproducible()
    try:
        bill = sbom(locked(LOCK.read_text()), environment)
        found = licences(bill)
        if refused := not_allowed(found):
            raise Refused("; ".join(refused))
    except Refused as error:
        sys.exit(f"dist: {error}")
    shutil.rmtree(folder, ignore_errors=True)
    wheel = build(folder, environment)
    (folder / f"inetprobe-{__version__}.cdx.json").write_text(json.dumps(bill, indent=2) + "\n")
    (folder / f"inetprobe-{__version__}.licences.txt").write_text(licence_list(found, wheel))


def _metadata_folder(name: str, version: str) -> Path:
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        raise Refused(f"{name} is not installed: run make test-setup") from None
    if installed.version != version:
        raise Refused(f"{name} is {installed.version} here and {version} in {LOCK.name}: run make test-setup")
    (metadata,) = (file for file in installed.files or () if file.match("*.dist-info/METADATA"))
    return Path(str(metadata.locate())).parent


def _vendored(file: str, name: str, licence: str) -> dict[str, Any]:
    match = re.match(r"// \S+ v(\S+) ", (VENDOR / file).read_text())
    if match is None:
        raise Refused(f"{file} does not begin with its version")
    purl = f"pkg:npm/{name.replace('@', '%40')}@{match[1]}"
    component = {"type": "library", "bom-ref": purl, "name": name, "version": match[1], "purl": purl}
    return {**component, "licenses": [{"license": {"id": licence}}]}


def _expression(stated: Iterable[Mapping[str, Any]]) -> str:
    """Names of classifiers, which are of no licence in particular, are left out."""
    ids = [each["expression"] if "expression" in each else each["license"].get("id") for each in stated]
    return " AND ".join(each for each in ids if each)


if __name__ == "__main__":
    main()

"""What `make dist` publishes: the files of the wheel, the bill of materials, and no licence that is not allowed."""

import hashlib
import json
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from importlib.metadata import metadata, version
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from inetprobe import __version__
from tests.support.paths import ROOT
from tools import dist

LOCK = dist.LOCK.read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = dist.locked(LOCK)
of_the_lock = pytest.mark.skipif(
    Path(sys.prefix).name in ("lowest", "newest"), reason="the bill is of the lock's packages, and others are installed"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return dist.build(tmp_path_factory.mktemp("dist"), dist.reproducible())


@pytest.fixture(scope="module")
def bill():
    return dist.sbom(PACKAGES, dist.reproducible())


def test_the_wheel_has_its_licences_and_the_bpf_program(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (said_in,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        said = Parser().parsestr(archive.read(said_in).decode())
    assert said["License-Expression"] == PROJECT["license"]
    vendored = {path.relative_to(ROOT).as_posix() for path in dist.VENDOR.glob("LICENSE.*")}
    assert set(said.get_all("License-File")) == {"LICENSE", *vendored}
    folder = said_in.rpartition("/")[0]
    assert {f"{folder}/licenses/{path}" for path in ("LICENSE", *vendored)} <= names
    bpf = {f"inetprobe/{path.relative_to(ROOT)}" for path in (ROOT / "bpf").rglob("*.[ch]")}
    assert len(bpf) > 20
    assert bpf <= names
    assert {name.partition("/")[0] for name in names} == {"inetprobe", folder}


def test_twice_the_same_bytes(wheel, tmp_path):
    dist.build(tmp_path, dist.reproducible())
    digests = [
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        for folder in (wheel.parent, tmp_path)
    ]
    assert len(digests[0]) == 2
    assert digests[0] == digests[1]


def test_the_sdist_has_what_the_wheel_is_made_of(wheel):
    (sdist,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "docs/queries.md", "bpf/inetprobe.bpf.c"} <= names


@of_the_lock
def test_the_bill_is_cyclonedx_and_has_each_package_once(bill):
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(json.dumps(bill)) is None
    assert validator.validate_str(json.dumps({**bill, "components": [{"name": "x"}]})) is not None
    component = bill["metadata"]["component"]
    assert (component["name"], component["version"]) == ("inetprobe", __version__)
    named = sorted((canonicalize_name(each["name"]), each["version"]) for each in bill["components"])
    charts = [(name, v) for name, v in named if name in ("d3", "@observablehq/plot")]
    assert [name for name, _ in charts] == ["@observablehq/plot", "d3"]
    assert named == sorted([*PACKAGES.items(), *charts])
    assert str(ROOT) not in json.dumps(bill)


@of_the_lock
def test_every_licence_is_known_and_allowed(bill):
    found = dist.licences(bill)
    assert all(found.values())
    assert dist.not_allowed(found) == []


@of_the_lock
def test_a_licence_s_text_is_read_only_where_the_metadata_has_no_expression():
    assert [name for name in dist.READ if metadata(name)["License-Expression"]] == []


@pytest.mark.parametrize(
    ("name", "expression", "allowed"),
    [
        ("a", "MIT", True),
        ("a", "MIT AND ISC", True),
        ("a", "GPL-3.0-only OR MIT", True),
        ("a", "GPL-3.0-only AND MIT", False),
        ("a", "GPL-2.0-only", False),
        ("virtme-ng", "GPL-2.0-only", True),
        ("virtme_ng", "GPL-2.0-only", True),
        ("a", "Apache-2.0 WITH LLVM-exception", False),
        ("a", "", False),
    ],
)
def test_a_licence_that_is_not_allowed_is_one_sentence(name, expression, allowed):
    sentences = dist.not_allowed({(name, "1.0"): expression})
    said = expression or "not known"
    assert sentences == ([] if allowed else [f"{name} 1.0: its licence is {said}, which is not allowed"])


@pytest.mark.parametrize(
    ("packages", "says"),
    [
        ({"click": "0.1"}, "click is .* here and 0.1 in all.txt: run make test-setup"),
        ({"no-such": "1"}, "no-such is not"),
    ],
)
def test_a_bill_of_other_packages_than_the_lock_s_is_refused(packages, says):
    with pytest.raises(dist.Refused, match=says):
        dist.sbom(packages, dist.reproducible())


def test_nothing_is_published_with_a_licence_that_is_not_allowed(monkeypatch, tmp_path):
    monkeypatch.setattr(dist, "ALLOWED", frozenset(["MIT"]))
    monkeypatch.setattr(dist, "locked", lambda lock: {"click": version("click")})
    with pytest.raises(SystemExit, match=r"dist: inetprobe .* is not allowed; click .* is BSD-3-Clause"):
        dist.main(tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


def test_the_lock_has_what_every_extra_of_a_command_needs():
    locked = dist.locked(LOCK)
    (every,) = (Requirement(line) for line in PROJECT["optional-dependencies"]["all"])
    lines = [
        *PROJECT["dependencies"],
        *(line for extra in every.extras for line in PROJECT["optional-dependencies"][extra]),
    ]
    for need in map(Requirement, lines):
        assert need.specifier.contains(locked[canonicalize_name(need.name)]), need


def test_a_lock_s_packages_are_those_of_this_python():
    lock = "a_b==1.2 \\\n    --hash=sha256:0\nc==1 ; python_full_version < '3.11' \\\n    --hash=sha256:0\n"
    assert dist.locked(lock) == {"a-b": "1.2"}

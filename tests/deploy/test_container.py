"""The Containerfile, parsed: the files it copies exist, its command is valid, and it installs no more than it needs."""

import re
import shlex
import tomllib

import pytest
from dockerfile_parse import DockerfileParser
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import serve_options
from tests.support.paths import ROOT

FILE = ROOT / "deploy/container/Containerfile"


@pytest.fixture(scope="module", name="stages")
def parsed():
    """[[(instruction, value), …] of each stage]."""
    with FILE.open("rb") as file:
        structure = DockerfileParser(fileobj=file).structure
    stages = []
    for step in structure:
        if step["instruction"] == "FROM":
            stages.append([])
        if step["instruction"] != "COMMENT":
            stages[-1].append((step["instruction"], step["value"]))
    return stages


def values(stage, instruction):
    return [value for name, value in stage if name == instruction]


def installed(stage):
    (line,) = [value for value in values(stage, "RUN") if "apt-get install" in value]
    assert "--no-install-recommends" in line
    assert "rm -rf /var/lib/apt/lists/*" in line
    assert line.index("apt-get update") < line.index("apt-get install") < line.index("rm -rf")
    return set(re.search(r"--no-install-recommends ([\w\- ]+?) *&&", line)[1].split())


def test_both_stages_use_the_same_debian_release(stages):
    bases = [values(stage, "FROM")[0].split(" AS ")[0] for stage in stages]
    assert bases == ["docker.io/library/debian:12-slim"] * 2


def test_the_image_has_bcc_and_no_kernel_headers_or_compilers(stages):
    build, image = (installed(stage) for stage in stages)
    assert image == {"python3", "libbpfcc", "libseccomp2", "kmod"}
    assert build == {"python3-venv"}


def test_everything_the_wheel_is_built_from_is_copied(stages):
    copied = {source for value in values(stages[0], "COPY") for source in value.split()[:-1]}
    assert all((ROOT / source).exists() for source in copied)
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = built["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], built["project"]["readme"], "pyproject.toml", "LICENSE"}
    assert copied == needed | {"tools/lock/serve.txt", "tools/lock/build.txt"}


def test_whatever_comes_from_the_index_has_a_digest(stages):
    """--only-binary, since what a source distribution is built with has none."""
    commands = [shlex.split(part) for value in values(stages[0], "RUN") for part in value.split("&&")]
    installs = [command for command in commands if {"pip", "install"} <= {command[0].rpartition("/")[2], command[1]}]
    fetching = [command for command in installs if "--no-index" not in command]
    assert {command[-1] for command in fetching} == {"tools/lock/serve.txt", "tools/lock/build.txt"}
    for command in fetching:
        assert command[3:-1] == ["--require-hashes", "--only-binary", ":all:", "-r"]
    assert len(installs) == len(fetching) + 1  # inetprobe's own wheel


def locked(name):
    """The versions that a lock file has of each package, all with digests."""
    versions = {}
    for part in re.sub(r"\\\n *", "", (ROOT / f"tools/lock/{name}.txt").read_text()).splitlines():
        if not part.startswith("#"):
            requirement, *digests = part.split("--hash=")
            assert digests, part
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64} *", digest) for digest in digests)
            pinned = Requirement(requirement)
            versions.setdefault(canonicalize_name(pinned.name), set()).add(str(pinned.specifier).removeprefix("=="))
    return versions


@pytest.mark.parametrize("name", ["serve", "build"])
def test_a_lock_file_has_all_that_is_asked_for_in_the_versions_that_are_tested(name):
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = {
        "serve": built["project"]["dependencies"] + built["project"]["optional-dependencies"]["serve"],
        "build": built["build-system"]["requires"],
    }[name]
    versions, tested = locked(name), locked("tests")
    for requirement in map(Requirement, asked):
        assert all(version in requirement.specifier for version in versions[canonicalize_name(requirement.name)])
    assert versions == {package: tested[package] for package in versions}


def test_the_venv_is_copied_to_the_same_path(stages):
    assert "python3 -m venv /opt/inetprobe" in values(stages[0], "RUN")
    assert values(stages[1], "COPY") == ["--from=build /opt/inetprobe /opt/inetprobe"]
    assert values(stages[1], "ENTRYPOINT") == ['["/opt/inetprobe/bin/inetprobe"]']


def arguments(value):
    program, *options = [word.strip('",') for word in shlex.split(value.strip("[]"))]
    assert program == "serve"
    return serve_options.params(options)


def test_by_itself_it_listens_on_a_loopback_address_at_the_exposed_port(stages):
    (command,) = values(stages[1], "CMD")
    assert [arguments(command)["address"]] == [f"127.0.0.1:{port}" for port in values(stages[1], "EXPOSE")]


def test_the_documented_run_publishes_the_port_to_this_host_alone(stages):
    (run,) = re.findall(r"podman run (.*?[^\\])\n", (ROOT / "docs/deploy.md").read_text(), re.DOTALL)
    options, _, command = run.replace("\\\n", " ").partition(" inetprobe serve ")
    (port,) = values(stages[1], "EXPOSE")
    assert f" -p 127.0.0.1:{port}:{port}" in options
    assert arguments(f"serve {command}")["address"] == f":{port}"


def test_its_labels_are_those_of_the_project(stages):
    (label,) = values(stages[1], "LABEL")
    labels = dict(word.split("=", 1) for word in shlex.split(label))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert labels["org.opencontainers.image.title"] == project["name"]
    assert labels["org.opencontainers.image.licenses"] == project["license"]
    assert labels["org.opencontainers.image.base.name"] == "docker.io/library/debian:12-slim"

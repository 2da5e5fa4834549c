"""The Containerfile, parsed: the files it copies exist, its command is valid, and it installs no more than it needs."""

import re
import shlex
import tomllib

import pytest
from dockerfile_parse import DockerfileParser

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
    assert image == {"python3", "libbpfcc", "kmod"}
    assert build == {"python3-venv"}


def test_everything_the_wheel_is_built_from_is_copied(stages):
    copied = {source for value in values(stages[0], "COPY") for source in value.split()[:-1]}
    assert all((ROOT / source).exists() for source in copied)
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = built["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], built["project"]["readme"], "pyproject.toml", "LICENSE"}
    assert copied == needed


def test_the_venv_is_copied_to_the_same_path(stages):
    (venv,) = [value.split() for value in values(stages[0], "RUN") if "-m venv" in value]
    assert venv == ["python3", "-m", "venv", "/opt/inetprobe"]
    assert values(stages[1], "COPY") == ["--from=build /opt/inetprobe /opt/inetprobe"]
    assert values(stages[1], "ENTRYPOINT") == ['["/opt/inetprobe/bin/inetprobe"]']


def test_its_command_is_valid_and_listens_on_the_exposed_port(stages):
    (command,) = values(stages[1], "CMD")
    program, *options = [word.strip('",') for word in shlex.split(command.strip("[]"))]
    assert program == "serve"
    address = serve_options.params(options)["address"]
    assert [address] == [f":{port}" for port in values(stages[1], "EXPOSE")]


def test_its_labels_are_those_of_the_project(stages):
    (label,) = values(stages[1], "LABEL")
    labels = dict(word.split("=", 1) for word in shlex.split(label))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert labels["org.opencontainers.image.title"] == project["name"]
    assert labels["org.opencontainers.image.licenses"] == project["license"]["text"]
    assert labels["org.opencontainers.image.base.name"] == "docker.io/library/debian:12-slim"

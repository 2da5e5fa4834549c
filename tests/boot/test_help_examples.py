"""The examples of `inetprobe vm --help`: each boots a VM."""

import subprocess

import pytest

from tests.support import examples


@pytest.mark.parametrize("example", examples.of("vm"))
def test_it_boots_and_does_what_it_says(example, tmp_path):
    environment = examples.prepare(tmp_path, example) | {"INETPROBE_CACHE": str(examples.cache())}
    done = subprocess.run(
        ["bash", "-c", example],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout

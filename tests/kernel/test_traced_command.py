import ast
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from inetprobe.base.errors import CommandError, UsageError
from inetprobe.kernel.traced_command import Command, end_like
from tests.support.paths import ROOT


def test_nothing_runs_before_release(tmp_path):
    mark = tmp_path / "ran"
    command = Command(["touch", str(mark)])
    time.sleep(0.1)
    assert not mark.exists()
    command.release()
    assert os.WEXITSTATUS(command.wait()) == 0
    assert mark.exists()


def test_its_status_is_passed_on():
    command = Command(["sh", "-c", "exit 7"])
    command.release()
    assert end_like(command.wait()) == 7


def test_closing_before_release_runs_nothing(tmp_path):
    mark = tmp_path / "ran"
    command = Command(["touch", str(mark)])
    command.close()
    assert not mark.exists()
    assert command.poll() is not None


def test_a_held_command_ignores_ctrl_c_and_a_released_one_does_not():
    script = "import signal, sys; sys.exit(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    command = Command([sys.executable, "-c", script])
    assert command.held
    time.sleep(0.2)
    os.kill(command.pid, signal.SIGINT)
    time.sleep(0.1)
    assert command.poll() is None
    command.release()
    assert not command.held
    assert os.WEXITSTATUS(command.wait()) == 0


def test_a_signal_is_passed_on_and_one_that_comes_too_late_is_not():
    command = Command(["sleep", "60"])
    command.release()
    command.send(signal.SIGTERM)
    assert os.WTERMSIG(command.wait()) == signal.SIGTERM
    command.send(signal.SIGTERM)


def test_not_found_is_127():
    command = Command(["no-such-program-here"])
    with pytest.raises(CommandError, match="not found") as caught:
        command.release()
    assert caught.value.exit_code == 127


def test_not_executable_is_126(tmp_path):
    script = tmp_path / "script"
    script.write_text("echo hello\n")
    command = Command([str(script)])
    with pytest.raises(CommandError, match="cannot be run: Permission denied") as caught:
        command.release()
    assert caught.value.exit_code == 126


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_dying_of_the_same_signal(number):
    program = (
        "from inetprobe.kernel.traced_command import Command, end_like; import sys;"
        f"c = Command(['sh', '-c', 'kill -{int(number)} $$']); c.release(); sys.exit(end_like(c.wait()))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    assert done.returncode == -number


def test_an_unknown_user_is_a_usage_error():
    with pytest.raises(UsageError, match="no user 'nobody-here'"):
        Command(["true"], user="nobody-here")


def test_running_as_somebody_else_changes_ids_and_home():
    if os.geteuid():
        with pytest.raises(CommandError, match="Operation not permitted"):
            Command(["true"], user="nobody").release()
        return
    command = Command(
        ["sh", "-c", 'test "$(id -un)" = nobody && test "$USER" = nobody && test "$(id -G)" = "$(id -g)"'], "nobody"
    )
    command.release()
    assert os.WEXITSTATUS(command.wait()) == 0


def test_poll_is_none_while_another_thread_stores_the_status():
    command = Command(["true"])
    command.release()
    os.waitpid(command.pid, 0)  # as another thread's poll() does, before it stores the status
    assert command.poll() is None


STATE = """
import os
print(sorted(int(fd) for fd in os.listdir("/proc/self/fd")))
print(sorted(os.environ))
"""


def state(tmp_path, user=None):
    """The descriptors and environment of COMMAND."""
    out = tmp_path / "out"
    out.touch()
    out.chmod(0o666)
    tmp_path.chmod(0o755)
    command = Command(["/bin/sh", "-c", f"exec /usr/bin/python3 -S -c '{STATE}' >{out}"], user)
    command.release()
    assert os.WEXITSTATUS(command.wait()) == 0
    return [ast.literal_eval(line) for line in out.read_text().splitlines()]


@pytest.fixture
def inheritable(tmp_path, monkeypatch):
    """A descriptor and a variable as a shell gives them."""
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("LC_TIME", "C")
    number = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(number, True)
    yield number
    os.close(number)


def test_command_has_the_descriptors_and_the_environment_of_its_shell(tmp_path, inheritable):
    descriptors, names = state(tmp_path)
    assert inheritable in descriptors
    assert "SECRET_TOKEN" in names


def test_no_signal_that_python_ignores_is_ignored_in_command(tmp_path):
    out = tmp_path / "out"
    command = Command(["sh", "-c", f"exec grep SigIgn /proc/self/status >{out}"])
    command.release()
    command.wait()
    ignored = int(out.read_text().split()[1], 16)
    assert not ignored & (1 << signal.SIGXFSZ - 1 | 1 << signal.SIGPIPE - 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_user_has_neither_root_s_descriptors_nor_its_environment(inheritable):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        descriptors, names = state(Path(folder), "nobody")
    assert inheritable not in descriptors
    assert not {"SECRET_TOKEN", "XDG_RUNTIME_DIR"} & set(names)
    assert {"HOME", "LC_TIME", "LOGNAME", "PATH", "SHELL", "USER"} <= set(names)

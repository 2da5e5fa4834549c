import os
import signal
import subprocess
import sys
import time

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

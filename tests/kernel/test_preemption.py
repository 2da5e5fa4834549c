import pytest

from inetprobe.kernel.host.preemption import preemption

DYNAMIC = "#1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1 (2026-07-01)\n"


def kernel(root, version=DYNAMIC, *, now=None, cmdline="quiet", config=None):
    files = {
        "proc/sys/kernel/version": version,
        "proc/sys/kernel/osrelease": "6.12\n",
        "proc/cmdline": f"BOOT_IMAGE=/vmlinuz {cmdline}\n",
        "sys/kernel/debug/sched/preempt": now,
        "boot/config-6.12": config,
    }
    for name, text in files.items():
        if text is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("version", "model"),
    [
        ("#1 SMP Debian 5.10.223-1 (2024-08-10)\n", None),
        ("#1 SMP PREEMPT Wed Jan 1 2025\n", "full"),
        ("#1 SMP PREEMPT_RT Debian 6.1.176-1\n", "rt"),
        ("#1 SMP PREEMPT PREEMPT_RT Debian\n", "rt"),
    ],
)
def test_a_model_that_was_built_in(tmp_path, version, model):
    assert preemption(kernel(tmp_path, version, now="none (full)", cmdline="preempt=none")) == model


@pytest.mark.parametrize(
    ("now", "model"),
    [
        ("none (voluntary) full \n", None),
        ("(none) voluntary full lazy \n", None),
        ("none voluntary (full) lazy \n", "full"),
        ("none voluntary full (lazy) \n", "lazy"),
        ("full (lazy) \n", "lazy"),
    ],
)
def test_the_model_of_now_is_asked_first(tmp_path, now, model):
    assert preemption(kernel(tmp_path, now=now, cmdline="preempt=none")) == model


def test_without_debugfs_the_command_line_decides(tmp_path):
    config = "CONFIG_PREEMPT_VOLUNTARY=y\n"
    assert preemption(kernel(tmp_path, cmdline="preempt=none preempt=full", config=config)) == "full"
    assert preemption(kernel(tmp_path, cmdline="preempt=voluntary", config="CONFIG_PREEMPT=y\n")) is None


@pytest.mark.parametrize(
    ("config", "model"),
    [
        ("CONFIG_PREEMPT_BUILD=y\nCONFIG_PREEMPT_VOLUNTARY=y\nCONFIG_PREEMPT_DYNAMIC=y\n", None),
        ("# CONFIG_PREEMPT is not set\nCONFIG_PREEMPT_NONE=y\n", None),
        ("CONFIG_PREEMPT_BUILD=y\nCONFIG_PREEMPT=y\n", "full"),
        ("CONFIG_PREEMPT_LAZY=y\nCONFIG_PREEMPT_RCU=y\n", "lazy"),
    ],
)
def test_then_the_configuration(tmp_path, config, model):
    assert preemption(kernel(tmp_path, config=config)) == model


def test_it_may_preempt_where_nothing_tells(tmp_path):
    assert preemption(kernel(tmp_path)) == "unknown"

from tools import kernels
from tools.suites import STAGES


def test_every_live_suite_runs_on_the_kernel_under_names_of_its_own():
    chosen = [(name, command) for suites, _ in STAGES for name, command in kernels.on("7.2", suites).items()]
    live = [name for suites, _ in STAGES for name in suites if name.startswith("live")]
    assert [name for name, _ in chosen] == [f"7.2 {name}" for name in live]
    for name, command in chosen:
        assert "INETPROBE_LIVE_KERNEL=7.2" in command
        assert command[-2:] == ["--name", name.replace(" ", "-")]


def test_a_kernel_that_no_suite_has_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["kernels.py", "7.2", "9.9"])
    assert kernels.main() == 2
    assert capsys.readouterr().err == "9.9 is none of the kernels 5.10, 6.1, 6.12, 7.2, 7.3\n"

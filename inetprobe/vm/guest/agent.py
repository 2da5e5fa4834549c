"""The agent inside the VM: it prepares the guest, runs one command, and passes its output and exit status to the host.

It needs nothing but the standard library, and finds its ports through sysfs: a machine without udev has no
``/dev/virtio-ports``. The command's output goes through pipes (or pseudo-terminals, where the host has a terminal) and
not straight into the ports: a port can be opened only once, so ``/dev/stdout`` could not be opened again, and it would
be unknown how many bytes are still on their way.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import threading
import time
import tty
from io import BufferedReader
from pathlib import Path

from inetprobe.vm.guest import protocol

MOUNTS = (
    # type, folder, options: needed by a tracer, and mounted if the guest's init has not
    ("tracefs", "/sys/kernel/tracing", "rw"),
    ("debugfs", "/sys/kernel/debug", "rw"),
    ("cgroup2", "/sys/fs/cgroup", "rw"),
    ("bpf", "/sys/fs/bpf", "rw,mode=0700"),
)
SYSTEM = "/run/inetprobe/system"
"""The host's root file system a second time, through the guest's page cache."""
PROGRAMS = ("usr/bin", "usr/sbin", "usr/lib/x86_64-linux-gnu", "usr/lib/python3*", "usr/lib/llvm-*")
CHUNK = 1 << 16
PORT_WAIT_S = 60.0


def port_path(name: str, root: Path = Path("/"), wait_s: float = PORT_WAIT_S) -> Path:
    """The device of the virtio-serial port called ``name``.

    The driver asks the host for its ports (drivers/char/virtio_console.c, PORT_ADD) while the guest boots on: without
    udev nothing else has waited for the answers. Raises FileNotFoundError where it is not there after ``wait_s``.
    """
    deadline = time.monotonic() + wait_s
    while True:
        for label in sorted((root / "sys/class/virtio-ports").glob("*/name")):
            if label.read_text().strip() == name:
                return root / "dev" / label.parent.name
        if time.monotonic() > deadline:
            raise FileNotFoundError(f"this VM has no port {name}")
        time.sleep(0.05)


def write_all(fd: int, data: bytes) -> None:
    """Writes every byte of ``data``."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Relay(threading.Thread):
    """Copies one output of the command to its port, and counts the bytes.

    It ends when every writer has closed it. ``finish`` says that the command has ended: the bytes already in the pipe
    are still copied, but a daemon that the command left behind is not waited for.
    """

    def __init__(self, source: int, port: int) -> None:
        super().__init__(daemon=True)
        self._source = source
        self._port = port
        self._wake_read, self._wake_write = os.pipe()
        self.sent = 0

    def run(self) -> None:
        """Copies until the end; only the command's processes hold the other end."""
        while chunk := self._next():
            write_all(self._port, chunk)
            self.sent += len(chunk)

    def finish(self) -> int:
        """Waits for the bytes on their way; the number of bytes sent in all."""
        os.write(self._wake_write, b"x")
        self.join()
        return self.sent

    def _next(self) -> bytes:
        ready, _, _ = select.select([self._source, self._wake_read], [], [])
        if self._source not in ready:
            return b""
        try:
            return os.read(self._source, CHUNK)
        except OSError:  # EIO: a pseudo-terminal whose last user has closed it
            return b""


class OutputPort:
    """One output of the command: the end given to it, and the relay of the other end."""

    def __init__(self, port: str, window: tuple[int, int] | None) -> None:
        source, self.command_end = os.pipe() if window is None else open_terminal(window)
        self.relay = Relay(source, os.open(port_path(port), os.O_WRONLY))

    def start(self) -> None:
        """Begins to copy; from now on only the command holds its end."""
        os.close(self.command_end)
        self.relay.start()


def open_terminal(window: tuple[int, int]) -> tuple[int, int]:
    """A pseudo-terminal of this size that passes bytes through unchanged: (our end, the command's end)."""
    master, slave = os.openpty()
    tty.setraw(slave)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *window, 0, 0))
    return master, slave


def mount(type_: str, source: str, folder: str, options: str) -> None:
    """Mounts, and reports a failure only on the console: the user learns of it from ``inetprobe doctor``."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", type_, "-o", options, source, folder], check=False)
    if done.returncode != 0:
        print(f"inetprobe: could not mount {type_} on {folder}", file=sys.stderr)


def cache_programs() -> None:
    """Mounts programs, libraries and the kernel's modules again through a cache, read-only.

    The guest's init mounts the root file system without one, so that each start of a program reads all its files again
    through qemu's single thread: a hundred megabytes of LLVM for a tracer.
    """
    options = "ro,version=9p2000.L,trans=virtio,access=any,msize=512000,cache=loose"
    mount("9p", protocol.SYSTEM_TAG, SYSTEM, options)
    cached = [folder for pattern in PROGRAMS for folder in sorted(Path(SYSTEM).glob(pattern))]
    modules = Path("/lib/modules", os.uname().release)
    if modules.is_symlink():  # the guest's init has put an empty folder over /var/cache, /var/tmp and others
        cached.append(Path(SYSTEM) / modules.readlink().relative_to("/"))
    environment = Path(sys.executable).parents[1]
    if (environment / "pyvenv.cfg").exists():  # sys.prefix is not its path: under -S nothing sets that
        cached.append(Path(SYSTEM) / environment.relative_to("/"))
    for folder in cached:
        if folder.is_dir() and not folder.is_symlink():
            mount("none", str(folder), f"/{folder.relative_to(SYSTEM)}", "bind,ro")


def prepare(job: protocol.Job) -> None:
    """Mounts the file systems that a tracer needs and the user's current folder."""
    for type_, folder, options in MOUNTS:
        if Path(folder).parent.is_dir() and not os.path.ismount(folder):
            mount(type_, type_, folder, options)
    options = "rw,version=9p2000.L,trans=virtio,access=any,msize=512000,cache=mmap"
    mount("9p", protocol.FOLDER_TAG, job.folder, options)
    cache_programs()
    os.chdir(job.folder)


def start(job: protocol.Job, outputs: list[OutputPort]) -> subprocess.Popen[bytes]:
    """Starts the command in a process group of its own, so that a signal reaches all its processes."""
    environment = {**job.environment, protocol.COMPILER_VARIABLE: str(port_path(protocol.COMPILER))}
    return subprocess.Popen(
        [os.fsencode(arg) for arg in job.argv],
        stdin=os.open(port_path(protocol.STDIN), os.O_RDONLY),
        stdout=outputs[0].command_end,
        stderr=outputs[1].command_end,
        env={os.fsencode(key): os.fsencode(value) for key, value in environment.items()},
        start_new_session=True,
    )


def run(job: protocol.Job, control: BufferedReader) -> dict[str, int]:
    """Runs the command to its end; the message that reports it to the host."""
    outputs = [
        OutputPort(port, job.window if name in job.terminals else None)
        for name, port in (("stdout", protocol.STDOUT), ("stderr", protocol.STDERR))
    ]
    process: subprocess.Popen[bytes] | None = None
    try:
        process = start(job, outputs)
    except OSError as error:
        write_all(outputs[1].command_end, f"inetprobe: cannot run {job.argv[0]}: {error.strerror}\n".encode())
        status = 127 if isinstance(error, FileNotFoundError) else 126
    for output in outputs:
        output.start()
    threading.Thread(target=obey, args=(control, process), daemon=True).start()
    if process is not None:
        status = exit_status(process.wait())
    stdout, stderr = (output.relay.finish() for output in outputs)
    return {"exit": status, "stdout": stdout, "stderr": stderr}


def exit_status(returncode: int) -> int:
    """The status as a shell has it: 128+n for a command that signal n killed."""
    return 128 - returncode if returncode < 0 else returncode


def obey(control: BufferedReader, process: subprocess.Popen[bytes] | None) -> None:
    """Passes the host's signals on to the command's process group; powers off when the host has closed the port."""
    for raw in control:
        for message in protocol.messages(bytearray(raw)):
            if process is not None and process.poll() is None:
                os.killpg(process.pid, int(message["signal"]))
    power_off()


def power_off() -> None:
    """Ends the VM at once: its file systems are the host's, or discarded."""
    os.sync()
    Path("/proc/sysrq-trigger").write_text("o")


def main() -> None:
    """Takes the job from the control port, runs it, reports, and waits for the host to end the VM."""
    device = port_path(protocol.CONTROL)
    with device.open("r+b", buffering=0) as raw, os.fdopen(os.dup(raw.fileno()), "rb") as control:
        job = protocol.Job.from_line(control.readline())
        prepare(job)
        raw.write(protocol.line({"booted": os.uname().release}))
        ending = run(job, control)
        os.sync()
        raw.write(protocol.line(dict(ending)))
        threading.Event().wait()  # the host ends the VM once it has every byte


if __name__ == "__main__":
    main()

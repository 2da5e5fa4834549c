"""``inetprobe vm``: runs an inetprobe command in a throwaway VM."""

from __future__ import annotations

import sys

import click

from inetprobe.cli.options import COMMAND_LAST
from inetprobe.kernel.program import vm_compiler
from inetprobe.vm import kernels, qemu
from inetprobe.vm.run_in_vm import run_in_vm

EXAMPLES = """\b
Examples:
  inetprobe vm -- trace -- python3 -c 'import socket; socket.socket()'
  inetprobe vm --kernel 6.1 --cpus 4 -- doctor
"""


@click.command("vm", epilog=EXAMPLES, context_settings=COMMAND_LAST)
@click.option(
    "--kernel",
    metavar="VMLINUZ",
    help=f"Kernel image with its modules beside it, or one of {', '.join(kernels.SUITES)}: Debian's kernel of that "
    "version, downloaded into the cache. [default: the kernel of this Debian]",
)
@click.option("--cpus", type=click.IntRange(1, 255), default=2, show_default=True, help="Virtual CPUs.")
@click.option("--memory", metavar="SIZE", default="3G", show_default=True, help="Memory of the VM, in qemu's notation.")
@click.option(
    "--accel",
    type=click.Choice(["auto", "kvm", "tcg"]),
    default="auto",
    show_default=True,
    help="KVM, software emulation (tcg), or auto: KVM only if a VM really boots with it.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing about the boot.")
@click.argument("args", metavar="-- ARGS …", nargs=-1, required=True, type=click.UNPROCESSED)
def vm_command(kernel: str | None, cpus: int, memory: str, accel: str, quiet: bool, args: tuple[str, ...]) -> None:
    """Run 'inetprobe ARGS...' in a throwaway VM.

    The VM boots from this machine's root file system, which it cannot change; the current folder is writable. Output
    and exit status are those of the command. Ctrl-C interrupts the command; a second Ctrl-C ends the VM.
    """

    def say(line: str) -> None:
        if not quiet:
            click.echo(f"inetprobe: {line}", err=True)

    qemu.check_tools()  # before a kernel is fetched
    image = kernels.resolve(kernel, say)
    # -P: this Python runs as root, and must not import from the current folder, which may be another user's.
    argv = [sys.executable, "-P", "-m", "inetprobe", *args]
    sys.exit(run_in_vm(argv, vm_compiler.answer, kernel=image, cpus=cpus, memory=memory, accel=accel, quiet=quiet))

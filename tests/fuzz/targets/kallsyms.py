"""/proc/kallsyms: which functions there are, and which frames of a stack are the kernel's."""

from inetprobe.kernel.frames.kernel_frames import KernelSymbols
from inetprobe.kernel.host.kallsyms import PATH, Symbols
from tests.fuzz import checks

DICTIONARY = (
    "ffffffff81000000 T ", "0000000000000000 t ", "_text\n", "_end\n", "_stext\n", "_etext\n", "inet_create",
    "sk_alloc", "sk_prot_alloc", "__sys_socket", "__request_module", ".isra.0", ".constprop.0", ".part.0", ".cold",
    ".llvm.123", "\t[sctp]\n",
)  # fmt: skip


class _Resolver:
    def resolve(self, addr, demangle):
        return b"inet_create", addr & 0xFFF, b"kernel"


def run(data):
    with checks.in_memory(data) as path:
        with checks.may_refuse():
            symbols = Symbols.of_kernel(path)
            symbols.nearest("inet_create")
            for function in PATH:
                checks.can_be_shown(symbols.absence(function))
            for limit in symbols.limits().values():
                checks.can_be_shown(limit)
            symbols.present()
        with checks.may_refuse():
            KernelSymbols(_Resolver(), path).callers([0xFFFFFFFF81000010], "sk_alloc", "fentry")

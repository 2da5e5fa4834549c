"""BTF, as /sys/kernel/btf/vmlinux has it, and every question that inetprobe asks of it."""

from inetprobe.base.errors import HostError
from inetprobe.kernel.host.btf import OFFSETS, Btf
from inetprobe.kernel.host.kallsyms import PATH, Symbols
from inetprobe.kernel.host.probed_profile import features
from inetprobe.kernel.program import sock, target
from tests.fuzz import checks
from tests.support.paths import BTF

SEEDS = BTF
_SYMBOLS = Symbols(PATH)


def run(data):
    with checks.may_refuse():
        types = Btf(data)
        questions = (
            *((types.offset, path) for path in OFFSETS.values()),
            *((types.field, member) for member, _ in sock.MEMBERS.values()),
            *((types.type_name, path) for path in OFFSETS.values()),
            *((types.prototype, (name,)) for name in PATH),
            *((ask, (name,)) for ask in (types.size, types.has_struct) for name in ("sock", "proto", "task_struct")),
            (types.enumerator, ("IPPROTO_MAX",)),
            (sock.constants, (types,)),
            (features, (types, _SYMBOLS)),
            (target.fentry_functions, (types, PATH)),
        )
        for ask, arguments in questions:
            try:
                ask(*arguments)
            except HostError as error:
                checks.is_sentence(str(error))

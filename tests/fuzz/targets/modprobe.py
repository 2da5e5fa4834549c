"""The files of modprobe, its answer, and /proc/net/protocols: what a machine's profile is made of."""

import json
import os

from inetprobe.base.text import printable
from inetprobe.kernel.host.btf import Btf
from inetprobe.kernel.host.kallsyms import Symbols
from inetprobe.kernel.host.modprobe import configuration
from inetprobe.kernel.host.probed_profile import probe
from inetprobe.model.profile import Profile
from tests.fuzz import checks
from tests.support.paths import BTF

DICTIONARY = (
    "install ", "blacklist ", "alias ", "options ", "softdep ", "sctp", "l2tp_ip", "net-pf-2-proto-132",
    "net-pf-31 bluetooth", "/bin/true", "/bin/false", "\\\n", "#", "*", "[a-", "[!", "]", "off",
    "insmod /lib/modules/6.1/kernel/net/sctp/sctp.ko",
    "kernel/net/sctp/sctp.ko.xz: ", "modprobe.blacklist=", "SCTP  1568  1  0  no  0  yes  sctp  y ", "\x00", "\r", "\n",
)  # fmt: skip

_FILES = (
    "usr/lib/modprobe.d/b.conf",
    "proc/cmdline",
    "lib/modules/6.1/modules.alias",
    "lib/modules/6.1/modules.dep",
    "proc/net/protocols",
)
_TYPES = Btf.of_kernel(BTF / "6.1")
_SYMBOLS = Symbols(["inet_create", "inet6_create", "sk_alloc", "__request_module"])
_ROOT = checks.folder_in_memory()
for _name in ("proc/sys/kernel/osrelease", "etc/modprobe.d/x", *_FILES):
    (_ROOT / _name).parent.mkdir(parents=True, exist_ok=True)
(_ROOT / "proc/sys/kernel/osrelease").write_text("6.1\n")


def run(data):
    """Zero bytes end each: a configuration file and its name, what modprobe answers, and the other files."""
    text, name, shown, *parts = (part[:4096] for part in [*data.split(b"\0"), *[b""] * (len(_FILES) + 3)])
    for file, part in zip(_FILES, parts, strict=False):
        (_ROOT / file).write_bytes(part)
    named = _ROOT / "etc/modprobe.d" / (os.fsdecode(name[:250].replace(b"/", b"")) + ".conf")
    named.write_bytes(text)
    try:
        _probe(shown.decode(errors="replace"))
    finally:
        named.unlink()


def _probe(shown):
    with checks.may_refuse():
        profile = probe(_TYPES, _SYMBOLS, _ROOT, lambda names: shown)
        # A recording is made of it, and must be readable.
        assert Profile.from_dict(json.loads(json.dumps(profile.to_dict()))).to_dict() == profile.to_dict()
        for line in configuration(_ROOT):
            checks.is_shown(printable(line.where))

import subprocess
import sys

from inetprobe.kernel.program.memory import clean_mappings

SMAPS = """\
55e0a0000000-55e0a0100000 r-xp 00000000 fe:00 123                        /usr/bin/python3.11
Size:               1024 kB
Rss:                 900 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me sd
7f0000000000-7f0000200000 r--p 00100000 fe:00 124                        /usr/lib/libLLVM 14.so
Size:               2048 kB
Anonymous:             8 kB
VmFlags: rd mr mw me sd
7f0000200000-7f0000300000 r--p 00300000 fe:00 124                        /usr/lib/libLLVM 14.so
Size:               1024 kB
Anonymous:             0 kB
7f0000300000-7f0000400000 rw-p 00400000 fe:00 124                        /usr/lib/libLLVM 14.so
Anonymous:             0 kB
7f0000400000-7f0000500000 r--s 00000000 00:0e 1050                       anon_inode:bpf-map
Anonymous:             0 kB
7f0000500000-7f0000600000 r-xp 00000000 fe:00 125                        /tmp/gone.so (deleted)
Anonymous:             0 kB
7f0000600000-7f0000700000 r--s 00000000 fe:00 126                        /var/cache/shared
Anonymous:             0 kB
7f0000700000-7f0000800000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
7f0000800000-7f0000900000 r--p 00000000 00:00 0
Anonymous:             0 kB
"""


def test_only_unwritten_mappings_are_given_back():
    assert list(clean_mappings(SMAPS)) == [(0x55E0A0000000, 0x55E0A0100000), (0x7F0000200000, 0x7F0000300000)]


def test_a_process_is_smaller_afterwards_and_still_works():
    program = (
        "import pyarrow.compute as pc, pyarrow as pa, resource\n"
        "from inetprobe.kernel.program.memory import give_back\n"
        "size = lambda: int(next(l for l in open('/proc/self/status') if l.startswith('VmRSS')).split()[1])\n"
        "before = size(); give_back(); after = size()\n"
        "assert pc.sum(pa.array(range(1000))).as_py() == 499500\n"
        "print(before, after)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < 0.8 * before

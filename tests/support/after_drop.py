"""``python -m tests.support.after_drop FILE ARGV…``: inetprobe ARGV over a source without a kernel.

FILE gets the names of the modules that were loaded after the privileges were dropped, except Python's own: from a home
that only its owner may enter, root without capabilities could not load them.
"""

import sys
import sysconfig
from pathlib import Path

from inetprobe.cli.live import LiveHost
from inetprobe.cli.main import cli
from tests.support import builders
from tests.support.attached import open_source
from tests.support.paths import ROOT

_FOREIGN = (str(ROOT), sysconfig.get_path("purelib"), "/usr/lib/python3/")


def _watch_imports(_capabilities, _say):
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a thread that runs already keeps its capabilities"
    sys.addaudithook(lambda event, arguments: late.append(arguments[0]) if event == "import" else None)


def _foreign(name):
    origin = getattr(sys.modules.get(name), "__file__", None)
    return origin is not None and origin.startswith(_FOREIGN)


if __name__ == "__main__":
    late = []
    try:
        cli.main(sys.argv[2:], obj=LiveHost(open_source(builders.every_kind), _watch_imports))
    finally:
        Path(sys.argv[1]).write_text("".join(f"{name}\n" for name in dict.fromkeys(late) if _foreign(name)))
